//! One virtual host in front of bmm: what it has to know, and the rule for paths that both proxies apply.
//!
//! A request's path is judged as it came over the wire, as `forward.rs` does for the built-in router: a slug in its own
//! spelling, then nothing that two readers could take for different paths. `tests/it/pathmap/contract.rs` holds all three to it.

use std::net::SocketAddr;

use super::fragment::Form;
use super::value::{Cidr, ConfigPath, Domain, RouteSlug};

/// A slug, for regular expressions of PCRE (nginx) and RE2 (Caddy).
pub(super) const SLUG: &str = "[a-z][a-z0-9-]{0,39}";

/// A path after its slug, as `is_plain` in `forward.rs` reads it: segments that are neither empty nor dots, of characters with one
/// reading. `once` is put behind each repetition: with `+` PCRE does not try it again in another way, and RE2 never does.
pub(super) fn plain_path(once: &str) -> String {
    let dot = "(?:[.]|%2[eE])";
    // Any escape but those of dot, slash, backslash and zero.
    let other = "(?:[A-Za-z0-9_~$&+,=:@-]|%(?:0[1-9A-Fa-f]|2[0-9A-Da-d]|5[0-9ABD-Fabd-f]|[1346789A-Fa-f][0-9A-Fa-f]))";
    let more = format!("(?:{dot}|{other})*{once}");
    format!("(?:/(?:{dot}{{0,2}}{other}{more}|{dot}{{3}}{more}))*{once}/?")
}

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
    /// How it speaks TLS.
    pub tls: Tls,
    /// Proxies in front of this one whose `X-Forwarded-For` is believed.
    pub trusted: Vec<Cidr>,
    /// Where nginx logs requests, without their queries: sign-in links are in them. `None` for no log.
    pub access_log: Option<ConfigPath>,
}

/// How a virtual host speaks TLS.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Tls {
    /// Not at all: somebody in front of it does, or nobody leaves this machine.
    Plain,
    /// With a certificate of its own making. nginx cannot: there it is [`Tls::Plain`].
    Automatic,
    /// With this certificate.
    Files {
        /// The chain in PEM, the site's own certificate first.
        chain: ConfigPath,
        /// The key in PEM.
        key: ConfigPath,
    },
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
            tls: Tls::Automatic,
            trusted: Vec::new(),
            access_log: None,
        }
    }
}
