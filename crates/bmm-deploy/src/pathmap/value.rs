//! What may stand in a proxy's configuration. A value of one of these types has no character that ends a word, opens a
//! block or names a variable in nginx or Caddy, so the writers need no escapes and have none to forget.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::routes::InvalidSlug;
use crate::site::is_slug;

/// The longest path that a Unix socket's address holds beside its terminator.
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// The longest path that Linux takes (`PATH_MAX` with its terminator).
const MAX_PATH_BYTES: usize = 4095;

/// The longest name of DNS in its written form.
const MAX_HOST_BYTES: usize = 253;

/// A slug, checked again at this border.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteSlug(String);

impl RouteSlug {
    /// The slug as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RouteSlug {
    type Err = InvalidSlug;

    fn from_str(text: &str) -> Result<Self, InvalidSlug> {
        is_slug(text).then(|| Self(text.to_owned())).ok_or(InvalidSlug)
    }
}

impl fmt::Display for RouteSlug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An absolute path that nginx and Caddy read as one plain word: letters, digits, and `/ . _ - + @`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigPath(String);

impl ConfigPath {
    /// Checks `path`. Nothing is escaped: nginx and Caddy do not agree on how.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, ValueError> {
        let path = path.as_ref();
        let text = path.to_str().ok_or(ValueError::PathNotText)?;
        if !path.is_absolute() {
            return Err(ValueError::PathNotAbsolute);
        }
        if text.len() > MAX_PATH_BYTES {
            return Err(ValueError::PathTooLong(MAX_PATH_BYTES));
        }
        match text
            .chars()
            .find(|char| !char.is_alphanumeric() && !"/._-+@".contains(*char))
        {
            Some(char) => Err(ValueError::PathCharacter(char)),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl fmt::Display for ConfigPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A [`ConfigPath`] that fits into a Unix socket's address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketPath(ConfigPath);

impl SocketPath {
    /// Checks `path`.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, ValueError> {
        let path = ConfigPath::new(path)?;
        if path.as_str().len() > MAX_SOCKET_PATH_BYTES {
            return Err(ValueError::PathTooLong(MAX_SOCKET_PATH_BYTES));
        }
        Ok(Self(path))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for SocketPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a server listens, as `unix:/path` or `ip:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A Unix socket on this machine.
    Socket(SocketPath),
    /// A server elsewhere, or the built-in router.
    Tcp(SocketAddr),
}

impl FromStr for Address {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text.strip_prefix("unix:") {
            Some(path) => SocketPath::new(path).map(Self::Socket),
            None => socket_address(text).map(Self::Tcp),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "unix:{path}"),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

/// An address to connect to. A scope (`fe80::1%2`) is for links that no server is on.
fn socket_address(text: &str) -> Result<SocketAddr, ValueError> {
    text.parse::<SocketAddr>()
        .ok()
        .filter(|address| address.port() != 0 && !text.contains('%'))
        .ok_or(ValueError::NotAnAddress)
}

/// A port of this machine, 1 to 65535, in plain digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(std::num::NonZeroU16);

impl Port {
    /// The number, unless it is 0.
    pub fn new(number: u16) -> Result<Self, ValueError> {
        std::num::NonZeroU16::new(number)
            .map(Self)
            .ok_or(ValueError::NotAPort)
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

impl FromStr for Port {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let number: u16 = text.parse().map_err(|_| ValueError::NotAPort)?;
        let port = Self::new(number)?;
        // `+80` and `080` are the same number and another text.
        (port.to_string() == text)
            .then_some(port)
            .ok_or(ValueError::NotAPort)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The host under which clients reach the site, with a port if it is not the scheme's own: `mcp.example.com`,
/// `127.0.0.1:8080`. What stands in the `Host` header of every request that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Domain {
    host: String,
    port: Option<Port>,
}

impl Domain {
    /// The host alone, in lower case.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, if one was named.
    pub fn port(&self) -> Option<Port> {
        self.port
    }
}

impl FromStr for Domain {
    type Err = ValueError;

    /// Takes ASCII names (an international one in its `xn--` form) and IPv4 addresses.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port.parse()?)),
            None => (text, None),
        };
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if host.len() > MAX_HOST_BYTES || !host.split('.').all(is_label) {
            return Err(ValueError::NotADomain);
        }
        let last_is_a_number = host
            .rsplit('.')
            .next()
            .is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
        if last_is_a_number && host.parse::<std::net::Ipv4Addr>().is_err() {
            return Err(ValueError::NotADomain);
        }
        Ok(Self {
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// Addresses that share a prefix, `10.0.0.0/8`: those of the proxies in front, whose word on a client's address is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Whether `address` is one of these. An IPv4 address in its IPv6 form counts as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = |address: IpAddr, most: u32, prefix: u32| match address {
            IpAddr::V4(address) => u128::from(address.to_bits()) >> (most - prefix),
            IpAddr::V6(address) => address.to_bits().checked_shr(most - prefix).unwrap_or(0),
        };
        let (own, other) = (self.address.to_canonical(), address.to_canonical());
        let most = if own.is_ipv4() { 32 } else { 128 };
        let prefix = u32::from(self.prefix).min(most);
        own.is_ipv4() == other.is_ipv4() && bits(own, most, prefix) == bits(other, most, prefix)
    }
}

impl FromStr for Cidr {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (address, prefix) = text.split_once('/').ok_or(ValueError::NotACidr)?;
        let address: IpAddr = address.parse().map_err(|_| ValueError::NotACidr)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let plain = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix: u8 = prefix.parse().map_err(|_| ValueError::NotACidr)?;
        // `0.0.0.0/0` would believe everybody.
        (plain && (1..=most).contains(&prefix))
            .then_some(Self { address, prefix })
            .ok_or(ValueError::NotACidr)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Why a text cannot stand in a proxy's configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// A path from somewhere, and a proxy's somewhere is another.
    #[error("the path must be absolute")]
    PathNotAbsolute,
    /// Not UTF-8.
    #[error("the path is not UTF-8")]
    PathNotText,
    /// What a proxy's configuration cannot hold, or holds as something else.
    #[error("the path has the character {0:?}; use letters, digits, and / . _ - + @ only")]
    PathCharacter(char),
    /// Longer than the system takes.
    #[error("the path is longer than {0} bytes")]
    PathTooLong(usize),
    /// Neither `unix:/path` nor `ip:port`.
    #[error("an upstream is unix:/path or ip:port")]
    NotAnAddress,
    /// Not 1 to 65535.
    #[error("a port is a number from 1 to 65535")]
    NotAPort,
    /// Not a name of DNS nor an IPv4 address.
    #[error("a domain is a host name such as mcp.example.com, with :PORT if it is not the usual one")]
    NotADomain,
    /// Not a range of addresses, or all of them.
    #[error("a range of addresses is written as 10.0.0.0/8, and is not all there are")]
    NotACidr,
}

/// Which server is where, for a proxy.
pub type PathTable = std::collections::BTreeMap<RouteSlug, Address>;

/// Where the public sockets are: `<directory>/<slug>.sock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketDir(PathBuf);

impl SocketDir {
    /// The sockets in `directory`. Refused here if the socket of the longest slug would not fit or the path cannot stand in a
    /// configuration, and not on the day when that slug comes.
    pub fn new(directory: impl Into<PathBuf>) -> Result<Self, ValueError> {
        let directory = directory.into();
        let longest = format!("{}.sock", "x".repeat(crate::site::MAX_SLUG_BYTES));
        SocketPath::new(directory.join(longest))?;
        Ok(Self(directory))
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// Where `slug` listens.
    pub fn of(&self, slug: &RouteSlug) -> Result<Address, ValueError> {
        SocketPath::new(self.0.join(format!("{slug}.sock"))).map(Address::Socket)
    }
}

/// Where servers are by their slugs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Addresses {
    /// Each on its public socket.
    Sockets(SocketDir),
    /// All behind the built-in router on this port of this machine.
    Port(Port),
}

impl Addresses {
    /// Where `slug` is.
    pub fn of(&self, slug: &RouteSlug) -> Result<Address, ValueError> {
        match self {
            Self::Sockets(directory) => directory.of(slug),
            Self::Port(port) => Ok(Address::Tcp((std::net::Ipv4Addr::LOCALHOST, port.get()).into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_what_shares_its_prefix() {
        for (range, inside, outside) in [
            ("10.0.0.0/8", "10.255.1.2", "11.0.0.0"),
            ("127.0.0.1/32", "127.0.0.1", "127.0.0.2"),
            ("192.0.2.128/25", "192.0.2.200", "192.0.2.127"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::a01:203"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::1/128", "::1", "127.0.0.1"),
            ("128.0.0.0/1", "255.0.0.1", "127.255.255.255"),
            ("8000::/1", "ffff::", "7fff::"),
        ] {
            let range: Cidr = range.parse().expect("a range");
            assert!(
                range.contains(inside.parse().expect("an address")),
                "{range} {inside}"
            );
            assert!(
                !range.contains(outside.parse().expect("an address")),
                "{range} {outside}"
            );
        }
        for none in [
            "10.0.0.0",
            "0.0.0.0/0",
            "::/0",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "::/129",
            "/8",
            "a/8",
        ] {
            assert!(none.parse::<Cidr>().is_err(), "{none}");
        }
    }
}
