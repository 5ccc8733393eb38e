//! Where a URL leads, as far as its start tells.

use crate::rule::Rule;
use bmm_net::HostPattern;

/// Judges how a URL starts: is its host known, and is it allowed?
pub(crate) fn judge_url(start: &str, whole: bool, allowed: &[HostPattern]) -> Option<(Rule, String)> {
    let (scheme, rest) = start.trim_start().split_once(':')?;
    if !scheme
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    {
        return None;
    }
    if !scheme.eq_ignore_ascii_case("https") {
        return Some((Rule::UnsafeTarget, format!("fetches from a `{scheme}:` URL")));
    }
    let rest = rest.trim_start_matches(['/', '\\']);
    let authority = match rest.find(['/', '\\', '?', '#']) {
        Some(end) => rest.get(..end)?,
        None if whole => rest,
        // The rest of the host is only known at run time, when the proxy asks the same list.
        None => return None,
    };
    let url = match url::Url::parse(&format!("https://{authority}/")) {
        Ok(url) => url,
        Err(_) => {
            return Some((
                Rule::UnsafeTarget,
                format!("fetches from `{authority}`, which is no host"),
            ));
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Some((
            Rule::UnsafeTarget,
            "fetches from a URL with a user name or password".to_owned(),
        ));
    }
    match url.host() {
        Some(url::Host::Domain(host)) => {
            let port = url.port_or_known_default().unwrap_or(443);
            let known = allowed.iter().any(|pattern| pattern.matches(host, port));
            (!known).then(|| {
                (
                    Rule::UndeclaredHost,
                    format!("fetches from `{authority}`, which allowedDomains does not allow"),
                )
            })
        }
        _ => Some((
            Rule::UnsafeTarget,
            format!("fetches from the address `{authority}`"),
        )),
    }
}
