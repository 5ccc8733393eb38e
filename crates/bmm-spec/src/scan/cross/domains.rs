//! The list of allowed hosts: entries that allow too much, entries that nothing uses.

use super::Notes;
use crate::{
    rule::{Confidence, Rule},
    scan::capability::Capabilities,
};
use bmm_net::HostPattern;
use serde_json::Value;

/// Services whose purpose is to receive data from anybody and show it to whoever opened the box: pastes, request bins, tunnels,
/// drops for files. The list is of kinds that exist, not complete.
const RECEIVERS: &[&str] = &[
    // Pastes.
    "pastebin.com",
    "paste.ee",
    "hastebin.com",
    "dpaste.com",
    "dpaste.org",
    "ghostbin.com",
    "rentry.co",
    "rentry.org",
    "controlc.com",
    "ix.io",
    "termbin.com",
    "privatebin.net",
    "justpaste.it",
    "paste.rs",
    "sprunge.us",
    // Request bins and webhook testers.
    "webhook.site",
    "requestbin.com",
    "requestbin.net",
    "requestcatcher.com",
    "pipedream.net",
    "beeceptor.com",
    "hookbin.com",
    "postb.in",
    "webhook.cool",
    "typedwebhook.tools",
    "smee.io",
    "ntfy.sh",
    // Out-of-band interaction.
    "burpcollaborator.net",
    "oastify.com",
    "oast.fun",
    "oast.live",
    "oast.me",
    "oast.online",
    "oast.pro",
    "oast.site",
    "interact.sh",
    "interactsh.com",
    "dnslog.cn",
    "ceye.io",
    "canarytokens.com",
    "canarytokens.org",
    // Tunnels.
    "ngrok.io",
    "ngrok.app",
    "ngrok.dev",
    "ngrok-free.app",
    "ngrok-free.dev",
    "trycloudflare.com",
    "localtunnel.me",
    "loca.lt",
    "serveo.net",
    "localhost.run",
    "lhr.life",
    "lhr.rocks",
    "pagekite.me",
    "bore.pub",
    "tunnelmole.net",
    "playit.gg",
    "devtunnels.ms",
    "zrok.io",
    // Drops for files.
    "transfer.sh",
    "file.io",
    "0x0.st",
    "anonfiles.com",
    "gofile.io",
    "catbox.moe",
    "tmpfiles.org",
    "uguu.se",
    "bashupload.com",
    "temp.sh",
    "oshi.at",
];

fn entries(spec: &Value) -> impl Iterator<Item = (String, &str, HostPattern)> {
    let list = spec
        .get("allowedDomains")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    list.enumerate().filter_map(|(index, entry)| {
        let text = entry.as_str()?;
        Some((format!("/allowedDomains/{index}"), text, text.parse().ok()?))
    })
}

/// Entries under which strangers can receive data.
pub(super) fn broad(spec: &Value, can: Option<&[Capabilities]>, notes: &mut Notes) {
    for (pointer, text, pattern) in entries(spec) {
        let host = pattern.host();
        let receiver = RECEIVERS.iter().find(|name| {
            host == **name
                || host
                    .strip_suffix(**name)
                    .is_some_and(|start| start.ends_with('.'))
        });
        if let Some(name) = receiver {
            // A server for that very service says so.
            let label = name.split('.').next().unwrap_or(name);
            let told = ["name", "description", "slug"].iter().any(|key| {
                spec.get(*key)
                    .and_then(Value::as_str)
                    .is_some_and(|text| text.to_lowercase().contains(label))
            });
            let confidence = if told {
                Confidence::Medium
            } else {
                Confidence::High
            };
            notes.add(
                Rule::BroadAllow,
                confidence,
                &pointer,
                text,
                format!("`{text}` takes data from anybody, for anybody"),
            );
        } else if pattern.is_wildcard() && can.is_some_and(|all| fixed_under(all, &pattern)) {
            let message =
                format!("`{text}` allows every host there, and the code uses only ones that it names");
            notes.add(Rule::BroadAllow, Confidence::Low, &pointer, text, message);
        }
    }
}

/// Does the code name every host it uses under a wildcard, and use one?
fn fixed_under(can: &[Capabilities], pattern: &HostPattern) -> bool {
    let mut hosts = can.iter().flat_map(|one| &one.hosts);
    let computed = can.iter().any(|one| one.any_host)
        || can
            .iter()
            .flat_map(|one| &one.hosts)
            .any(|host| host.starts_with('*'));
    !computed && hosts.any(|host| uses(host, pattern))
}

/// Entries that no code uses. Low confidence: a redirect may lead there. Nothing is said where code goes to hosts that are only known at run time.
pub(super) fn unused(spec: &Value, can: Option<&[Capabilities]>, notes: &mut Notes) {
    let Some(can) = can.filter(|all| all.iter().all(|one| !one.any_host)) else {
        return;
    };
    for (pointer, text, pattern) in entries(spec) {
        if !can
            .iter()
            .flat_map(|one| &one.hosts)
            .any(|host| uses(host, &pattern))
        {
            notes.add(
                Rule::UnusedDomain,
                Confidence::Low,
                &pointer,
                text,
                format!("no code uses `{text}`"),
            );
        }
    }
}

/// May a request to this host (or to one under `*.…`) need this entry?
fn uses(host: &str, pattern: &HostPattern) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().unwrap_or(443)),
        None => (host, 443),
    };
    match name.strip_prefix('*') {
        Some(suffix) => {
            pattern.matches(&format!("any{suffix}"), port)
                || pattern.host().ends_with(suffix) && pattern.port() == port
        }
        None => pattern.matches(name, port),
    }
}
