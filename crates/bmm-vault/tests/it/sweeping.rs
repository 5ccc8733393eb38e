use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bmm_vault::{
    Effect, KeyScope, KeyState, RotationPolicy, SqlConfig, SqlError, SqlVault, SweepConfig, Sweeper,
    VaultConfig, VaultError,
};

use crate::database::{TestDb, columns, on, on_both, place, token_place};
use crate::{LEGACY, NOW, at_once, kek};

on_both!(
    a_rotation_goes_from_due_to_retired_by_maintenance_alone,
    a_sweep_reseals_rows_of_every_kind_of_primary_key,
    rows_that_do_not_open_are_reported_and_left_and_keep_their_key,
    a_dry_run_reports_and_writes_nothing,
    two_replicas_sweep_the_same_rows_at_once,
    a_pass_goes_on_where_it_was_stopped,
    each_tenant_s_values_move_to_the_tenant_s_own_next_key,
    values_from_before_envelopes_are_migrated_once_and_never_accepted_again,
    values_from_before_envelopes_make_the_keys_of_their_tenants,
    verification_opens_every_value,
    a_row_that_somebody_holds_is_passed_over_and_met_again,
);

fn config() -> SweepConfig {
    SweepConfig {
        batch_rows: 7,
        max_rows_per_second: None,
        ..SweepConfig::default()
    }
}

async fn fill(db: &TestDb, vault: &SqlVault, rows: i64) {
    for id in 0..rows {
        db.put(vault, id, &format!("value {id}")).await;
    }
}

async fn check(db: &TestDb, vault: &SqlVault, rows: i64) {
    for id in 0..rows {
        assert_eq!(db.value(vault, id).await, format!("value {id}"));
    }
}

/// Stages and promotes the next shared key, and gives the id of the one before.
async fn rotate(vault: &SqlVault) -> String {
    let old = vault
        .vault()
        .wrapped()
        .active(None)
        .expect("an active key")
        .id
        .clone();
    let next = vault.stage(None, NOW).await.expect("stages");
    vault.promote(&next, NOW).await.expect("promotes");
    old
}

async fn a_rotation_goes_from_due_to_retired_by_maintenance_alone(db: TestDb) {
    let rotation = RotationPolicy {
        propagation: Duration::from_secs(60),
        grace: Duration::from_secs(600),
        drain: Duration::from_secs(60),
        max_age: Some(Duration::from_secs(3600)),
    };
    let settings = SqlConfig {
        rotation,
        ..SqlConfig::default()
    };
    let (one, other) = (db.replica(settings.clone()).await, db.replica(settings).await);
    fill(&db, &one, 20).await;

    let mut states = Vec::new();
    for seconds in (0..=4380).step_by(30) {
        let now = NOW + Duration::from_secs(seconds);
        for replica in [&one, &other] {
            replica.maintain(config(), now).await.expect("maintains");
            check(&db, replica, 20).await;
        }
        let status = one.status().await.expect("a status");
        let state: Vec<_> = status.keys.iter().map(|key| (key.state, key.rows)).collect();
        if states.last().map(|(_, last)| last) != Some(&state) {
            states.push((seconds, state));
        }
    }
    assert_eq!(
        states,
        [
            (0, vec![(KeyState::Active, 20)]),
            (3600, vec![(KeyState::Active, 20), (KeyState::Staged, 0)]),
            (3660, vec![(KeyState::Retiring, 0), (KeyState::Active, 20)]),
            (4320, vec![(KeyState::Retired, 0), (KeyState::Active, 20)]),
        ]
    );
}

