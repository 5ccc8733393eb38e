//! Rotations of refresh tokens on SQLite, as a set: three statements for all rotations of a transaction. JSON carries the set, with hashes in hexadecimal;
//! the sealed answers lie in one value behind each other, since they are long.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnection;
use tokio::sync::oneshot;

use super::error::SqlError;
use super::statement::{Row, Statement, seconds};
use crate::clock::Timestamp;
use crate::server::secret::SecretHash;
use crate::server::store::{NewRefresh, Replay, Rotation};

/// What is asked for.
pub(super) struct Asked {
    pub(super) old: SecretHash,
    pub(super) successor: NewRefresh,
    pub(super) replay: Option<Replay>,
    pub(super) now: Timestamp,
}

/// A rotation that waits for its turn.
pub(super) struct Rotate {
    pub(super) asked: Asked,
    pub(super) reply: oneshot::Sender<Result<Rotation, SqlError>>,
}

const SPEND: &str = "UPDATE oauth_refresh_tokens SET rotated_at = asked.now \
    FROM (SELECT unhex(value->>0) AS old, value->>1 AS now FROM json_each($1)) AS asked \
    WHERE token_hash = asked.old AND rotated_at IS NULL AND expires_at > asked.now AND EXISTS (SELECT 1 FROM oauth_grants g \
    WHERE g.id = oauth_refresh_tokens.grant_id AND g.revoked = 0 AND g.expires_at > asked.now) RETURNING token_hash, grant_id";

const SUCCEED: &str = "INSERT INTO oauth_refresh_tokens (token_hash, grant_id, expires_at) \
    SELECT unhex(value->>0), value->>1, value->>2 FROM json_each($1)";

const KEEP: &str = "INSERT OR REPLACE INTO oauth_once (kind, key_hash, value, expires_at) \
    SELECT 'refresh_replay', unhex(value->>0), substr($2, value->>1, value->>2), value->>3 FROM json_each($1)";

const SPENT: &str = "SELECT t.token_hash, t.rotated_at, o.value AS replay FROM json_each($1) AS asked \
    CROSS JOIN oauth_refresh_tokens t ON t.token_hash = unhex(asked.value->>0) \
    LEFT JOIN oauth_once o ON o.kind = 'refresh_replay' AND o.key_hash = t.token_hash AND o.expires_at > asked.value->>1";

/// Rotates, in the transaction that is open. Of several rotations of one token the first one may win.
pub(super) async fn rotate_all(
    connection: &mut SqliteConnection,
    rotations: &[Rotate],
) -> Result<Vec<Rotation>, SqlError> {
    let mut seen = HashSet::new();
    let firsts: Vec<bool> = rotations
        .iter()
        .map(|rotate| seen.insert(rotate.asked.old))
        .collect();
    let asked = rotations.iter().zip(&firsts).filter(|(_, first)| **first);
    let asked = asked.map(|(rotate, _)| json!([hex(rotate.asked.old.as_bytes()), seconds(rotate.asked.now)]));
    let mut grants = HashMap::new();
    for row in all(connection, SPEND, asked.collect()).await? {
        grants.insert(row.hash("token_hash")?, row.text("grant_id")?);
    }
    let (mut successors, mut losers) = (Vec::new(), Vec::new());
    let (mut kept, mut answers) = (Vec::new(), Vec::new());
    let mut won = Vec::with_capacity(rotations.len());
    for (Rotate { asked, .. }, first) in rotations.iter().zip(firsts) {
        let grant = grants.get(&asked.old).filter(|_| first);
        won.push(grant.is_some());
        let Some(grant_id) = grant else {
            losers.push(json!([hex(asked.old.as_bytes()), seconds(asked.now)]));
            continue;
        };
        let NewRefresh { hash, expires_at } = &asked.successor;
        successors.push(json!([hex(hash.as_bytes()), grant_id, seconds(*expires_at)]));
        if let Some(Replay { sealed, expires_at }) = &asked.replay {
            // SQL counts from 1.
            let (at, length) = (answers.len() + 1, sealed.len());
            kept.push(json!([
                hex(asked.old.as_bytes()),
                at,
                length,
                seconds(*expires_at)
            ]));
            answers.extend_from_slice(sealed);
        }
    }
    all(connection, SUCCEED, successors).await?;
    if !kept.is_empty() {
        let keep = Statement::new(KEEP).text(Value::Array(kept).to_string());
        keep.bytes(answers).query().execute(&mut *connection).await?;
    }
    let mut spent = HashMap::new();
    for row in all(connection, SPENT, losers).await? {
        if let Some(rotated_at) = row.optional_time("rotated_at")? {
            spent.insert(
                row.hash("token_hash")?,
                (rotated_at, row.optional_bytes("replay")?),
            );
        }
    }
    let outcomes = rotations.iter().zip(won).map(|(rotate, won)| {
        if won {
            return Rotation::Rotated;
        }
        match spent.get(&rotate.asked.old).cloned() {
            Some((rotated_at, replay)) => Rotation::Spent { rotated_at, replay },
            None => Rotation::Gone,
        }
    });
    Ok(outcomes.collect())
}

async fn all(
    connection: &mut SqliteConnection,
    sql: &'static str,
    set: Vec<Value>,
) -> Result<Vec<Row>, SqlError> {
    if set.is_empty() {
        return Ok(Vec::new());
    }
    let query = Statement::new(sql).text(Value::Array(set).to_string()).query();
    let rows = query.fetch_all(connection).await?;
    Ok(rows.into_iter().map(Row::Sqlite).collect())
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect()
}
