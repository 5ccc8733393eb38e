//! Outgoing connections that cannot be turned against the network they leave from (server-side request forgery).
//!
//! Four parts, usable alone:
//!
//! - [`address::refusal`]: why an IP address is not a place on the public internet, after unwrapping every way to
//!   carry an IPv4 address inside an IPv6 one. Deny by default: what no registry calls global is refused.
//! - [`HostPattern`] and [`normalize_host`]: the one reading of host names and allow-list entries, so that whoever
//!   checks a list and whoever enforces it cannot disagree.
//! - `Dialer` (feature `dial`): resolves a name once, checks *every* address it got, and connects to one of those
//!   very addresses. A name that changes its mind between check and use has no second look-up to win.
//! - `Fetcher` (feature `fetch`): one HTTPS request over such a connection, with a cap on size and time and without redirects.
//!
//! ```
//! use bmm_net::{HostPattern, address, normalize_host};
//!
//! let allowed: HostPattern = "*.example.com".parse()?;
//! assert!(allowed.matches("API.example.com.", 443));
//! assert!(!allowed.matches("example.com", 443), "a wildcard covers subdomains only");
//! assert!(!allowed.matches("api.example.com", 8443), "another port is declared: *.example.com:8443");
//!
//! assert_eq!(normalize_host("BÜCHER.example.")?, "xn--bcher-kva.example");
//! assert!(normalize_host("0x7f.1").is_err(), "an address in disguise");
//! assert_eq!(address::refusal("::ffff:169.254.169.254".parse()?), Some("link-local"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What you must supply
//!
//! The list of allowed hosts, and a decision about redirects: each hop is a new destination, to be matched and
//! dialled anew. Over a `Dialer`'s connection TLS is yours too; verify the certificate against the host name you asked for.
//!
//! # What it defends, and what it leaves to you
//!
//! Defended: address literals in every notation, names of private addresses, rebinding, public suffixes as
//! wildcards, mixed-case, Unicode and trailing-dot spellings. Left to you: what the allowed host does with the
//! request, and, unless you use `Fetcher`, limits on how much you send and read.

#![forbid(unsafe_code)]

pub mod address;
#[cfg(feature = "dial")]
mod dial;
#[cfg(feature = "fetch")]
mod fetch;
mod host;

#[cfg(feature = "dial")]
pub use dial::{DialError, Dialer, ResolveFuture};
#[cfg(feature = "fetch")]
pub use fetch::{FetchError, FetchLimits, Fetcher, Transport};
pub use host::{HostError, HostPattern, HostPatternError, normalize_host};
