//! Where a service is: `servers` of a description as an https host and a path.

use super::{
    Skipped,
    document::{Document, brief},
};
use bmm_net::HostPattern;
use serde_json::Value;

/// Most servers of a list that are looked at.
const MAX_SERVERS: usize = 20;

/// Where requests go: an origin that `allowedDomains` can name, and what every path starts with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Server {
    pub(super) host: HostPattern,
    /// `host` or `host:port`, as a URL has it.
    pub(super) authority: String,
    /// Empty, or `/…` without a slash at its end.
    pub(super) base_path: String,
}

impl Server {
    /// From an absolute https URL.
    pub(super) fn parse(address: &str) -> Result<Self, String> {
        let shown = brief(address);
        let url = url::Url::parse(address).map_err(|_| format!("`{shown}` is no absolute URL"))?;
        if url.scheme() != "https" {
            return Err(format!("`{shown}` is not https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!("`{shown}` holds a user name or password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("`{shown}` has a query or fragment"));
        }
        let host = url.host_str().unwrap_or_default();
        if host.contains('*') {
            return Err(format!("`{shown}` is no single host"));
        }
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let pattern: HostPattern = authority
            .parse()
            .map_err(|error| format!("`{shown}` cannot be reached: {error}"))?;
        Ok(Self {
            host: pattern,
            authority,
            base_path: url.path().trim_end_matches('/').to_owned(),
        })
    }

    /// The first of the servers that can be used: of the operation, or its path, or the document.
    pub(super) fn of(
        document: &Document,
        levels: &[(&Value, &str)],
        notes: &mut Vec<Skipped>,
    ) -> Result<Self, String> {
        let root = (&document.root, "");
        let found = levels.iter().chain([&root]).find_map(|(value, pointer)| {
            let list = value.get("servers")?.as_array()?;
            (!list.is_empty()).then_some((list, *pointer))
        });
        let Some((list, pointer)) = found else {
            return Err("the document names no server; name one yourself".to_owned());
        };
        let mut first_problem = None;
        for (index, server) in list.iter().take(MAX_SERVERS).enumerate() {
            let at = format!("{pointer}/servers/{index}");
            let address = server.get("url").and_then(Value::as_str).unwrap_or_default();
            match with_defaults(address, server).and_then(|address| Self::parse(&address)) {
                Ok(parsed) => {
                    if address.contains('{') {
                        notes.push(Skipped::new(&at, "its variables are set to their defaults"));
                    }
                    return Ok(parsed);
                }
                Err(problem) => {
                    notes.push(Skipped::new(&at, format!("cannot be used: {problem}")));
                    first_problem.get_or_insert(problem);
                }
            }
        }
        let problem = first_problem.unwrap_or_default();
        Err(format!(
            "no server of the document can be used ({problem}); name one yourself"
        ))
    }
}

/// The address with its variables filled in.
fn with_defaults(address: &str, server: &Value) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = address;
    while let Some((before, from)) = rest.split_once('{') {
        let Some((name, after)) = from.split_once('}') else {
            return Err(format!("`{}` has a `{{` without an end", brief(address)));
        };
        let variables = server.get("variables").and_then(|variables| variables.get(name));
        let default = variables
            .and_then(|variable| variable.get("default"))
            .and_then(Value::as_str);
        let Some(default) = default else {
            return Err(format!("its variable `{}` has no default", brief(name)));
        };
        out.push_str(before);
        out.push_str(default);
        if out.len() > 2048 {
            return Err("its address is too long".to_owned());
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}
