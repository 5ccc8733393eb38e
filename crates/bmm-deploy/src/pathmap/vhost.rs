//! One virtual host in front of bmm: what it has to know, and the rule for paths that both proxies apply.
//!
//! A request's path is judged as it came over the wire, as `forward.rs` does for the built-in router: a slug in its own
//! spelling, then nothing that two readers could take for different paths. `tests/it/pathmap/contract.rs` holds all three to it.

use std::net::SocketAddr;

use super::fragment::Form;
use super::value::{Cidr, ConfigPath, Domain, RouteSlug};

/// A slug, for regular expressions of PCRE (nginx) and RE2 (Caddy).
pub(super) const SLUG: &str = "[a-z][a-z0-9-]{0,39}";

/// A character of a path segment that has one reading (see `is_plain` in `forward.rs`), without the percent sign.
pub(super) const PLAIN: &str = "[A-Za-z0-9._~!$&'()*+,=:@-]";

/// A query as it may stand in a request line: whatever is visible, but for the sign of a fragment.
pub(super) const QUERY: &str = r"\?[!-\x22\x24-~]*";

/// What the built-in router answers where there is no server.
pub(super) const NOBODY: &str = r#"{"error":"not_found","message":"there is no server at this address"}"#;

/// What is answered where the server did not.
pub(super) const NO_ANSWER: &str =
    r#"{"error":"bad_gateway","message":"the server did not answer; the call may have had an effect"}"#;

/// A virtual host.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Vhost {
    /// The one name it has, and what it tells servers as `Host`.
    pub domain: Domain,
    /// How slugs are looked up.
    pub form: Form,
    /// The combined file of path map entries.
    pub routes: ConfigPath,
    /// bmm's own port: sign-in, pages and, in the `if` form, the built-in router.
    pub bmm: SocketAddr,
    /// First path segments that are bmm's own. They go before servers of the same name.
    pub own: Vec<RouteSlug>,
    /// Where to listen; empty for the usual port on all addresses.
    pub listen: Vec<SocketAddr>,
    /// Certificate chain and key in PEM. Without them nginx speaks plain http, and Caddy gets a certificate by itself.
    pub certificate: Option<Certificate>,
    /// Proxies in front of this one whose `X-Forwarded-For` is believed.
    pub trusted: Vec<Cidr>,
    /// Where nginx logs requests, without their queries: sign-in links are in them. `None` for no log.
    pub access_log: Option<ConfigPath>,
}

/// A certificate and its key, both in PEM.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The chain, the site's own certificate first.
    pub chain: ConfigPath,
    /// The key.
    pub key: ConfigPath,
}

impl Vhost {
    /// A host named `domain` in front of the bmm at `bmm`, whose own first path segments are `own`, with the path map in the file
    /// `routes`.
    pub fn new(
        domain: Domain,
        form: Form,
        routes: ConfigPath,
        bmm: SocketAddr,
        own: impl IntoIterator<Item = RouteSlug>,
    ) -> Self {
        let mut own: Vec<RouteSlug> = own.into_iter().collect();
        own.sort();
        own.dedup();
        Self {
            domain,
            form,
            routes,
            bmm,
            own,
            listen: Vec::new(),
            certificate: None,
            trusted: Vec::new(),
            access_log: None,
        }
    }

    /// The configuration, in the words of its form's proxy.
    pub fn config(&self) -> String {
        match self.form {
            Form::NginxMap | Form::NginxIf => super::nginx::vhost(self),
            Form::Caddy => super::caddy::site(self),
        }
    }
}
