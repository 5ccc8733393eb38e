//! The server's own tables in `bmm.db`. All SQL of this crate is in this folder.

mod accounts;
mod orders;
mod secrets;
mod servers;

use std::path::Path;
use std::time::Duration;

use sqlx::Row as _;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

pub(crate) use accounts::{LOCAL_ORGANISATION, UserRow};
pub(crate) use orders::{OpenOrder, Order, Outcome};
pub(crate) use secrets::SecretRow;
pub(crate) use servers::{NewServer, ServerRow};

/// One step per version of the tables, in order; never edited once released.
const MIGRATIONS: [&str; 2] = [include_str!("schema_1.sql"), include_str!("schema_2.sql")];

/// The database. Clones share their connections.
#[derive(Clone)]
pub(crate) struct Db {
    pool: SqlitePool,
}

/// Why the database did not do as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DbError {
    #[error("the database")]
    Sql(#[from] sqlx::Error),
    #[error("the database is from a newer version of bmm (tables {found}, this one knows {}); use that version", MIGRATIONS.len())]
    Newer { found: i64 },
    #[error("the server that is running is of another version of bmm; use that version's `bmm`")]
    OtherVersion,
    #[error("a value in the database cannot be read: {0}")]
    Unreadable(&'static str),
    #[error("the operating system gave no random bytes")]
    Randomness,
    #[error("the slug {0} belonged to another organisation")]
    SlugTaken(String),
}

impl Db {
    /// Opens the database, made if it is missing, with up-to-date tables.
    pub(crate) async fn open(path: &Path) -> Result<Self, DbError> {
        let db = Self::connect(path, true).await?;
        db.migrate().await?;
        Ok(db)
    }

    /// Opens the database of a server that runs now, whose tables must be of this version.
    pub(crate) async fn attach(path: &Path) -> Result<Self, DbError> {
        let db = Self::connect(path, false).await?;
        let found: i64 = sqlx::query("SELECT max(version) FROM bmm_server_migrations")
            .fetch_one(&db.pool)
            .await?
            .try_get(0)?;
        if usize::try_from(found) == Ok(MIGRATIONS.len()) {
            Ok(db)
        } else {
            Err(DbError::OtherVersion)
        }
    }

    async fn connect(path: &Path, create: bool) -> Result<Self, DbError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(create)
            .journal_mode(SqliteJournalMode::Wal)
            // What was acknowledged survives a power cut.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options)
            .await?;
        Ok(Self { pool })
    }

    /// Closes all connections; the write-ahead log is folded in.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    /// A setting of this instance.
    pub(crate) async fn setting(&self, key: &'static str) -> Result<Option<String>, DbError> {
        let row = sqlx::query("SELECT value FROM instance WHERE key = $1")
            .bind(key)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Keeps a setting of this instance.
    pub(crate) async fn set_setting(&self, key: &'static str, value: &str) -> Result<(), DbError> {
        sqlx::query(
            "INSERT INTO instance (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )
        .bind(key)
        .bind(value)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Writes a copy of everything as it is at one moment, while others go on writing. The file must not exist.
    pub(crate) async fn copy_to(&self, path: &str) -> Result<(), DbError> {
        sqlx::query("VACUUM INTO $1")
            .bind(path)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Whether the file holds what was written to it.
    pub(crate) async fn check(&self) -> Result<(), DbError> {
        let said: String = sqlx::query_scalar("PRAGMA integrity_check(1)")
            .fetch_one(&self.pool)
            .await?;
        if said == "ok" {
            Ok(())
        } else {
            Err(DbError::Unreadable("its pages are damaged"))
        }
    }

    /// Ends every session and voids every sign-in link.
    pub(crate) async fn sign_everybody_out(&self) -> Result<(), DbError> {
        sqlx::raw_sql("DELETE FROM sessions; DELETE FROM login_tokens;")
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn migrate(&self) -> Result<(), DbError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("CREATE TABLE IF NOT EXISTS bmm_server_migrations (version INTEGER PRIMARY KEY) STRICT")
            .execute(&mut *transaction)
            .await?;
        let found: i64 = sqlx::query("SELECT coalesce(max(version), 0) FROM bmm_server_migrations")
            .fetch_one(&mut *transaction)
            .await?
            .try_get(0)?;
        let done = usize::try_from(found).map_err(|_| DbError::Unreadable("version of the tables"))?;
        if done > MIGRATIONS.len() {
            return Err(DbError::Newer { found });
        }
        for (version, sql) in (1_i64..).zip(MIGRATIONS).skip(done) {
            sqlx::raw_sql(sql).execute(&mut *transaction).await?;
            sqlx::query("INSERT INTO bmm_server_migrations (version) VALUES ($1)")
                .bind(version)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

/// Seconds since the epoch as SQLite keeps them.
fn seconds(time: bmm_oauth::Timestamp) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use bmm_oauth::Timestamp;

    use super::*;

    async fn db() -> (tempfile::TempDir, Db) {
        let folder = tempfile::tempdir().expect("a folder");
        let db = Db::open(&folder.path().join("bmm.db")).await.expect("opens");
        (folder, db)
    }

    fn server(slug: &str, digest: &str) -> NewServer {
        NewServer {
            slug: slug.to_owned(),
            spec_digest: digest.to_owned(),
            source: b"{}".to_vec(),
            compiled: "{}".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_newer_database_is_refused() {
        let (folder, db) = db().await;
        sqlx::query("INSERT INTO bmm_server_migrations VALUES (9)")
            .execute(&db.pool)
            .await
            .expect("inserts");
        assert!(matches!(
            Db::open(&folder.path().join("bmm.db")).await,
            Err(DbError::Newer { found: 9 })
        ));
    }

    #[tokio::test]
    async fn a_login_token_has_one_taker_among_many() {
        let (_folder, db) = db().await;
        let now = Timestamp::from_secs(100);
        let user = db.local_owner(now).await.expect("the owner");
        db.put_login_token(&[1; 32], &user.id, Timestamp::from_secs(200), now)
            .await
            .expect("puts");

        let takers: Vec<_> = (0..16)
            .map(|_| {
                let db = db.clone();
                tokio::spawn(async move {
                    db.take_login_token(&[1; 32], now)
                        .await
                        .expect("answers")
                        .is_some()
                })
            })
            .collect();
        let mut winners = 0;
        for taker in takers {
            winners += u32::from(taker.await.expect("no panic"));
        }
        assert_eq!(winners, 1);
    }

    #[tokio::test]
    async fn expired_tokens_and_sessions_are_nobody() {
        let (_folder, db) = db().await;
        let (now, later) = (Timestamp::from_secs(100), Timestamp::from_secs(200));
        let user = db.local_owner(now).await.expect("the owner");
        db.put_login_token(&[1; 32], &user.id, later, now)
            .await
            .expect("puts");
        db.put_session(&[2; 32], &user.id, now, later)
            .await
            .expect("puts");
        assert!(db.session_user(&[2; 32], now).await.expect("answers").is_some());
        assert!(db.session_user(&[2; 32], later).await.expect("answers").is_none());
        assert!(
            db.take_login_token(&[1; 32], later)
                .await
                .expect("answers")
                .is_none()
        );
    }

    #[tokio::test]
    async fn the_local_owner_stays_the_same() {
        let (_folder, db) = db().await;
        let first = db.local_owner(Timestamp::from_secs(1)).await.expect("the owner");
        let again = db.local_owner(Timestamp::from_secs(2)).await.expect("the owner");
        assert_eq!(first.id, again.id);
    }

    #[tokio::test]
    async fn a_replaced_server_gets_the_next_revision() {
        let (_folder, db) = db().await;
        let now = Timestamp::from_secs(1);
        db.put_server(&server("a", "one"), 1, now).await.expect("puts");
        db.put_server(&server("a", "two"), 2, now).await.expect("puts");
        let stored = db.servers().await.expect("lists");
        assert_eq!(stored.len(), 1);
        assert_eq!((stored[0].revision, stored[0].spec_digest.as_str()), (2, "two"));
    }

    #[tokio::test]
    async fn going_back_is_one_step_and_no_number_is_given_twice() {
        let (_folder, db) = db().await;
        let now = Timestamp::from_secs(1);
        assert_eq!(db.next_revision("a").await.expect("answers"), 1);
        db.put_server(&server("a", "one"), 1, now).await.expect("puts");
        assert!(!db.swap_revisions("a", now).await.expect("answers"));
        db.put_server(&server("a", "two"), 2, now).await.expect("puts");
        // As after a start without changes.
        db.put_server(&server("a", "two"), 2, now).await.expect("puts");
        for (revision, digest, before) in [(1, "one", 2), (2, "two", 1), (1, "one", 2)] {
            assert!(db.swap_revisions("a", now).await.expect("swaps"));
            let row = db.server("a").await.expect("answers").expect("there");
            assert_eq!((row.revision, row.spec_digest.as_str()), (revision, digest));
            let previous = db.previous("a").await.expect("answers").expect("there");
            assert_eq!((previous.revision, previous.slug.as_str()), (before, "a"));
        }
        assert_eq!(db.next_revision("a").await.expect("answers"), 3);
    }

    #[tokio::test]
    async fn a_later_order_takes_the_place_of_an_earlier_one() {
        let (_folder, db) = db().await;
        assert_eq!(db.give_order("a", Order::Stop).await.expect("answers"), None);
        let now = Timestamp::from_secs(1);
        db.put_server(&server("a", "one"), 1, now).await.expect("puts");
        let first = db
            .give_order("a", Order::Stop)
            .await
            .expect("answers")
            .expect("given");
        let open = db.open_orders().await.expect("lists");
        let second = db
            .give_order("a", Order::Start)
            .await
            .expect("answers")
            .expect("given");
        db.close_order(&open[0], &Ok("late".to_owned()))
            .await
            .expect("closes");
        let outcome = async |number| db.outcome("a", number).await.expect("answers");
        assert_eq!(
            (outcome(first).await, outcome(second).await),
            (Outcome::Overtaken, Outcome::Open)
        );
        let open = db.open_orders().await.expect("lists");
        assert_eq!((open.len(), open[0].order), (1, Order::Start));
        db.close_order(&open[0], &Err("no".to_owned()))
            .await
            .expect("closes");
        assert_eq!(outcome(second).await, Outcome::Failed("no".to_owned()));
        assert!(db.open_orders().await.expect("lists").is_empty());
    }

    #[tokio::test]
    async fn every_change_of_a_secret_is_a_later_revision_of_its_server() {
        let (_folder, db) = db().await;
        let now = Timestamp::from_secs(1);
        db.put_server(&server("a", "one"), 1, now).await.expect("puts");
        for name in ["ONE", "TWO", "ONE"] {
            let put = db.put_secret("a", LOCAL_ORGANISATION, name, "sealed", now).await;
            assert!(put.expect("puts"));
        }
        assert_eq!(db.secret_revisions().await.expect("lists"), [("a".to_owned(), 3)]);
        assert_eq!(db.secrets("a").await.expect("lists").len(), 2);
        for (slug, organisation) in [("b", LOCAL_ORGANISATION), ("a", "other")] {
            let put = db.put_secret(slug, organisation, "ONE", "sealed", now).await;
            assert!(!put.expect("answers"), "{slug} of {organisation}");
        }
    }

    #[tokio::test]
    async fn a_slug_of_another_organisation_is_not_given_away() {
        let (_folder, db) = db().await;
        sqlx::query("INSERT INTO slug_tombstones VALUES ('a', 'other', 1)")
            .execute(&db.pool)
            .await
            .expect("inserts");
        let put = db
            .put_server(&server("a", "one"), 1, Timestamp::from_secs(1))
            .await;
        assert!(matches!(put, Err(DbError::SlugTaken(_))));
    }
}