async fn a_sweep_reseals_rows_of_every_kind_of_primary_key(db: TestDb) {
    let vault = db.replica(at_once()).await;
    fill(&db, &vault, 30).await;
    for n in 0..20_u8 {
        let hash = vec![n, 0, 255];
        let sealed = vault.seal(&token_place(&hash), &[n], NOW).await.expect("seals");
        on!(db.pool, pool => {
            let insert = sqlx::query("INSERT INTO tokens (hash, sealed) VALUES ($1, $2)");
            insert.bind(hash).bind(sealed).execute(pool).await.expect("inserts");
        });
    }
    let old = rotate(&vault).await;
    let mut told = Vec::new();
    let report = Sweeper::new(&vault, config())
        .run(NOW, |step| told.push(step.clone()))
        .await
        .expect("sweeps");
    assert_eq!((report.looked_at, report.moved, report.poison), (50, 50, 0));
    assert_eq!(told.len(), 5 + 3, "a step for each batch of seven");
    assert_eq!((told[4].rows, told[4].looked_at, told[4].key), (30, 30, Some(1)));

    check(&db, &vault, 30).await;
    let status = vault.status().await.expect("a status");
    assert_eq!(
        (status.keys[0].rows, status.keys[1].rows, status.rows_to_migrate()),
        (0, 50, 0)
    );
    vault.retire(&old, NOW).await.expect("nothing is left");
    assert_eq!(
        Sweeper::new(&vault, config())
            .verify(NOW, |_| {})
            .await
            .expect("opens")
            .poison,
        0
    );
}

async fn rows_that_do_not_open_are_reported_and_left_and_keep_their_key(db: TestDb) {
    let vault = db.replica(at_once()).await;
    fill(&db, &vault, 20).await;
    // One changed, one moved, one cut off; each still names its key.
    let sealed = db.sealed(3).await;
    let last = if sealed.ends_with('A') { "E" } else { "A" };
    let changed = format!("{}{last}", &sealed[..sealed.len() - 1]);
    let (moved, cut) = (db.sealed(5).await, sealed[..100].to_owned());
    for (id, bad) in [(3, &changed), (4, &moved), (6, &cut)] {
        db.run(&format!("UPDATE secrets SET sealed = '{bad}' WHERE id = {id}"))
            .await;
    }
    let old = rotate(&vault).await;
    let report = Sweeper::new(&vault, config())
        .run(NOW, |_| {})
        .await
        .expect("sweeps");
    assert_eq!((report.moved, report.poison), (17, 3));
    let named: Vec<_> = report
        .poison_rows
        .iter()
        .map(|row| (row.row.as_str(), row.reason.as_str()))
        .collect();
    assert_eq!(named[1], ("[4,\"KEY\"]", "the sealed value belongs elsewhere"));
    assert_eq!(named[2], ("[6,\"KEY\"]", "the sealed value is cut off"));
    assert_eq!(db.sealed(4).await, moved, "what does not open is left as it is");

    assert!(matches!(
        vault.retire(&old, NOW).await,
        Err(SqlError::StillUsed { rows: 3 })
    ));
    assert_eq!(vault.status().await.expect("a status").poison.len(), 3);
    // Once the owner has dealt with them, the next sweep reports nothing and the key can go.
    db.run("DELETE FROM secrets WHERE id IN (3, 4)").await;
    let again = Sweeper::new(&vault, config())
        .run(NOW, |_| {})
        .await
        .expect("sweeps");
    assert_eq!((again.looked_at, again.poison), (1, 1));
    db.run("DELETE FROM secrets WHERE id = 6").await;
    vault.maintain(config(), NOW).await.expect("retires");
    let status = vault.status().await.expect("a status");
    assert_eq!(
        (status.keys[0].state, status.poison.len()),
        (KeyState::Retired, 0)
    );
}

async fn a_dry_run_reports_and_writes_nothing(db: TestDb) {
    let vault = db.replica(at_once()).await;
    fill(&db, &vault, 20).await;
    let before = db.sealed(7).await;
    rotate(&vault).await;
    let dry = SweepConfig {
        effect: Effect::DryRun,
        ..config()
    };
    let report = Sweeper::new(&vault, dry).run(NOW, |_| {}).await.expect("looks");
    assert_eq!((report.looked_at, report.moved), (20, 20));
    assert_eq!(db.sealed(7).await, before);
    assert_eq!(vault.status().await.expect("a status").rows_to_migrate(), 20);
}

async fn two_replicas_sweep_the_same_rows_at_once(db: TestDb) {
    let (one, other) = (db.replica(at_once()).await, db.replica(at_once()).await);
    fill(&db, &one, 200).await;
    let old = rotate(&one).await;
    let (first, second) = (Sweeper::new(&one, config()), Sweeper::new(&other, config()));
    let (first, second) = tokio::join!(first.run(NOW, |_| {}), second.run(NOW, |_| {}));
    let (first, second) = (first.expect("sweeps"), second.expect("sweeps"));
    assert_eq!(
        first.moved + second.moved,
        200,
        "no row twice: {first:?} {second:?}"
    );
    assert_eq!(first.poison + second.poison, 0);
    check(&db, &one, 200).await;
    check(&db, &other, 200).await;
    one.retire(&old, NOW).await.expect("nothing is left");
}

