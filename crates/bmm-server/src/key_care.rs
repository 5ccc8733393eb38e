//! Looking after the keys while a server runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bmm_oauth::{Algorithm, AuthorizationServer, Timestamp};
use bmm_vault::{Kek as _, LocalKek, SqlVault, SweepConfig, Vault};

use crate::app::App;
use crate::db::Db;
use crate::wall_clock::wall;

/// How often a server looks after its keys: well within the two minutes between a key's making and its use.
const KEEP_EVERY: Duration = Duration::from_secs(20);
/// As long as a data-encryption key: nothing is gained by keeping either for longer.
const SIGNING_KEY_AGE: Duration = Duration::from_secs(90 * 24 * 3600);
/// The setting that says when the newest signing key was made.
const SIGNING_KEY_MADE_AT: &str = "signing_key_made_at";

/// Looks after the keys for as long as the server runs: takes every step of a rotation when it is due, takes over a changed
/// key-encryption key, and makes a new signing key when the last one is old. Never returns.
pub(crate) async fn keep(app: &App, kek: PathBuf) {
    let (db, vault, server) = (&app.storage.db, &app.storage.vault, &app.authorization_server);
    let mut ticks = tokio::time::interval(KEEP_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = app.clock.now();
        if let Err(error) = keep_once(vault, &kek, now).await {
            tracing::error!(error = format!("{error:#}"), "the keys could not be looked after");
        }
        if let Err(error) = keep_signing_keys(server, db, vault.vault(), now).await {
            tracing::error!(
                error = format!("{error:#}"),
                "the signing keys could not be looked after"
            );
        }
    }
}

async fn keep_once(vault: &SqlVault, kek: &Path, now: Timestamp) -> anyhow::Result<()> {
    match LocalKek::load(kek) {
        Ok(on_disk) if on_disk.id() != vault.kek_id() => {
            vault.use_kek(Arc::new(on_disk)).await?;
            tracing::info!("the key-encryption key was changed");
        }
        Ok(_) => {}
        // What was loaded goes on; who is told now can still put it back.
        Err(error) => tracing::warn!(%error, "the key file cannot be used; the next start will need it"),
    }
    let done = vault.maintain(SweepConfig::default(), wall(now)).await?;
    for step in done.steps {
        tracing::info!(?step, "a step of the rotation of keys");
    }
    if done.sweep.moved > 0 {
        tracing::info!(values = done.sweep.moved, "sealed anew with the present key");
    }
    for row in done.sweep.poison_rows {
        tracing::warn!(row.column, row.row, row.reason, "a sealed value does not open");
    }
    Ok(())
}

