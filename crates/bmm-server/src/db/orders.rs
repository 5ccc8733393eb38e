//! What the bmm that runs is asked to do with a server, by a command that is another process.

use sqlx::Row as _;

use super::{Db, DbError};

/// What is to be done with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Take it down, and leave it down.
    Stop,
    /// Start it again.
    Start,
    /// Go back one revision.
    Rollback,
}

/// An order that was not carried out yet.
#[derive(Clone, Debug)]
pub(crate) struct OpenOrder {
    pub(crate) slug: String,
    pub(crate) number: i64,
    pub(crate) order: Order,
    /// What was the revision to go back to when the order was given.
    pub(crate) revision: Option<i64>,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Open,
    Done(String),
    Failed(String),
    /// Somebody gave a later one.
    Overtaken,
}

impl Db {
    /// Asks for something. The number by which to ask for its outcome; `None` if there is no such server.
    pub(crate) async fn give_order(&self, slug: &str, order: Order) -> Result<Option<i64>, DbError> {
        let number = sqlx::query_scalar(
            "INSERT INTO server_orders (slug, number, kind, revision) \
             SELECT slug, 1, $2, (SELECT revision FROM previous_revisions WHERE slug = $1) FROM servers WHERE slug = $1 \
             ON CONFLICT (slug) DO UPDATE SET number = server_orders.number + 1, kind = excluded.kind, \
             revision = excluded.revision, failed = 0, outcome = NULL RETURNING number",
        )
        .bind(slug)
        .bind(order.as_str())
        .fetch_optional(&self.pool)
        .await?;
        Ok(number)
    }

    /// All orders that are still to be carried out.
    pub(crate) async fn open_orders(&self) -> Result<Vec<OpenOrder>, DbError> {
        let rows =
            sqlx::query("SELECT slug, number, kind, revision FROM server_orders WHERE outcome IS NULL")
                .fetch_all(&self.pool)
                .await?;
        rows.iter()
            .map(|row| {
                let kind: String = row.try_get(2)?;
                Ok(OpenOrder {
                    slug: row.try_get(0)?,
                    number: row.try_get(1)?,
                    order: Order::parse(&kind).ok_or(DbError::Unreadable("an order"))?,
                    revision: row.try_get(3)?,
                })
            })
            .collect()
    }

    /// Notes what came of an order, unless there is a later one by now.
    pub(crate) async fn close_order(
        &self,
        order: &OpenOrder,
        outcome: &Result<String, String>,
    ) -> Result<(), DbError> {
        let (Ok(text) | Err(text)) = outcome;
        sqlx::query("UPDATE server_orders SET outcome = $3, failed = $4 WHERE slug = $1 AND number = $2")
            .bind(&order.slug)
            .bind(order.number)
            .bind(text)
            .bind(outcome.is_err())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Takes back what was asked for, as if it had been carried out or overtaken.
    pub(crate) async fn withdraw_order(&self, slug: &str) -> Result<(), DbError> {
        sqlx::query("UPDATE server_orders SET outcome = '' WHERE slug = $1 AND outcome IS NULL")
            .bind(slug)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// What became of an order.
    pub(crate) async fn outcome(&self, slug: &str, number: i64) -> Result<Outcome, DbError> {
        let row = sqlx::query("SELECT number, failed, outcome FROM server_orders WHERE slug = $1")
            .bind(slug)
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else {
            return Ok(Outcome::Overtaken);
        };
        let (latest, failed, outcome): (i64, bool, Option<String>) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        Ok(match outcome {
            _ if latest != number => Outcome::Overtaken,
            None => Outcome::Open,
            Some(text) if failed => Outcome::Failed(text),
            Some(text) => Outcome::Done(text),
        })
    }
}

impl Order {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Rollback => "rollback",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Stop, Self::Start, Self::Rollback]
            .into_iter()
            .find(|order| order.as_str() == text)
    }
}
