//! The one way out: resolve once, check every address, connect to a checked one.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::address;
use crate::host::{HostError, normalize_host};

/// What a resolver given to [`Dialer::insecure_with`] returns.
pub type ResolveFuture = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

type Resolver = dyn Fn(String, u16) -> ResolveFuture + Send + Sync;
type AddressPolicy = dyn Fn(IpAddr) -> Option<&'static str> + Send + Sync;

/// Most addresses of one name that are tried; all of them are checked.
const MAX_ATTEMPTS: usize = 6;

/// Opens TCP connections to public hosts by name. Cheap to clone.
#[derive(Clone)]
pub struct Dialer {
    resolver: Arc<Resolver>,
    policy: Arc<AddressPolicy>,
    resolve_timeout: Duration,
    connect_timeout: Duration,
}

impl Dialer {
    /// The system's resolver, [`address::refusal`] as the policy, 5 s to resolve and 10 s to connect.
    pub fn new() -> Self {
        Self::insecure_with(
            |host, port| {
                Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect::<Vec<_>>()) })
            },
            address::refusal,
        )
    }

    /// Another resolver and another policy: for tests, and for operators who open a private range on purpose.
    ///
    /// The resolver gets a normalised host and the port, and is asked once per connection. The policy says why an
    /// address is refused; `|_| None` lets everything through, this machine included.
    pub fn insecure_with<R, P>(resolver: R, policy: P) -> Self
    where
        R: Fn(String, u16) -> ResolveFuture + Send + Sync + 'static,
        P: Fn(IpAddr) -> Option<&'static str> + Send + Sync + 'static,
    {
        Self {
            resolver: Arc::new(resolver),
            policy: Arc::new(policy),
            resolve_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(10),
        }
    }

    /// How long a name may take to resolve, and all attempts together to connect.
    pub fn with_timeouts(mut self, resolve: Duration, connect: Duration) -> Self {
        self.resolve_timeout = resolve;
        self.connect_timeout = connect;
        self
    }

    /// Connects to `host` by name. Refused if the name has even one address that the policy does not allow: a name
    /// that mixes public and private addresses is an attack or a mistake, and either way not ours to choose from.
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let host = normalize_host(host)?;
        let addresses = timeout(self.resolve_timeout, (self.resolver)(host.clone(), port))
            .await
            .map_err(|_| DialError::ResolveTimeout { host: host.clone() })?
            .map_err(|source| DialError::Resolve {
                host: host.clone(),
                source,
            })?;
        for address in &addresses {
            if let Some(reason) = (self.policy)(address.ip()) {
                return Err(DialError::Refused {
                    host,
                    address: address.ip(),
                    reason,
                });
            }
        }
        self.connect_first(&host, &addresses).await
    }

    async fn connect_first(&self, host: &str, addresses: &[SocketAddr]) -> Result<TcpStream, DialError> {
        let deadline = Instant::now() + self.connect_timeout;
        let attempts = addresses.len().min(MAX_ATTEMPTS);
        let mut last = DialError::NoAddress {
            host: host.to_owned(),
        };
        for (attempt, address) in addresses.iter().take(attempts).enumerate() {
            // A silent first address must leave time for the others.
            let left = u32::try_from(attempts - attempt).unwrap_or(1);
            let share = deadline.saturating_duration_since(Instant::now()) / left;
            match timeout_at(Instant::now() + share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Without effect on correctness if the option cannot be set.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(source)) => {
                    last = DialError::Connect {
                        host: host.to_owned(),
                        source,
                    }
                }
                Err(_) => {
                    last = DialError::ConnectTimeout {
                        host: host.to_owned(),
                    }
                }
            }
        }
        Err(last)
    }
}

impl Default for Dialer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer")
            .field("resolve_timeout", &self.resolve_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

/// Why a connection did not come about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Not a host name.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The resolver failed.
    #[error("cannot resolve {host}")]
    Resolve {
        /// The normalised host.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The resolver did not answer in time.
    #[error("resolving {host} took too long")]
    ResolveTimeout {
        /// The normalised host.
        host: String,
    },
    /// The name exists and has no address.
    #[error("{host} has no address")]
    NoAddress {
        /// The normalised host.
        host: String,
    },
    /// One of the name's addresses is not allowed; nothing was sent to any.
    #[error("{host} resolves to an address that is out of reach ({reason})")]
    Refused {
        /// The normalised host.
        host: String,
        /// The address, for the log of the operator; the message leaves it out.
        address: IpAddr,
        /// As of [`address::refusal`].
        reason: &'static str,
    },
    /// No checked address accepted the connection.
    #[error("cannot connect to {host}")]
    Connect {
        /// The normalised host.
        host: String,
        /// Of the last attempt.
        source: io::Error,
    },
    /// No checked address answered in time.
    #[error("connecting to {host} took too long")]
    ConnectTimeout {
        /// The normalised host.
        host: String,
    },
}