async fn a_pass_goes_on_where_it_was_stopped(db: TestDb) {
    let vault = db.replica(at_once()).await;
    fill(&db, &vault, 70).await;
    // A row of the first batch does not open, and stays in the way of whoever begins at the beginning.
    let (elsewhere, whole) = (db.sealed(5).await, db.sealed(2).await);
    db.run(&format!("UPDATE secrets SET sealed = '{elsewhere}' WHERE id = 2"))
        .await;
    rotate(&vault).await;
    let (sender, mut stopped) = tokio::sync::mpsc::unbounded_channel();
    let slow = SweepConfig {
        max_rows_per_second: NonZeroU32::new(1),
        ..config()
    };
    let sweeper = Sweeper::new(&vault, slow);
    // The first batch is written, then the rate makes it wait: there it ends.
    tokio::select! {
        _ = sweeper.run(NOW, |step| sender.send(step.looked_at).expect("somebody listens")) => panic!("seven rows take seven seconds"),
        told = stopped.recv() => assert_eq!(told, Some(7)),
    }
    let mut told = Vec::new();
    let report = Sweeper::new(&vault, config())
        .run(NOW, |step| told.push(step.looked_at))
        .await
        .expect("sweeps");
    assert_eq!((report.looked_at, report.moved, report.poison), (63, 63, 0));
    assert_eq!(
        vault.status().await.expect("a status").poison.len(),
        1,
        "found before it was stopped"
    );
    db.run(&format!("UPDATE secrets SET sealed = '{whole}' WHERE id = 2"))
        .await;
    check(&db, &vault, 70).await;
}

async fn each_tenant_s_values_move_to_the_tenant_s_own_next_key(db: TestDb) {
    let config_of = || {
        let mut settings = at_once();
        settings.vault = VaultConfig {
            scope: KeyScope::PerTenant,
            ..VaultConfig::default()
        };
        settings
    };
    let (one, other) = (db.replica(config_of()).await, db.replica(config_of()).await);
    fill(&db, &one, 30).await;
    // The other replica has never heard of the tenants' keys, and asks for them.
    check(&db, &other, 30).await;

    let tenants = ["org-0", "org-1", "org-2"];
    for tenant in tenants {
        let next = one.stage(Some(tenant), NOW).await.expect("stages");
        one.promote(&next, NOW).await.expect("promotes");
    }
    assert_eq!(
        Sweeper::new(&one, config())
            .run(NOW, |_| {})
            .await
            .expect("sweeps")
            .moved,
        30
    );
    let status = one.status().await.expect("a status");
    for tenant in tenants {
        let keys = status
            .keys
            .iter()
            .filter(|key| key.tenant.as_deref() == Some(tenant));
        let rows: Vec<_> = keys.map(|key| (key.state, key.rows)).collect();
        assert_eq!(
            rows,
            [(KeyState::Retiring, 0), (KeyState::Active, 10)],
            "{tenant}"
        );
    }
    check(&db, &other, 30).await;
}

async fn values_from_before_envelopes_are_migrated_once_and_never_accepted_again(db: TestDb) {
    for id in 0..20 {
        db.put_raw(id, LEGACY).await;
    }
    db.put_raw(20, "neither this nor that").await;
    let vault = db.replica(at_once()).await;
    assert_eq!(vault.status().await.expect("a status").rows_to_migrate(), 21);
    assert!(vault.open_value(&place(0, 1), LEGACY).await.is_err());

    let sweeper = Sweeper::new(&vault, config());
    let kek = Arc::new(kek(7));
    let report = sweeper
        .migrate_legacy(kek.clone(), NOW, |_| {})
        .await
        .expect("migrates");
    assert_eq!((report.moved, report.poison), (20, 1));
    assert_eq!(db.value(&vault, 11).await, "legacy");

    // As long as one row is neither, it is not over: the owner deals with it and sweeps again.
    db.run("DELETE FROM secrets WHERE id = 20").await;
    let report = sweeper
        .migrate_legacy(kek.clone(), NOW, |_| {})
        .await
        .expect("migrates");
    assert_eq!((report.looked_at, report.moved, report.poison), (20, 0, 0));
    db.put_raw(21, LEGACY).await;
    let refused = sweeper.migrate_legacy(kek, NOW, |_| {}).await;
    assert!(
        matches!(refused, Err(SqlError::LegacyClosed { .. })),
        "{refused:?}"
    );
    assert_eq!(db.sealed(21).await, LEGACY);
}