async fn keep_signing_keys(
    server: &AuthorizationServer,
    db: &Db,
    vault: &Vault,
    now: Timestamp,
) -> anyhow::Result<()> {
    let made_at = db.setting(SIGNING_KEY_MADE_AT).await?;
    let made_at = made_at
        .and_then(|text| text.parse().ok())
        .map(Timestamp::from_secs);
    let is_old = |made_at: Timestamp| now.since(made_at) >= SIGNING_KEY_AGE;
    if made_at.is_some_and(|made_at| !is_old(made_at)) {
        return Ok(());
    }
    if made_at.is_some() {
        server.rotate_keys(vault, Algorithm::default()).await?;
    }
    // Afterwards, so that a failure is tried again; a key that is on its way already is not made twice.
    db.set_setting(SIGNING_KEY_MADE_AT, &now.as_secs().to_string())
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use bmm_oauth::{
        AsConfig, BoxError, BoxFuture, Clock, ManualClock, ResourceInfo, ResourceUri, Resources, Session,
        SignIn, SigningKeys, SqlStore, Subject, User,
    };
    use bmm_vault::{Context, KeyState, SqlConfig, VaultDb};

    use super::*;
    use crate::db::{LOCAL_ORGANISATION, NewServer};
    use crate::keys::open_vault;
    use crate::secrets::sealed_column;

    #[tokio::test]
    async fn a_staged_key_seals_everything_after_minutes_and_the_old_one_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, kek) = (folder.path().join("bmm.db"), folder.path().join("kek"));
        let clock = ManualClock::new(Timestamp::from_secs(1_000_000));
        let db = Db::open(&file).await.expect("opens");
        let vault_db = VaultDb::open(&file).await.expect("opens");
        vault_db.migrate().await.expect("migrates");
        let columns = vec![sealed_column()];
        let vault = open_vault(&vault_db, &kek, SqlConfig::default(), columns, clock.now()).await;
        let vault = vault.expect("a vault");
        let server = NewServer {
            slug: "a".to_owned(),
            spec_digest: String::new(),
            source: Vec::new(),
            compiled: String::new(),
        };
        db.put_server(&server, 1, clock.now()).await.expect("puts");
        let place = Context::new("server_secrets")
            .tenant(LOCAL_ORGANISATION)
            .row("a")
            .name("ONE");
        let sealed = vault.vault().seal(&place, b"x").expect("seals");
        let put = db
            .put_secret("a", LOCAL_ORGANISATION, "ONE", &sealed, clock.now())
            .await;
        assert!(put.expect("puts"));

        vault.stage(None, wall(clock.now())).await.expect("stages");
        let mut seen = Vec::new();
        for _ in 0..60 {
            keep_once(&vault, &kek, clock.now()).await.expect("keeps");
            let states: Vec<_> = vault.vault().wrapped().keys.iter().map(|key| key.state).collect();
            if seen.last() != Some(&states) {
                seen.push(states);
            }
            let sealed = &db.secrets("a").await.expect("reads")[0].sealed;
            let opened = vault
                .open_value(&place, sealed)
                .await
                .expect("opens at every moment");
            assert_eq!(*opened, b"x");
            clock.advance(KEEP_EVERY);
        }
        use KeyState::{Active, Retired, Retiring, Staged};
        assert_eq!(seen, [[Active, Staged], [Retiring, Active], [Retired, Active]]);
        assert_ne!(db.secrets("a").await.expect("reads")[0].sealed, sealed);
    }

    struct Nobody;

    impl Session for Nobody {
        fn current<'a>(&'a self, _: &'a http::request::Parts) -> BoxFuture<'a, Option<User>> {
            Box::pin(async { None })
        }

        fn sign_in_url(&self, _: &str) -> String {
            "/".to_owned()
        }
    }

    impl Resources for Nobody {
        fn lookup<'a>(
            &'a self,
            _: &'a ResourceUri,
            _: &'a Subject,
        ) -> BoxFuture<'a, Result<Option<ResourceInfo>, BoxError>> {
            Box::pin(async { Ok(None) })
        }
    }

    #[tokio::test]
    async fn a_new_signing_key_is_made_when_the_last_one_is_old_and_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("bmm.db");
        let clock = ManualClock::new(Timestamp::from_secs(1_000_000));
        let db = Db::open(&file).await.expect("opens");
        let store = SqlStore::open(&file).await.expect("opens");
        store.migrate().await.expect("migrates");
        let vault = Vault::create(&LocalKek::create(&folder.path().join("kek")).expect("a key"));
        let vault = vault.expect("a vault");
        let keys = SigningKeys::load_or_create(&vault, &store).await.expect("keys");
        let server = AuthorizationServer::new(
            AsConfig::new("https://mcp.example.com".parse().expect("an issuer")),
            store,
            keys,
            SignIn::session(Arc::new(Nobody)),
            Arc::new(Nobody),
        )
        .with_clock(Arc::new(clock.clone()));
        let published = || server.jwks()["keys"].as_array().map_or(0, Vec::len);

        for (days, keys) in [(0, 1), (89, 1), (1, 2), (0, 2), (1, 1)] {
            clock.advance(Duration::from_secs(days * 24 * 3600));
            for _ in 0..2 {
                let kept = keep_signing_keys(&server, &db, &vault, clock.now()).await;
                kept.expect("keeps");
            }
            assert_eq!(published(), keys, "after {days} more days");
        }
    }
}
