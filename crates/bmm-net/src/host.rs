//! Host names and allow-list entries: one reading of both.
//!
//! The cases that this file must get right stand in `tests/vectors/hosts.json`; whoever enforces an allow-list
//! elsewhere tests against the same file.

use std::fmt;
use std::str::FromStr;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use serde::{Deserialize, Serialize};

/// The port of an entry that names none.
const DEFAULT_PORT: u16 = 443;

/// Longest text looked at. A name has at most 253 characters, in Unicode at most four bytes each.
const MAX_TEXT_BYTES: usize = 1024;

/// An entry of an allow-list: `host`, `*.host`, `host:port` or `*.host:port`.
///
/// The host is in its normalised form ([`normalize_host`]) and has at least two labels; the port is 443 unless
/// given. `*.host` means every subdomain of `host`, at any depth, and not `host` itself; it is refused where `host`
/// is a public suffix (`*.com`, `*.co.uk`, `*.github.io`), since that would open other people's hosts. An IP
/// address is never an entry, in whatever notation.
///
/// As text and in JSON it is one string, the same that [`Display`](fmt::Display) prints and [`FromStr`] reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern {
    host: String,
    subdomains: bool,
    port: u16,
}

impl HostPattern {
    /// Whether a connection to `host` and `port` is covered. `host` is normalised first; what is not a host name
    /// (an address literal, for one) is covered by nothing.
    pub fn matches(&self, host: &str, port: u16) -> bool {
        port == self.port && normalize_host(host).is_ok_and(|host| self.covers(&host))
    }

    /// The host in its normalised form, without `*.` and port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, 443 where the text named none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether this is the `*.host` form.
    pub fn is_wildcard(&self) -> bool {
        self.subdomains
    }

    fn covers(&self, host: &str) -> bool {
        if !self.subdomains {
            return host == self.host;
        }
        host.strip_suffix(self.host.as_str())
            .and_then(|rest| rest.strip_suffix('.'))
            .is_some_and(|labels| !labels.is_empty())
    }
}

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(HostPatternError::Host(HostError::Empty));
        }
        if text.len() > MAX_TEXT_BYTES {
            return Err(HostPatternError::Host(HostError::TooLong));
        }
        if text.contains("://") || text.contains(['/', '?', '#', '\\']) {
            return Err(HostPatternError::NotAHostAlone);
        }
        if text.contains('@') {
            return Err(HostPatternError::Host(HostError::UserInfo));
        }
        let (subdomains, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if rest.contains('*') {
            return Err(HostPatternError::Wildcard);
        }
        let (host, port) = match rest.rsplit_once(':') {
            // More than one colon is an IPv6 address, which `normalize_host` names as such.
            Some((host, port)) if !host.contains(':') && !host.starts_with('[') => (host, parse_port(port)?),
            _ => (rest, DEFAULT_PORT),
        };
        let host = normalize_host(host)?;
        if host == "localhost" || host.ends_with(".localhost") {
            return Err(HostPatternError::Localhost);
        }
        if subdomains && psl::suffix_str(&host).is_none_or(|suffix| suffix == host) {
            return Err(HostPatternError::PublicSuffix { host });
        }
        if !host.contains('.') {
            return Err(HostPatternError::SingleLabel);
        }
        Ok(Self {
            host,
            subdomains,
            port,
        })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.subdomains {
            f.write_str("*.")?;
        }
        f.write_str(&self.host)?;
        if self.port != DEFAULT_PORT {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

impl TryFrom<String> for HostPattern {
    type Error = HostPatternError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

/// Why a text is not an allow-list entry. The message says what to write in its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostPatternError {
    /// A URL, or a host with a path.
    #[error("write the host alone, without scheme and path: `api.example.com`")]
    NotAHostAlone,
    /// `*` elsewhere than as the whole first label.
    #[error("`*` may only be the whole first label: `*.example.com`")]
    Wildcard,
    /// A port that is not a number from 1 to 65535 in plain decimal digits.
    #[error("the port must be a number from 1 to 65535, without leading zeros")]
    Port,
    /// `localhost` or a name below it.
    #[error("`localhost` is this machine itself and cannot be allowed")]
    Localhost,
    /// A name without a dot, which means another host on every network.
    #[error("write the full name of the host, with its domain: `api.example.com`")]
    SingleLabel,
    /// `*.` before a name under which anybody may register.
    #[error(
        "anybody may register a name under `{host}`: name your own domain below it, as in `*.yours.{host}`"
    )]
    PublicSuffix {
        /// The suffix.
        host: String,
    },
    /// The host part is not a host name.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl HostPatternError {
    /// The short stable name of this refusal, as the vector file spells it.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::NotAHostAlone => "not_a_host_alone",
            Self::Wildcard => "wildcard",
            Self::Port => "port",
            Self::Localhost => "localhost",
            Self::SingleLabel => "single_label",
            Self::PublicSuffix { .. } => "public_suffix",
            Self::Host(error) => error.rule(),
        }
    }
}

