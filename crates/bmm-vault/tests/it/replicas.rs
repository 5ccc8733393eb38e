use std::sync::Arc;
use std::time::Duration;

use bmm_vault::{
    Budget, Kek as _, KeyState, RotationPolicy, SqlConfig, SqlError, SqlVault, SweepConfig, Sweeper, Vault,
    VaultDb, VaultError,
};

use crate::database::{TestDb, columns, on, on_both, place};
use crate::{NOW, at_once, kek};

on_both!(
    a_second_start_finds_the_keys_of_the_first,
    replicas_that_start_at_once_share_one_first_key,
    a_wrong_kek_stops_the_start,
    lost_keys_are_not_replaced_where_values_are_sealed,
    a_missing_key_file_is_not_replaced_where_values_are_sealed,
    a_damaged_key_row_stops_the_start,
    steps_that_come_too_early_are_refused,
    a_value_that_turns_up_late_starts_the_drain_anew,
    replicas_that_stage_at_once_stage_one_key,
    a_replica_that_missed_a_rotation_asks_for_the_new_key,
    a_rewrap_changes_every_key_and_no_value,
    counts_of_all_replicas_add_up_and_make_a_key_due,
    a_destroyed_key_leaves_only_its_history,
    tables_of_a_newer_version_are_left_alone,
);

async fn a_second_start_finds_the_keys_of_the_first(db: TestDb) {
    let first = db.replica(at_once()).await;
    db.put(&first, 1, "x").await;
    let second = db.replica(at_once()).await;
    assert_eq!(db.value(&second, 1).await, "x");
    let ids = |vault: &SqlVault| {
        vault
            .vault()
            .wrapped()
            .keys
            .into_iter()
            .map(|key| key.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&first), ids(&second));
    // The rows are the same thing as what `wrapped` gives: a vault without database opens with them.
    let exported = Vault::open(&kek(7), second.vault().wrapped()).expect("opens");
    exported
        .open_value(&place(1, 1), &db.sealed(1).await)
        .expect("opens");
}

async fn replicas_that_start_at_once_share_one_first_key(db: TestDb) {
    let starts: Vec<_> = (0..6).map(|_| db.replica(at_once())).collect();
    let replicas = futures_util::future::join_all(starts).await;
    for replica in &replicas {
        assert_eq!(replica.status().await.expect("a status").keys.len(), 1);
    }
}

async fn a_wrong_kek_stops_the_start(db: TestDb) {
    db.replica(at_once()).await;
    let opened = SqlVault::open(db.connect().await, Arc::new(kek(8)), at_once(), columns(), NOW).await;
    assert!(matches!(opened, Err(SqlError::Vault(VaultError::WrongKek))));
}

async fn lost_keys_are_not_replaced_where_values_are_sealed(db: TestDb) {
    let vault = db.replica(at_once()).await;
    db.put(&vault, 1, "x").await;
    db.run("DELETE FROM bmm_vault_keys").await;
    let opened = SqlVault::open(db.connect().await, Arc::new(kek(7)), at_once(), columns(), NOW).await;
    assert!(matches!(opened, Err(SqlError::KeysMissing { column }) if column == "secrets.sealed"));
    db.run("DELETE FROM secrets").await;
    db.replica(at_once()).await;
}

async fn a_missing_key_file_is_not_replaced_where_values_are_sealed(db: TestDb) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kek");
    let open = async || SqlVault::open_local(db.connect().await, &path, at_once(), columns(), NOW).await;
    let vault = open().await.expect("makes the first file");
    db.put(&vault, 1, "x").await;
    assert_eq!(db.value(&open().await.expect("opens"), 1).await, "x");

    std::fs::rename(&path, folder.path().join("elsewhere")).expect("moves");
    assert!(matches!(open().await, Err(SqlError::KekMissing { .. })));
    db.run("DELETE FROM bmm_vault_keys").await;
    assert!(matches!(open().await, Err(SqlError::KekMissing { .. })));
    assert!(!path.exists());
}

async fn a_damaged_key_row_stops_the_start(db: TestDb) {
    db.replica(at_once()).await;
    db.run("UPDATE bmm_vault_keys SET known = wrapped").await;
    let opened = SqlVault::open(db.connect().await, Arc::new(kek(7)), at_once(), columns(), NOW).await;
    assert!(matches!(opened, Err(SqlError::Vault(VaultError::WrappedKeys(_)))));
}

