//! Clients that describe themselves in a document at their own URL (Client ID Metadata Documents, draft-ietf-oauth-client-id-metadata-document-00, as
//! MCP 2026-07-28 uses it): the URL is the client id, and who controls its host controls the client.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bmm_net::{HostPattern, normalize_host};
use url::Url;

use super::client_description::{self, Accepted, Described, KeyUrls};
use super::outgoing::{Documents, Fetched, Outgoing, Unfetched, Useful, Want};
use super::store::{Client, ClientAuthMethod};
use crate::clock::Timestamp;
use crate::json_object;
use crate::strict_json::Object;

/// Longest client id of this kind: it stands in every token.
const MAX_URL_BYTES: usize = 512;
/// Most bytes of the keys in a document: what a registration may hold.
const MAX_KEYS_BYTES: usize = 16 * 1024;
/// A document without instructions is kept for so long, and none for longer than the second: what its owner changed holds by then.
const USUAL_TTL: Duration = Duration::from_secs(600);
const MAX_TTL: Duration = Duration::from_secs(3600);

/// Documents of clients, by URL.
#[derive(Debug)]
pub(super) struct ClientDocuments {
    documents: Documents<Description>,
    hosts: Option<Vec<HostPattern>>,
}

/// What is kept of a document that describes a client that is accepted here.
struct Description {
    url: String,
    accepted: Accepted,
}

impl ClientDocuments {
    /// Documents on these hosts, or on any public one.
    pub(super) fn new(
        outgoing: Arc<Outgoing>,
        known_app_schemes: &[String],
        hosts: Option<Vec<HostPattern>>,
    ) -> Self {
        let known_app_schemes = known_app_schemes.to_vec();
        Self {
            documents: Documents::new(outgoing, move |fetched| read(fetched, &known_app_schemes)),
            hosts,
        }
    }

    /// The client of this id, if the id is the URL of a document that describes one. Why not is for the log.
    pub(super) async fn client(
        &self,
        id: &str,
        asked_by: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Client, Unfetched> {
        let host = document_host(id).map_err(Unfetched::Invalid)?;
        let trusted = |hosts: &Vec<HostPattern>| hosts.iter().any(|pattern| pattern.matches(&host, 443));
        if !self.hosts.as_ref().is_none_or(trusted) {
            return Err(Unfetched::Invalid("its host is not on the list"));
        }
        let description = self.documents.get(id, Want::Current, asked_by, now).await?;
        Ok(description.client(now))
    }
}

/// Whether a client id is the URL of a document.
pub(super) fn is_document_url(id: &str) -> bool {
    id.starts_with("https://")
}

impl Description {
    fn client(&self, now: Timestamp) -> Client {
        let accepted = &self.accepted;
        Client {
            id: self.url.clone(),
            secret_hash: None,
            auth_method: accepted.auth_method,
            name: accepted.name.clone(),
            redirect_uris: accepted.redirect_uris.clone(),
            created_at: now,
            used_at: None,
            metadata: accepted.metadata.clone(),
        }
    }
}

/// The host of a document's URL. The URL is https with a path, written in the one plainest way, so that comparing bytes is comparing URLs; it
/// names no port, no user and no address.
fn document_host(id: &str) -> Result<String, &'static str> {
    if id.len() > MAX_URL_BYTES {
        return Err("the client id is longer than 512 bytes");
    }
    let url = Url::parse(id).map_err(|_| "the client id is not a URL")?;
    let plainest = url.as_str() == id && id.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    if !plainest || url.scheme() != "https" || url.path() == "/" || url.fragment().is_some() {
        return Err("the client id is not an https URL with a path, in its plainest spelling");
    }
    if url.port().is_some() || !url.username().is_empty() || url.password().is_some() || id.contains('@') {
        return Err("the client id names a port or a user");
    }
    let host = url.host_str().unwrap_or_default();
    match normalize_host(host) {
        Ok(normal) if normal == host => Ok(normal),
        _ => Err("the client id has no host name"),
    }
}

/// Reads a document strictly (section 4 of the draft): it names itself, says what it is called and where answers go, and holds no secret.
fn read(fetched: &Fetched<'_>, known_app_schemes: &[String]) -> Result<Useful<Description>, &'static str> {
    let (_, subtype) = fetched.content_type.split_once('/').unwrap_or_default();
    if !fetched.content_type.starts_with("application/") || !(subtype == "json" || subtype.ends_with("+json"))
    {
        return Err("it is not served as JSON");
    }
    // Read twice: the first reader refuses what the two could understand differently.
    let object = Object::parse(fetched.body).ok_or("it is not a JSON object with every member once")?;
    if object.text("client_id")? != fetched.url {
        return Err("its client_id is not its URL");
    }
    object.text("client_name").map_err(|_| "it has no client_name")?;
    if object.has_any(&["client_secret", "client_secret_expires_at"]) {
        return Err("it holds a secret");
    }
    let method = object
        .optional_text("token_endpoint_auth_method")?
        .unwrap_or("none");
    if !matches!(
        ClientAuthMethod::from_name(method),
        Some(ClientAuthMethod::None | ClientAuthMethod::PrivateKeyJwt)
    ) {
        return Err("its authentication method needs a shared secret, or is unknown");
    }
    let described: Described = json_object::parse(fetched.body).ok_or("a member has the wrong type")?;
    let ttl = fetched.max_age.unwrap_or(USUAL_TTL).min(MAX_TTL);
    // Only what is used later is kept, within the bounds of a registration.
    let accepted = client_description::judge(described, known_app_schemes, KeyUrls::Fetched)
        .map_err(|_| "it describes no client that is accepted here")?;
    let keys = accepted.metadata.jwks.as_ref().map(|jwks| jwks.to_string().len());
    if keys.is_some_and(|bytes| bytes > MAX_KEYS_BYTES) {
        return Err("its keys are larger than 16 KiB");
    }
    let uris: usize = accepted.redirect_uris.iter().map(String::len).sum();
    Ok(Useful {
        ttl,
        // A parsed value takes several times its text.
        bytes: fetched.url.len() + uris + 4 * keys.unwrap_or_default(),
        value: Description {
            url: fetched.url.to_owned(),
            accepted,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_plainest_https_url_with_a_path_is_a_document() {
        for id in [
            "https://client.example/oauth.json",
            "https://xn--bcher-kva.example/a?b=c",
        ] {
            assert!(document_host(id).is_ok(), "{id}");
        }
        for id in [
            "http://client.example/a",
            "https://client.example",
            "https://client.example/",
            "https://client.example/a#b",
            "https://client.example/a/../b",
            "https://client.example/a/./b",
            "https://client.example/%2e%2e/b",
            "https://CLIENT.example/a",
            "https://client.example:443/a",
            "https://client.example:8443/a",
            "https://user@client.example/a",
            "https://user:x@client.example/a",
            "https://client.example./a",
            "https://127.0.0.1/a",
            "https://127.1/a",
            "https://0x7f000001/a",
            "https://2130706433/a",
            "https://[::1]/a",
            "https://[::ffff:127.0.0.1]/a",
            "https://client.example\\@evil.example/a",
            "https://client.example/a b",
            "https://client.example/\u{e9}",
            "https:///a",
            "https:client.example/a",
        ] {
            assert!(document_host(id).is_err(), "{id}");
        }
        assert!(document_host(&format!("https://client.example/{}", "x".repeat(500))).is_err());
    }
}
