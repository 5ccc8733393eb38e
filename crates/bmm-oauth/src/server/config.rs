//! Settings of the authorization server: plain data, every default with its reason.

use std::collections::BTreeMap;
use std::time::Duration;

use bmm_net::HostPattern;

use crate::issuer::Issuer;
use crate::resource_uri::ResourceUri;

/// Settings of an [`AuthorizationServer`](super::AuthorizationServer). Times are whole seconds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AsConfig {
    /// Who we are: `iss` of everything, and the base of every endpoint. Never derived from a request.
    pub issuer: Issuer,
    /// The name of the service on the consent page.
    pub service_name: String,
    /// `scopes_supported` of the metadata. Do not list `offline_access`: refresh tokens are issued anyway.
    pub scopes_supported: Vec<String>,
    /// What scopes let an application do, in words for the consent page, such as "Read your files".
    pub scope_descriptions: BTreeMap<String, String>,
    /// The resource of an authorization request that names none. By default such a request is refused with `invalid_target`, since the
    /// token would be for nobody; set it where there is one resource only.
    pub default_resource: Option<ResourceUri>,
    /// One hour: short enough to bound a stolen token, long enough for clients that refresh late. Do not shorten one of more than a day while such
    /// tokens live: a revoked grant is forgotten after a day, or after this.
    pub access_token_ttl: Duration,
    /// 60 s between redirect and token request (RFC 9700 section 2.1.1 asks for a short life).
    pub code_ttl: Duration,
    /// Ten minutes to decide on the consent page.
    pub consent_ttl: Duration,
    /// 30 days: a refresh token that is not used for so long ends.
    pub refresh_idle_ttl: Duration,
    /// 90 days from sign-in, however often the grant is refreshed.
    pub grant_ttl: Duration,
    /// 30 s in which a second use of a refresh token is taken for a client's retry or race, and the same request of the same client gets the
    /// same answer again. Later it is taken for theft, and the grant is revoked (RFC 9700 section 4.14.2). Clocks of replicas may be a minute
    /// apart: a repetition is taken for theft when it is a minute later still. Zero: at once.
    pub replay_window: Duration,
    /// Ten minutes from the publication of a new signing key to its first token: twice as long as caches may keep the JWK Set.
    pub key_propagation: Duration,
    /// Clients that never got a token; beyond it the oldest of them give way.
    pub max_unused_clients: u32,
    /// Clients that never got a token are forgotten after a day.
    pub unused_client_ttl: Duration,
    /// Registrations that this process accepts per minute.
    pub max_registrations_per_minute: u32,
    /// The same for one address ([`ClientAddress`](crate::ClientAddress)), or one /64 of IPv6. Hosted clients register for many people from a few
    /// addresses.
    pub max_registrations_per_minute_per_address: u32,
    /// Where documents of clients may be ([`with_fetcher`](super::AuthorizationServer::with_fetcher)): on these hosts, or, by default, on any public one.
    pub client_document_hosts: Option<Vec<HostPattern>>,
    /// Whether every client must push its authorization requests (RFC 9126); one client can be told so by its metadata.
    pub require_pushed_authorization_requests: bool,
    /// 90 s from pushing a request to the browser that brings it (RFC 9126 section 2.2 suggests 5 to 600).
    pub pushed_request_ttl: Duration,
    /// Whether clients that may do so get tokens for themselves (`client_credentials`). The host enrols such a client by putting it into the store;
    /// nobody can register as one.
    pub client_credentials: bool,
    /// Schemes without a dot that installed applications registered with the system. RFC 8252 section 7.1 wants a reversed domain name; these
    /// are the exceptions in use.
    pub known_app_schemes: Vec<String>,
}

impl AsConfig {
    /// The defaults, for this issuer.
    pub fn new(issuer: Issuer) -> Self {
        const HOUR: u64 = 3600;
        const DAY: u64 = 24 * HOUR;
        let schemes = [
            "claude",
            "cursor",
            "vscode",
            "vscode-insiders",
            "vscodium",
            "windsurf",
            "zed",
            "goose",
            "raycast",
        ];
        Self {
            issuer,
            service_name: "this server".to_owned(),
            scopes_supported: vec!["mcp:read".to_owned()],
            scope_descriptions: BTreeMap::from([(
                "mcp:read".to_owned(),
                "See what it offers, and use whatever needs no further permission".to_owned(),
            )]),
            default_resource: None,
            access_token_ttl: Duration::from_secs(HOUR),
            code_ttl: Duration::from_secs(60),
            consent_ttl: Duration::from_secs(600),
            refresh_idle_ttl: Duration::from_secs(30 * DAY),
            grant_ttl: Duration::from_secs(90 * DAY),
            replay_window: Duration::from_secs(30),
            key_propagation: Duration::from_secs(600),
            max_unused_clients: 10_000,
            unused_client_ttl: Duration::from_secs(DAY),
            max_registrations_per_minute: 120,
            max_registrations_per_minute_per_address: 30,
            client_document_hosts: None,
            require_pushed_authorization_requests: false,
            pushed_request_ttl: Duration::from_secs(90),
            client_credentials: false,
            known_app_schemes: schemes.map(str::to_owned).to_vec(),
        }
    }
}