async fn steps_that_come_too_early_are_refused(db: TestDb) {
    let rotation = RotationPolicy {
        propagation: Duration::from_secs(60),
        grace: Duration::from_secs(600),
        drain: Duration::from_secs(60),
        max_age: None,
    };
    let settings = SqlConfig {
        rotation,
        ..SqlConfig::default()
    };
    let vault = db.replica(settings).await;
    let old = vault.vault().wrapped().keys[0].id.clone();
    let next = vault.stage(None, NOW).await.expect("stages");
    let later = |seconds| NOW + Duration::from_secs(seconds);
    assert!(matches!(
        vault.promote(&next, later(59)).await,
        Err(SqlError::TooEarly { seconds: 1 })
    ));
    vault.promote(&next, later(60)).await.expect("promotes");
    assert!(matches!(
        vault.retire(&old, later(659)).await,
        Err(SqlError::TooEarly { seconds: 1 })
    ));
    // From then on it must have been empty for a while: somebody may still hold a value that he has read.
    assert!(matches!(
        vault.retire(&old, later(660)).await,
        Err(SqlError::TooEarly { seconds: 60 })
    ));
    assert!(matches!(
        vault.retire(&old, later(719)).await,
        Err(SqlError::TooEarly { seconds: 1 })
    ));
    vault.retire(&old, later(720)).await.expect("retires");
}

async fn a_value_that_turns_up_late_starts_the_drain_anew(db: TestDb) {
    let mut settings = at_once();
    settings.rotation.drain = Duration::from_secs(60);
    let vault = db.replica(settings).await;
    db.put(&vault, 1, "x").await;
    let late = db.sealed(1).await;
    db.run("DELETE FROM secrets").await;
    let old = vault.vault().wrapped().keys[0].id.clone();
    let next = vault.stage(None, NOW).await.expect("stages");
    vault.promote(&next, NOW).await.expect("promotes");
    let later = |seconds| NOW + Duration::from_secs(seconds);
    assert!(matches!(
        vault.retire(&old, NOW).await,
        Err(SqlError::TooEarly { seconds: 60 })
    ));
    db.put_raw(1, &late).await;
    assert!(matches!(
        vault.retire(&old, later(60)).await,
        Err(SqlError::StillUsed { rows: 1 })
    ));
    vault
        .maintain(SweepConfig::default(), later(61))
        .await
        .expect("sweeps");
    assert!(matches!(
        vault.retire(&old, later(120)).await,
        Err(SqlError::TooEarly { seconds: 1 })
    ));
    vault.retire(&old, later(121)).await.expect("retires");
    assert_eq!(db.value(&vault, 1).await, "x");
}

async fn replicas_that_stage_at_once_stage_one_key(db: TestDb) {
    let replicas = [db.replica(at_once()).await, db.replica(at_once()).await];
    let (one, other) = tokio::join!(replicas[0].stage(None, NOW), replicas[1].stage(None, NOW));
    assert_eq!(one.expect("stages"), other.expect("stages"));
    let (one, other) = tokio::join!(
        replicas[0].ensure_tenant("t", NOW),
        replicas[1].ensure_tenant("t", NOW)
    );
    one.and(other).expect("one key for the tenant");
    let status = replicas[0].status().await.expect("a status");
    let states: Vec<_> = status.keys.iter().map(|key| key.state).collect();
    assert_eq!(states, [KeyState::Active, KeyState::Staged, KeyState::Active]);
}

async fn a_replica_that_missed_a_rotation_asks_for_the_new_key(db: TestDb) {
    let (one, other) = (db.replica(at_once()).await, db.replica(at_once()).await);
    let next = one.stage(None, NOW).await.expect("stages");
    one.promote(&next, NOW).await.expect("promotes");
    db.put(&one, 1, "x").await;
    let sealed = db.sealed(1).await;
    assert!(matches!(
        other.vault().open_value(&place(1, 1), &sealed),
        Err(VaultError::UnknownKey)
    ));
    assert_eq!(db.value(&other, 1).await, "x");
}

