//! The command line.

use std::ffi::OsString;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use bmm_oauth::{Issuer, ResourceUri, Scopes};
use url::Url;

pub(crate) const USAGE: &str = "usage: bmm-runner FILE [--secrets-fd N]
       bmm-runner FILE --listen ADDRESS:PORT --public-url URL --issuer URL --jwks URL
                  [--revocations URL] [--scope SCOPE]... [--secrets-fd N]
  FILE               a spec, or a compiled spec
  --secrets-fd N     an open pipe or file with the spec's secrets: {\"NAME\": \"value\"}
Without --listen the spec is served on standard input and output, to whoever started this. With it, over HTTP (put TLS in front):
  --public-url URL   the MCP URL as clients know it, and the resource that tokens are for
  --issuer URL       whose tokens are accepted
  --jwks URL         where the issuer's keys are fetched from here (https, or http on this machine)
  --revocations URL  where the issuer's feed of revoked grants is; without it a token counts until it expires
  --scope SCOPE      what every request needs (default mcp:read)
SIGTERM lets the calls in flight finish, for up to 60 s. A host launches this program in the role of a runner by itself.";

/// What to serve, and to whom.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) file: PathBuf,
    pub(crate) secrets_fd: Option<u32>,
    /// `None`: standard input and output.
    pub(crate) http: Option<Http>,
}

#[derive(Debug)]
pub(crate) struct Http {
    pub(crate) listen: SocketAddr,
    pub(crate) public_url: ResourceUri,
    pub(crate) issuer: Issuer,
    pub(crate) jwks: Url,
    pub(crate) revocations: Option<Url>,
    pub(crate) scopes: Scopes,
}

impl Arguments {
    /// `None`: the usage was asked for.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Self>, String> {
        use lexopt::prelude::*;
        let (mut file, mut secrets_fd, mut scopes) = (None, None, Vec::new());
        let (mut listen, mut public_url, mut issuer) = (None, None, None);
        let (mut jwks, mut revocations) = (None, None);
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
            match argument {
                Long("help") | Short('h') => return Ok(None),
                Long("secrets-fd") => secrets_fd = Some(value("--secrets-fd", &mut parser)?),
                Long("listen") => listen = Some(value("--listen", &mut parser)?),
                Long("public-url") => public_url = Some(value("--public-url", &mut parser)?),
                Long("issuer") => issuer = Some(value("--issuer", &mut parser)?),
                Long("jwks") => jwks = Some(trusted(value("--jwks", &mut parser)?)?),
                Long("revocations") => revocations = Some(trusted(value("--revocations", &mut parser)?)?),
                Long("scope") => scopes.push(value::<String>("--scope", &mut parser)?),
                Value(path) if file.is_none() => file = Some(PathBuf::from(path)),
                other => return Err(other.unexpected().to_string()),
            }
        }
        let http = match (listen, public_url, issuer, jwks) {
            (None, None, None, None) if revocations.is_none() && scopes.is_empty() => None,
            (Some(listen), Some(public_url), Some(issuer), Some(jwks)) => {
                if scopes.is_empty() {
                    scopes.push("mcp:read".to_owned());
                }
                Some(Http {
                    listen,
                    public_url,
                    issuer,
                    jwks,
                    revocations,
                    scopes: Scopes::new(&scopes).map_err(|error| format!("--scope: {error}"))?,
                })
            }
            _ => return Err("--listen, --public-url, --issuer and --jwks belong together".to_owned()),
        };
        Ok(Some(Self {
            file: file.ok_or("the FILE is missing")?,
            secrets_fd,
            http,
        }))
    }
}

fn value<T>(option: &str, parser: &mut lexopt::Parser) -> Result<T, String>
where
    T: FromStr,
    T::Err: Display,
{
    let value = parser.value().map_err(|error| error.to_string())?;
    let text = value.to_str().ok_or_else(|| format!("{option}: not a text"))?;
    text.parse().map_err(|error| format!("{option}: {error}"))
}

/// What comes from there decides who may call: nobody on the way may change it.
fn trusted(url: Url) -> Result<Url, String> {
    let on_this_machine = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" if url.has_host() => Ok(url),
        "http" if on_this_machine => Ok(url),
        _ => Err(format!("{url} is neither https nor on this machine")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 8] = [
        "--listen",
        "127.0.0.1:0",
        "--public-url",
        "https://mcp.example.com/demo/mcp",
        "--issuer",
        "https://mcp.example.com",
        "--jwks",
        "http://127.0.0.1:1/jwks",
    ];

    fn parse(arguments: &[&str]) -> Result<Option<Arguments>, String> {
        Arguments::parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn what_guards_a_listener_is_not_optional() {
        let full: Vec<&str> = ["spec.json"].into_iter().chain(ALL).collect();
        let http = parse(&full).unwrap().unwrap().http.unwrap();
        assert_eq!(http.scopes.iter().collect::<Vec<_>>(), ["mcp:read"]);
        for missing in (0..ALL.len()).step_by(2) {
            let mut some = full.clone();
            some.drain(missing + 1..missing + 3);
            assert!(parse(&some).is_err(), "{some:?}");
        }
        assert!(parse(&["spec.json", "--scope", "x"]).is_err());
        assert!(parse(&["spec.json"]).unwrap().unwrap().http.is_none());
        assert!(parse(&[]).is_err());
        assert!(parse(&["a", "b"]).is_err());
        assert!(parse(&["--help"]).unwrap().is_none());
    }

    #[test]
    fn keys_come_over_https_or_from_this_machine() {
        for good in [
            "https://a.example/jwks",
            "http://localhost:4000/jwks",
            "http://[::1]/jwks",
        ] {
            assert!(trusted(good.parse().unwrap()).is_ok(), "{good}");
        }
        for bad in [
            "http://a.example/jwks",
            "file:///etc/passwd",
            "http://localhost.a.example/",
        ] {
            assert!(trusted(bad.parse().unwrap()).is_err(), "{bad}");
        }
    }
}
