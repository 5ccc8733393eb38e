//! How a client proves who it is at the token endpoint (RFC 6749 section 2.3). One parser, one method, one exit for every refusal.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};

use super::form::Parameters;
use super::secret::SecretHash;
use super::store::{Client, ClientAuthMethod};
use super::wire::{ErrorCode, OAuthError};

/// Longest accepted client id and client secret, in bytes.
const MAX_BYTES: usize = 256;

/// What a client presents.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) client_id: String,
    method: ClientAuthMethod,
    secret: Option<String>,
}

/// Reads the credentials of a token request.
pub(super) fn credentials(headers: &HeaderMap, form: &Parameters) -> Result<Credentials, OAuthError> {
    let get = |name| {
        form.get(name)
            .map_err(|_| OAuthError::new(ErrorCode::InvalidRequest, "a parameter is repeated"))
    };
    let (client_id, secret) = (get("client_id")?, get("client_secret")?);
    if get("client_assertion")?.is_some() || get("client_assertion_type")?.is_some() {
        return Err(OAuthError::new(
            ErrorCode::InvalidClient,
            "client assertions are not supported",
        ));
    }
    let mut authorizations = headers.get_all(header::AUTHORIZATION).iter();
    let Some(authorization) = authorizations.next() else {
        let method = if secret.is_some() {
            ClientAuthMethod::ClientSecretPost
        } else {
            ClientAuthMethod::None
        };
        let client_id =
            client_id.ok_or_else(|| OAuthError::new(ErrorCode::InvalidRequest, "client_id is missing"))?;
        return bounded(client_id.to_owned(), method, secret.map(str::to_owned));
    };
    if authorizations.next().is_some() || secret.is_some() {
        // RFC 6749 section 2.3: not more than one method per request.
        return Err(OAuthError::new(
            ErrorCode::InvalidRequest,
            "authenticate in one way only",
        ));
    }
    let (basic_id, basic_secret) = basic(authorization.as_bytes()).ok_or_else(refused)?;
    if client_id.is_some_and(|client_id| client_id != basic_id) {
        return Err(OAuthError::new(
            ErrorCode::InvalidRequest,
            "client_id differs from the Authorization header",
        ));
    }
    bounded(basic_id, ClientAuthMethod::ClientSecretBasic, Some(basic_secret))
}

/// Accepts a client that exists, authenticates as it registered, and knows its secret.
pub(super) fn authenticate(client: Option<Client>, credentials: &Credentials) -> Result<Client, OAuthError> {
    // Compared with something even where there is nothing, so that time tells no more than the answer.
    let stored = client.as_ref().and_then(|client| client.secret_hash);
    let compared = stored.unwrap_or_else(|| SecretHash::from_bytes([0; 32]));
    let secret_matches = credentials
        .secret
        .as_deref()
        .is_some_and(|secret| compared.matches(secret))
        && stored.is_some();
    let client = client
        .filter(|client| client.auth_method == credentials.method)
        .ok_or_else(refused)?;
    match client.auth_method {
        ClientAuthMethod::None => Ok(client),
        ClientAuthMethod::ClientSecretBasic | ClientAuthMethod::ClientSecretPost if secret_matches => {
            Ok(client)
        }
        ClientAuthMethod::ClientSecretBasic | ClientAuthMethod::ClientSecretPost => Err(refused()),
    }
}

fn bounded(
    client_id: String,
    method: ClientAuthMethod,
    secret: Option<String>,
) -> Result<Credentials, OAuthError> {
    if client_id.len() > MAX_BYTES || secret.as_ref().is_some_and(|secret| secret.len() > MAX_BYTES) {
        return Err(refused());
    }
    Ok(Credentials {
        client_id,
        method,
        secret,
    })
}

/// The one refusal: it does not tell an unknown client from a wrong secret or method.
fn refused() -> OAuthError {
    OAuthError::new(
        ErrorCode::InvalidClient,
        "unknown client, or not authenticated as it was registered",
    )
}

/// `Basic` with both parts form-encoded inside (RFC 6749 section 2.3.1).
fn basic(header: &[u8]) -> Option<(String, String)> {
    let text = std::str::from_utf8(header).ok()?;
    let (scheme, encoded) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim_matches(' ')).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    let (id, secret) = (form_decode(id)?, form_decode(secret)?);
    (!id.is_empty() && !secret.is_empty()).then_some((id, secret))
}

fn form_decode(text: &str) -> Option<String> {
    // A separator here would make the decoder see more than one value.
    if text.contains(['&', '=']) {
        return None;
    }
    let decoded = form_urlencoded::parse(text.as_bytes())
        .next()
        .map_or(String::new(), |(name, _)| name.into_owned());
    (!decoded.contains(['\0', '\u{fffd}'])).then_some(decoded)
}
