//! Tokens of upstreams.

use super::statement::{Row, Statement};
use super::steps::answer;
use super::{SqlError, SqlStore};
use crate::clock::Timestamp;
use crate::server::store::{StoreResult, UpstreamTokenRow, UpstreamTokenStore};
use crate::verifier::Subject;

const ADD: &str = "INSERT INTO oauth_upstream_tokens \
    (subject, upstream, revision, generation, sealed, lease_until, needs_sign_in, ends_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (subject) DO NOTHING";
/// Of a generation that stands, the sealed value may have been sealed anew since it was read.
const CHANGE: &str = "UPDATE oauth_upstream_tokens SET upstream = $2, revision = $3, generation = $4, \
    sealed = CASE WHEN generation = $4 THEN sealed ELSE $5 END, \
    lease_until = $6, needs_sign_in = $7, ends_at = $8 WHERE subject = $1 AND revision = $3 - 1 AND generation BETWEEN $4 - 1 AND $4";

impl UpstreamTokenStore for SqlStore {
    fn upstream_token<'a>(&'a self, subject: &'a Subject) -> StoreResult<'a, Option<UpstreamTokenRow>> {
        let read = Statement::new("SELECT * FROM oauth_upstream_tokens WHERE subject = $1");
        let read = read.text(subject.as_str());
        answer("cannot read an upstream token", async move {
            let row = self.read_one(read).await?;
            row.as_ref().map(row_of).transpose()
        })
    }

    fn put_upstream_token(&self, row: UpstreamTokenRow) -> StoreResult<'_, bool> {
        let put = Statement::new(if row.revision == 1 { ADD } else { CHANGE })
            .text(row.subject.as_str())
            .text(row.upstream)
            .integer(number(row.revision))
            .integer(number(row.generation))
            .text(row.sealed)
            .optional_time(row.lease_until)
            .integer(i64::from(row.needs_sign_in))
            .time(row.ends_at);
        answer("cannot write an upstream token", async move {
            Ok(self.execute(vec![put]).await? == 1)
        })
    }

    fn remove_upstream_token<'a>(&'a self, subject: &'a Subject) -> StoreResult<'a, ()> {
        let remove = Statement::new("DELETE FROM oauth_upstream_tokens WHERE subject = $1");
        let remove = remove.text(subject.as_str());
        answer("cannot remove an upstream token", async move {
            self.execute(vec![remove]).await?;
            Ok(())
        })
    }

    fn sweep_upstream_tokens(&self, now: Timestamp, limit: u32) -> StoreResult<'_, u64> {
        let sweep = Statement::new(
            "DELETE FROM oauth_upstream_tokens WHERE subject IN \
             (SELECT subject FROM oauth_upstream_tokens WHERE ends_at <= $1 LIMIT $2)",
        );
        let sweep = sweep.time(now).integer(i64::from(limit));
        answer("cannot sweep upstream tokens", async move {
            self.execute(vec![sweep]).await
        })
    }
}

fn row_of(row: &Row) -> Result<UpstreamTokenRow, SqlError> {
    let count = |column| u64::try_from(row.integer(column)?).map_err(|_| SqlError::Damaged);
    Ok(UpstreamTokenRow {
        subject: Subject::new(row.text("subject")?),
        upstream: row.text("upstream")?,
        revision: count("revision")?,
        generation: count("generation")?,
        sealed: row.text("sealed")?,
        lease_until: row.optional_time("lease_until")?,
        needs_sign_in: row.integer("needs_sign_in")? != 0,
        ends_at: row.time("ends_at")?,
    })
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
