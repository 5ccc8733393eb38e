//! Statements that both databases and the steps need.

use super::statement::{Statement, seconds};
use crate::clock::Timestamp;
use crate::server::store::{Grant, NewRefresh};

pub(super) const CODE_IS_USED: &str =
    "SELECT code_hash FROM oauth_codes WHERE code_hash = $1 AND used_at IS NOT NULL";
pub(super) const USE_CLIENT: &str = "UPDATE oauth_clients SET used_at = $2 WHERE id = $1 AND used_at IS NULL";
pub(super) const ADD_GRANT: &str = "INSERT INTO oauth_grants (id, client_id, subject, resource, scopes, expires_at, revoked) \
    VALUES ($1, $2, $3, $4, $5, $6, $7)";
pub(super) const ADD_REFRESH: &str =
    "INSERT INTO oauth_refresh_tokens (token_hash, grant_id, expires_at) VALUES ($1, $2, $3)";

/// The row that is there from the beginning.
pub(super) fn first_state(epoch: String) -> Statement {
    let state =
        "INSERT INTO oauth_state (id, epoch, revocation_seq) VALUES (1, $1, 0) ON CONFLICT (id) DO NOTHING";
    Statement::new(state).text(epoch)
}

/// `$1` to `$7`, in the order of the columns.
pub(super) fn bind_grant(statement: Statement, grant: Grant) -> Statement {
    statement
        .text(grant.id)
        .text(grant.client_id)
        .text(grant.subject.as_str())
        .text(grant.resource.as_str())
        .text(grant.scopes.to_string())
        .integer(seconds(grant.expires_at))
        .integer(i64::from(grant.revoked))
}

/// The statements that follow a code that was taken: see `redeem_code`.
pub(super) fn redemption(grant: Grant, refresh: NewRefresh, now: Timestamp) -> [Statement; 3] {
    [
        Statement::new(USE_CLIENT).text(&grant.client_id).time(now),
        Statement::new(ADD_REFRESH)
            .hash(refresh.hash)
            .text(&grant.id)
            .time(refresh.expires_at),
        bind_grant(Statement::new(ADD_GRANT), grant),
    ]
}
