//! The SQL store: SQLite for one machine, PostgreSQL for several replicas. All SQL of this crate stands in this folder.
//!
//! The databases share one schema and every statement that is valid on both ([`statement`]). What they do not share is how a
//! single-use step is made atomic and durable: [`sqlite`] has one writer that commits in groups, [`postgres`] one statement for each step.

mod error;
mod group_commit;
mod migrations;
mod postgres;
mod revoked;
mod rotate_sqlite;
mod shared;
mod sqlite;
mod statement;
mod steps;
mod upstream_token;

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use sqlx::sqlite::SqliteConnectOptions;

use self::error::SqlError;
use self::migrations::Migrated;
use self::postgres::Postgres;
use self::revoked::RevokedGrants;
use self::sqlite::Sqlite;
use self::statement::{Row, Statement};
use super::StoreError;
use crate::server::secret::random_id;

/// A [`Store`](super::Store) in an SQLite file or in a PostgreSQL database. Clones share it.
///
/// Any number of replicas may share a PostgreSQL database. An SQLite file is for one process; a second one may open it, as in an overlapping
/// restart, and then each waits for the other's commits.
#[derive(Clone, Debug)]
pub struct SqlStore {
    database: Database,
    revoked: Arc<RevokedGrants>,
}

#[derive(Clone, Debug)]
enum Database {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl SqlStore {
    /// Opens a database by URL: `sqlite://path`, where the file is made if need be, or `postgres://user:password@host/database`, with
    /// `?sslmode=verify-full` where a network lies between. Call [`migrate`](Self::migrate) before use.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let database = match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => {
                let options = SqliteConnectOptions::from_str(url)
                    .map_err(|error| StoreError::new("not an SQLite URL", error))?;
                Sqlite::open(options).await.map(Database::Sqlite)
            }
            Some("postgres" | "postgresql") => Postgres::connect(url).await.map(Database::Postgres),
            _ => {
                let why = "a database URL begins with sqlite: or postgres:";
                return Err(StoreError::message(why));
            }
        };
        Self::on(database)
    }

    /// Opens an SQLite file; it is made if need be. Call [`migrate`](Self::migrate) before use.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new().filename(path);
        Self::on(Sqlite::open(options).await.map(Database::Sqlite))
    }

    /// Brings the tables up to date. A database written by a newer version is refused and left alone.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let migrated = match &self.database {
            Database::Sqlite(database) => database.migrate().await,
            Database::Postgres(database) => database.migrate().await,
        };
        match migrated.map_err(|error| StoreError::new("cannot create the tables", error))? {
            Migrated::Current => Ok(()),
            Migrated::TooNew => Err(StoreError::message(
                "the database was written by a newer version of this program",
            )),
        }
    }

    /// Ends every grant and with it every refresh token, and drops what waits for consent or redemption: after a restore, say,
    /// which would bring back what was revoked since. The signing keys are forgotten, so that access tokens end too: call it before
    /// [`SigningKeys::load_or_create`](crate::SigningKeys::load_or_create), with no server running. Followers of the revocations start
    /// again, since the restored sequence may have gone back.
    pub async fn end_all_grants(&self) -> Result<(), StoreError> {
        let statements = [
            Statement::new("DELETE FROM oauth_refresh_tokens"),
            Statement::new("DELETE FROM oauth_codes"),
            // Not what was claimed: a used assertion stays used.
            Statement::new(
                "DELETE FROM oauth_once WHERE kind IN ('consent', 'pushed_request', 'sign_in', 'refresh_replay')",
            ),
            Statement::new("UPDATE oauth_state SET epoch = $1").text(random_id()),
            Statement::new("DELETE FROM oauth_grants"),
            Statement::new("DELETE FROM oauth_signing_keys"),
        ];
        match self.execute(statements.to_vec()).await {
            Ok(_) => Ok(()),
            Err(error) => Err(StoreError::new("cannot end the grants", error)),
        }
    }

    /// Waits for the writes that were begun, and closes the database. What is asked of it afterwards fails.
    pub async fn close(&self) {
        match &self.database {
            Database::Sqlite(database) => database.close().await,
            Database::Postgres(database) => database.close().await,
        }
    }

    fn on(database: sqlx::Result<Database>) -> Result<Self, StoreError> {
        Ok(Self {
            database: database.map_err(|error| StoreError::new("cannot open the database", error))?,
            revoked: Arc::default(),
        })
    }

    async fn read(&self, statement: Statement) -> Result<Vec<Row>, SqlError> {
        match &self.database {
            Database::Sqlite(database) => database.read(statement).await,
            Database::Postgres(database) => database.read(statement).await,
        }
    }

    async fn read_one(&self, statement: Statement) -> Result<Option<Row>, SqlError> {
        Ok(self.read(statement).await?.into_iter().next())
    }

    /// Runs the statements in one transaction. Says how many rows the last one changed.
    async fn execute(&self, statements: Vec<Statement>) -> Result<u64, SqlError> {
        match &self.database {
            Database::Sqlite(database) => database.execute(statements).await,
            Database::Postgres(database) => database.execute(statements).await,
        }
    }

    /// Runs the statements in one transaction. Returns the rows of the last one.
    async fn execute_returning(&self, first: Vec<Statement>, last: Statement) -> Result<Vec<Row>, SqlError> {
        match &self.database {
            Database::Sqlite(database) => database.execute_returning(first, last).await,
            Database::Postgres(database) => database.execute_returning(first, last).await,
        }
    }

    async fn write_returning(&self, statement: Statement) -> Result<Option<Row>, SqlError> {
        match &self.database {
            Database::Sqlite(database) => database.write_returning(statement).await,
            Database::Postgres(database) => database.write_returning(statement).await,
        }
    }
}