/// Why a text is not a host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// Nothing there.
    #[error("the host is empty")]
    Empty,
    /// Longer than a name can be (253 characters, 63 a label).
    #[error("the host is too long: at most 253 characters, and 63 between two dots")]
    TooLong,
    /// `user@host`.
    #[error("write the host without `user@`")]
    UserInfo,
    /// An IP address, in dotted, hexadecimal, octal, short, bracketed or full-width notation.
    #[error("an IP address cannot be used: write the host's name")]
    IpLiteral,
    /// Characters or labels that no host name has, or a label that IDNA does not allow.
    #[error(
        "not a host name: only letters, digits, hyphens and single dots, or a valid internationalised name"
    )]
    Invalid,
}

impl HostError {
    /// The short stable name of this refusal, as the vector file spells it.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLong => "too_long",
            Self::UserInfo => "user_info",
            Self::IpLiteral => "ip_literal",
            Self::Invalid => "invalid",
        }
    }
}

/// The one spelling of a host name: ASCII (IDNA, UTS #46 non-transitional), lower case, without the trailing dot.
///
/// An IP address is refused in every notation that some resolver or URL parser would take for one: the WHATWG rule
/// "ends in a number" decides, after Unicode mapping, so that `0x7f.1`, `2130706433` and `１２７.０.０.１` are seen.
pub fn normalize_host(text: &str) -> Result<String, HostError> {
    if text.is_empty() || text == "." {
        return Err(HostError::Empty);
    }
    if text.len() > MAX_TEXT_BYTES {
        return Err(HostError::TooLong);
    }
    if text.contains('@') {
        return Err(HostError::UserInfo);
    }
    if looks_like_ipv6(text) {
        return Err(HostError::IpLiteral);
    }
    let ascii = Uts46::new()
        .to_ascii(
            text.as_bytes(),
            AsciiDenyList::STD3,
            Hyphens::Allow,
            DnsLength::Ignore,
        )
        .map_err(|_| HostError::Invalid)?;
    let name = ascii.strip_suffix('.').unwrap_or(&ascii);
    if name.split('.').any(str::is_empty) {
        return Err(if name.is_empty() {
            HostError::Empty
        } else {
            HostError::Invalid
        });
    }
    if name.len() > 253 || name.split('.').any(|label| label.len() > 63) {
        return Err(HostError::TooLong);
    }
    if name.rsplit('.').next().is_some_and(is_number) {
        return Err(HostError::IpLiteral);
    }
    if name
        .split('.')
        .any(|label| label.starts_with('-') || label.ends_with('-'))
    {
        return Err(HostError::Invalid);
    }
    Ok(name.to_owned())
}

fn parse_port(text: &str) -> Result<u16, HostPatternError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain).ok_or(HostPatternError::Port)
}

/// A colon never occurs in a name, so whatever is bracketed or is hexadecimal digits around colons was meant as an
/// address. Anything else with a colon is merely invalid.
fn looks_like_ipv6(text: &str) -> bool {
    text.starts_with('[')
        || (text.contains(':')
            && text.split(':').all(|part| {
                part.bytes()
                    .all(|byte| byte.is_ascii_hexdigit() || byte == b'.' || byte == b'%')
            }))
}

/// The "ends in a number" test of the WHATWG URL standard for the last label.
fn is_number(label: &str) -> bool {
    match label.strip_prefix("0x") {
        Some(hex) => hex.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}