async fn values_from_before_envelopes_make_the_keys_of_their_tenants(db: TestDb) {
    for id in 0..9 {
        db.put_raw(id, LEGACY).await;
    }
    let mut settings = at_once();
    settings.vault.scope = KeyScope::PerTenant;
    let vault = db.replica(settings).await;
    let sweeper = Sweeper::new(&vault, config());
    let report = sweeper
        .migrate_legacy(Arc::new(kek(7)), NOW, |_| {})
        .await
        .expect("migrates");
    assert_eq!((report.moved, report.poison), (9, 0));
    let status = vault.status().await.expect("a status");
    let rows: Vec<_> = status
        .keys
        .iter()
        .map(|key| (key.tenant.is_some(), key.rows))
        .collect();
    assert_eq!(rows, [(false, 0), (true, 3), (true, 3), (true, 3)]);
}

async fn verification_opens_every_value(db: TestDb) {
    let vault = db.replica(at_once()).await;
    fill(&db, &vault, 20).await;
    rotate(&vault).await;
    fill_more(&db, &vault).await;
    let foreign = bmm_vault::Vault::create(&kek(7)).expect("a vault");
    db.put_raw(40, &foreign.seal(&place(40, 1), b"x").expect("seals"))
        .await;
    let report = Sweeper::new(&vault, config())
        .verify(NOW, |_| {})
        .await
        .expect("looks");
    assert_eq!((report.looked_at, report.moved, report.poison), (31, 30, 1));
    assert_eq!(report.poison_rows[0].reason, VaultError::UnknownKey.to_string());
    assert_eq!(vault.status().await.expect("a status").columns[0].unsealed, 1);
}

async fn fill_more(db: &TestDb, vault: &SqlVault) {
    for id in 20..30 {
        db.put(vault, id, "more").await;
    }
}

#[test]
fn names_that_could_change_a_statement_are_refused() {
    for name in ["a\"b", "a b", "A", "", "1a", "a;b", "ä"] {
        let column = bmm_vault::SealedColumn::new(name, "sealed", [bmm_vault::Column::text("id")], |_| None);
        assert!(matches!(column, Err(SqlError::Name(_))), "{name}");
    }
    assert!(
        columns()[0]
            .index_sql()
            .starts_with("CREATE INDEX IF NOT EXISTS \"secrets_sealed_key\"")
    );
}

async fn a_row_that_somebody_holds_is_passed_over_and_met_again(db: TestDb) {
    let vault = db.replica(at_once()).await;
    fill(&db, &vault, 20).await;
    let old = rotate(&vault).await;
    if let crate::database::Pool::Postgres(pool) = &db.pool {
        // A transaction of the service holds a row for as long as the sweep takes; the sweep does not wait for it.
        let mut held = pool.begin().await.expect("begins");
        let update = sqlx::query("UPDATE secrets SET org = org WHERE id = 4");
        update.execute(&mut *held).await.expect("locks the row");
        let report = Sweeper::new(&vault, config())
            .run(NOW, |_| {})
            .await
            .expect("sweeps");
        assert_eq!((report.moved, report.poison), (19, 0));
        assert!(report.passed_over >= 1);
        held.rollback().await.expect("lets go");
    }
    let left = if matches!(db.pool, crate::database::Pool::Sqlite(_)) {
        20
    } else {
        1
    };
    let report = Sweeper::new(&vault, config())
        .run(NOW, |_| {})
        .await
        .expect("sweeps");
    assert_eq!((report.moved, report.passed_over), (left, 0));
    vault.retire(&old, NOW).await.expect("nothing is left");
}