async fn a_rewrap_changes_every_key_and_no_value(db: TestDb) {
    let (one, other) = (db.replica(at_once()).await, db.replica(at_once()).await);
    db.put(&one, 1, "x").await;
    let sealed = db.sealed(1).await;
    let next = one.stage(None, NOW).await.expect("stages");
    assert_eq!(one.rewrap(Arc::new(kek(8))).await.expect("rewraps"), 2);
    assert_eq!(db.sealed(1).await, sealed);
    one.promote(&next, NOW).await.expect("goes on under the new KEK");
    other
        .refresh()
        .await
        .expect_err("a key that was staged meanwhile is under the new KEK");
    assert_eq!(db.value(&other, 1).await, "x", "and what it holds still opens");

    let refused = other.stage(None, NOW).await;
    assert!(
        matches!(refused, Err(SqlError::Vault(VaultError::WrongKek))),
        "{refused:?}"
    );
    assert_eq!(one.status().await.expect("a status").keys.len(), 2);
    let refused = other.use_kek(Arc::new(kek(9))).await;
    assert!(
        matches!(refused, Err(SqlError::Vault(VaultError::WrongKek))),
        "{refused:?}"
    );
    assert_eq!(other.kek_id(), kek(7).id());
    other.use_kek(Arc::new(kek(8))).await.expect("takes it over");
    other.refresh().await.expect("loads the key that was staged");
    other.stage(None, NOW).await.expect("makes keys again");

    let old = SqlVault::open(db.connect().await, Arc::new(kek(7)), at_once(), columns(), NOW).await;
    assert!(matches!(old, Err(SqlError::Vault(VaultError::WrongKek))));
    let new = SqlVault::open(db.connect().await, Arc::new(kek(8)), at_once(), columns(), NOW)
        .await
        .expect("opens");
    assert_eq!(db.value(&new, 1).await, "x");
}

async fn counts_of_all_replicas_add_up_and_make_a_key_due(db: TestDb) {
    let mut settings = at_once();
    settings.vault.budget = Budget {
        max_values: 100,
        max_bytes: 1 << 20,
        rotate_at_percent: 50,
    };
    let (one, other) = (db.replica(settings.clone()).await, db.replica(settings).await);
    for replica in [&one, &other] {
        for id in 0..30 {
            replica.seal(&place(id, 1), b"12345", NOW).await.expect("seals");
        }
        replica.refresh().await.expect("stores its counts");
    }
    one.refresh().await.expect("learns of the other's");
    let first = &one.vault().wrapped().keys[0];
    assert_eq!((first.values, first.bytes), (60, 300));
    one.maintain(SweepConfig::default(), NOW).await.expect("stages");
    one.maintain(SweepConfig::default(), NOW).await.expect("promotes");
    let status = one.status().await.expect("a status");
    assert_eq!(status.active, Some(2));
}

async fn a_destroyed_key_leaves_only_its_history(db: TestDb) {
    let vault = db.replica(at_once()).await;
    db.put(&vault, 1, "x").await;
    let backup = db.sealed(1).await;
    let old = vault.vault().wrapped().keys[0].id.clone();
    let next = vault.stage(None, NOW).await.expect("stages");
    vault.promote(&next, NOW).await.expect("promotes");
    Sweeper::new(&vault, SweepConfig::default())
        .run(NOW, |_| {})
        .await
        .expect("sweeps");
    vault.retire(&old, NOW).await.expect("retires");

    // A row from before the sweep comes back: it is refused, until the key is reinstated.
    db.run(&format!("UPDATE secrets SET sealed = '{backup}'")).await;
    assert!(matches!(
        vault.open_value(&place(1, 1), &backup).await,
        Err(SqlError::Vault(VaultError::RetiredKey))
    ));
    assert!(matches!(
        vault.destroy(&old).await,
        Err(SqlError::StillUsed { rows: 1 })
    ));
    vault.reinstate(&old).await.expect("comes back");
    Sweeper::new(&vault, SweepConfig::default())
        .run(NOW, |_| {})
        .await
        .expect("sweeps");
    assert_eq!(db.value(&vault, 1).await, "x");

    vault.retire(&old, NOW).await.expect("retires");
    vault.destroy(&old).await.expect("destroys");
    let status = db.replica(at_once()).await.status().await.expect("a status");
    assert_eq!(
        (status.keys[0].state, &status.keys[0].kek),
        (KeyState::Destroyed, &None)
    );
    let left: i64 = on!(db.pool, pool => {
        let sql = "SELECT count(*) FROM bmm_vault_keys WHERE wrapped = '' AND known = ''";
        sqlx::query_scalar(sql).fetch_one(pool).await.expect("counts")
    });
    assert_eq!(left, 1);
}

async fn tables_of_a_newer_version_are_left_alone(db: TestDb) {
    db.run("INSERT INTO bmm_vault_migrations (version) VALUES (99)")
        .await;
    let refused = db.connect().await.migrate().await;
    assert!(matches!(refused, Err(SqlError::Newer { found: 99, .. })));
}

#[tokio::test]
async fn an_address_of_another_database_is_refused() {
    assert!(matches!(
        VaultDb::connect("mysql://x").await,
        Err(SqlError::Address)
    ));
}
