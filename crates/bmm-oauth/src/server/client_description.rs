//! What a client says about itself, in a registration (RFC 7591) or in a document of its own, and what of it is accepted. Pure decisions.

use serde::Deserialize;
use serde_json::Value;

use super::client_keys;
use super::redirect;
use super::store::{ClientAuthMethod, ClientMetadata};
use super::wire::{ErrorCode, OAuthError};

const MAX_REDIRECT_URIS: usize = 16;
const MAX_NAME_CHARS: usize = 80;

/// What clients send (RFC 7591 section 2); the rest is ignored, as section 3.1 allows. Some send `null` for absent.
#[derive(Clone, Deserialize)]
pub(super) struct Described {
    #[serde(default)]
    pub(super) redirect_uris: Option<Vec<String>>,
    #[serde(default)]
    pub(super) client_name: Option<String>,
    #[serde(default)]
    pub(super) token_endpoint_auth_method: Option<String>,
    #[serde(default)]
    pub(super) grant_types: Option<Vec<String>>,
    #[serde(default)]
    pub(super) response_types: Option<Vec<String>>,
    #[serde(default)]
    pub(super) jwks: Option<Value>,
    #[serde(default)]
    pub(super) jwks_uri: Option<String>,
    #[serde(default)]
    pub(super) client_id: Option<String>,
    #[serde(default)]
    pub(super) client_secret: Option<String>,
}

pub(super) struct Accepted {
    /// What it says of what it has already, to be compared.
    pub(super) client_id: Option<String>,
    pub(super) client_secret: Option<String>,
    pub(super) metadata: ClientMetadata,
    pub(super) redirect_uris: Vec<String>,
    pub(super) name: String,
    pub(super) auth_method: ClientAuthMethod,
}

/// The decision. One acceptable redirect URI is enough: applications register several, and an unsafe one is refused when it is used
/// (losing the whole registration over it locks real clients out).
pub(super) fn judge(
    asked: Described,
    known_app_schemes: &[String],
    urls: KeyUrls,
) -> Result<Accepted, OAuthError> {
    let redirect_uris = asked.redirect_uris.unwrap_or_default();
    let refuse_uri = |why: String| OAuthError::new(ErrorCode::InvalidRedirectUri, why);
    if redirect_uris.len() > MAX_REDIRECT_URIS {
        return Err(refuse_uri(format!("more than {MAX_REDIRECT_URIS} redirect_uris")));
    }
    if redirect_uris
        .iter()
        .any(|uri| uri.len() > redirect::MAX_REDIRECT_BYTES)
    {
        return Err(refuse_uri("a redirect URI is longer than 2048 bytes".to_owned()));
    }
    let judged = redirect_uris
        .iter()
        .map(|uri| redirect::classify(uri, known_app_schemes));
    let refusals: Vec<_> = judged.filter_map(Result::err).collect();
    if refusals.len() == redirect_uris.len() {
        let why = refusals
            .first()
            .map_or("there is none".to_owned(), ToString::to_string);
        return Err(refuse_uri(format!("no acceptable redirect URI: {why}")));
    }
    // RFC 7591 has `client_secret_basic` for clients that say nothing. Those of MCP are installed applications that cannot keep a secret,
    // and section 3.2.1 lets a server choose: `none`, said in the answer.
    let auth_method = match asked.token_endpoint_auth_method.as_deref() {
        None => ClientAuthMethod::None,
        Some(name) => ClientAuthMethod::from_name(name).ok_or_else(|| {
            let why = "token_endpoint_auth_method must be none, client_secret_basic, client_secret_post or private_key_jwt";
            refused(why)
        })?,
    };
    if asked
        .grant_types
        .is_some_and(|types| !types.iter().any(|t| t == "authorization_code"))
    {
        return Err(refused("grant_types must contain authorization_code"));
    }
    if asked
        .response_types
        .is_some_and(|types| !types.iter().any(|t| t == "code"))
    {
        return Err(refused("response_types must contain code"));
    }
    let mut metadata = ClientMetadata::default();
    if auth_method == ClientAuthMethod::PrivateKeyJwt {
        (metadata.jwks, metadata.jwks_uri) = keys(asked.jwks, asked.jwks_uri, urls)?;
    }
    Ok(Accepted {
        client_id: asked.client_id,
        client_secret: asked.client_secret,
        metadata,
        redirect_uris,
        name: clean_name(asked.client_name.as_deref().unwrap_or_default()),
        auth_method,
    })
}

/// Whether keys may be kept at a URL: where there is no way out, nobody could read them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyUrls {
    Fetched,
    Refused,
}

/// The keys of `private_key_jwt`: in the registration, or at an https URL (RFC 7591 section 2: never both).
fn keys(
    jwks: Option<Value>,
    jwks_uri: Option<String>,
    urls: KeyUrls,
) -> Result<(Option<Value>, Option<String>), OAuthError> {
    match (jwks, jwks_uri) {
        (Some(jwks), None) => {
            client_keys::registered(&jwks).map_err(refused)?;
            Ok((Some(jwks), None))
        }
        (None, Some(_)) if urls == KeyUrls::Refused => {
            Err(refused("jwks_uri is not supported here; send the keys in jwks"))
        }
        (None, Some(url)) => match url.parse::<http::Uri>() {
            Ok(uri) if uri.scheme_str() == Some("https") && url.len() <= redirect::MAX_REDIRECT_BYTES => {
                Ok((None, Some(url)))
            }
            _ => Err(refused("jwks_uri must be an https URL")),
        },
        _ => Err(refused("private_key_jwt needs either jwks or jwks_uri")),
    }
}

/// A name fit for display: no control characters, and none that turn or hide text (a name that reads differently than it is spelled).
fn clean_name(name: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
            || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    let name: String = name
        .chars()
        .filter(|c| !hidden(*c))
        .take(MAX_NAME_CHARS)
        .collect();
    let name = name.trim();
    if name.is_empty() {
        "An application without a name".to_owned()
    } else {
        name.to_owned()
    }
}

pub(super) fn refused(why: &'static str) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidClientMetadata, why)
}
