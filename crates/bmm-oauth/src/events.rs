//! Decisions that matter for security, told to whoever keeps a record of them.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::resource_uri::ResourceUri;
use crate::verifier::Subject;

/// One decision: what, who, for which client and resource, from where, and how it ended. There is no field that a token, a code or a
/// client secret would fit: names and identifiers are those of the store, not what a request claimed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Event {
    /// What was decided.
    pub kind: EventKind,
    /// How.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
    /// The user, where one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// The client, where it is one that we know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The grant that was made, used or ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant_id: Option<String>,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<ResourceUri>,
    /// Where the request came from, if the host said so ([`ClientAddress`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
}

impl Event {
    /// An event about nobody yet.
    pub fn new(kind: EventKind, outcome: Outcome, at: Timestamp) -> Self {
        Self {
            kind,
            outcome,
            at,
            subject: None,
            client_id: None,
            grant_id: None,
            resource: None,
            address: None,
        }
    }
}

/// What was decided. The names ([`name`](Self::name)) are stable; more may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// A client registered (RFC 7591).
    ClientRegistered,
    /// A client read its registration (RFC 7592).
    ClientRead,
    /// A client replaced its metadata (RFC 7592).
    ClientUpdated,
    /// A client removed itself (RFC 7592).
    ClientDeleted,
    /// A client metadata document was needed and could not be had, or is not usable. That one was fetched is not told.
    ClientDocumentFetched,
    /// Somebody asked for authorization.
    AuthorizationRequested,
    /// A client pushed an authorization request (RFC 9126).
    RequestPushed,
    /// A user decided on the consent page.
    ConsentDecided,
    /// A user signed in through an upstream.
    SignedIn,
    /// A token of an upstream was refreshed.
    UpstreamRefreshed,
    /// A token was asked for in a way that was not understood, or by a client that did not prove who it is.
    TokenRequested,
    /// A code became a grant.
    CodeRedeemed,
    /// A code came again; its grant ends.
    CodeReplayed,
    /// A refresh token was exchanged.
    TokenRefreshed,
    /// A spent refresh token came again after the replay window; its grant ends.
    RefreshReplayed,
    /// A client got a token for itself.
    ClientCredentialsIssued,
    /// An assertion of another issuer became a token (RFC 7523).
    AssertionExchanged,
    /// A token was revoked (RFC 7009).
    TokenRevoked,
    /// A grant was revoked.
    GrantRevoked,
    /// A token was asked about (RFC 7662).
    TokenIntrospected,
    /// A resource judged an access token.
    AccessChecked,
    /// The signing keys changed.
    KeysRotated,
}

impl EventKind {
    /// Its name in records: `code_redeemed`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientRegistered => "client_registered",
            Self::ClientRead => "client_read",
            Self::ClientUpdated => "client_updated",
            Self::ClientDeleted => "client_deleted",
            Self::ClientDocumentFetched => "client_document_fetched",
            Self::AuthorizationRequested => "authorization_requested",
            Self::RequestPushed => "request_pushed",
            Self::ConsentDecided => "consent_decided",
            Self::SignedIn => "signed_in",
            Self::UpstreamRefreshed => "upstream_refreshed",
            Self::TokenRequested => "token_requested",
            Self::CodeRedeemed => "code_redeemed",
            Self::CodeReplayed => "code_replayed",
            Self::TokenRefreshed => "token_refreshed",
            Self::RefreshReplayed => "refresh_replayed",
            Self::ClientCredentialsIssued => "client_credentials_issued",
            Self::AssertionExchanged => "assertion_exchanged",
            Self::TokenRevoked => "token_revoked",
            Self::GrantRevoked => "grant_revoked",
            Self::TokenIntrospected => "token_introspected",
            Self::AccessChecked => "access_checked",
            Self::KeysRotated => "keys_rotated",
        }
    }

    /// Whether it is a sign of theft.
    fn is_alarm(self) -> bool {
        matches!(self, Self::CodeReplayed | Self::RefreshReplayed)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a decision ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It was done.
    Allowed,
    /// It was not, and why: a fixed word such as `invalid_grant`.
    Refused(&'static str),
}

impl Outcome {
    /// `allowed`, or why not.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused(why) => why,
        }
    }
}

/// Gets every event. It is called while a request waits: hand over what takes time, and drop events rather than wait where there are too many.
pub trait EventSink: Send + Sync + 'static {
    /// Takes note of one event.
    fn record(&self, event: Event);
}

impl<S: EventSink + ?Sized> EventSink for std::sync::Arc<S> {
    fn record(&self, event: Event) {
        (**self).record(event);
    }
}

/// The default sink: one `tracing` line for each event, with the target `bmm_oauth::events`.
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingEvents;

impl EventSink for TracingEvents {
    fn record(&self, event: Event) {
        macro_rules! line {
            ($level:expr) => {
                tracing::event!(
                    target: "bmm_oauth::events",
                    $level,
                    kind = event.kind.name(),
                    outcome = event.outcome.name(),
                    subject = event.subject.as_ref().map(Subject::as_str),
                    client_id = event.client_id.as_deref(),
                    grant_id = event.grant_id.as_deref(),
                    resource = event.resource.as_ref().map(ResourceUri::as_str),
                    address = event.address.map(tracing::field::display),
                )
            };
        }
        if event.kind.is_alarm() {
            line!(tracing::Level::WARN);
        } else {
            line!(tracing::Level::INFO);
        }
    }
}

/// The address of the client, which the host puts into a request's extensions: from its own connection, or from a proxy that it trusts.
/// Nothing here reads it from a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// What the host said.
    pub(crate) fn of(extensions: &http::Extensions) -> Option<IpAddr> {
        extensions.get().map(|ClientAddress(address)| *address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_records_are_the_serialized_ones() {
        for kind in [
            EventKind::ClientRegistered,
            EventKind::RefreshReplayed,
            EventKind::KeysRotated,
        ] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        let mut event = Event::new(
            EventKind::TokenRequested,
            Outcome::Refused("invalid_client"),
            Timestamp::from_secs(7),
        );
        event.address = Some([192, 0, 2, 1].into());
        let expected = serde_json::json!({
            "kind": "token_requested", "outcome": { "refused": "invalid_client" }, "at": 7, "address": "192.0.2.1",
        });
        assert_eq!(serde_json::to_value(event).unwrap(), expected);
    }
}
