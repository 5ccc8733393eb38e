//! How a client proves who it is (RFC 6749 section 2.3, RFC 7523). One parser, one method at a time, one exit for every refusal.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};

use super::authorization_server::AuthorizationServer;
use super::client_assertion;
use super::form::Parameters;
use super::presented::Presented;
use super::secret::SecretHash;
use super::store::{Client, ClientAuthMethod};
use super::wire::{ErrorCode, OAuthError};

/// Longest accepted client id (one may be a URL) and client secret, in bytes.
const MAX_ID_BYTES: usize = 2048;
const MAX_SECRET_BYTES: usize = 256;

/// The one kind of assertion that a client authenticates with (RFC 7523 section 2.2).
pub(super) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The client that sent this request, if it exists, authenticated as it registered, and proved it.
pub(super) async fn authenticate(
    server: &AuthorizationServer,
    presented: &Presented<'_>,
) -> Result<Client, OAuthError> {
    let credentials = credentials(presented.headers, presented.form)?;
    let client = server.client(&credentials.client_id, presented.address).await?;
    let client = client.filter(|client| client.auth_method == credentials.method());
    match &credentials.proof {
        Proof::None => client.ok_or_else(refused),
        Proof::Secret { secret, .. } => {
            // Compared with something even where there is nothing, so that time tells no more than the answer.
            let stored = client.as_ref().and_then(|client| client.secret_hash);
            let compared = stored.unwrap_or_else(|| SecretHash::from_bytes([0; 32]));
            let matches = compared.matches(secret) && stored.is_some();
            client.filter(|_| matches).ok_or_else(refused)
        }
        Proof::Assertion(assertion) => {
            let client = client.ok_or_else(refused)?;
            match client_assertion::verify(server, &client, assertion, presented).await? {
                Ok(()) => Ok(client),
                Err(reason) => {
                    tracing::info!(client_id = client.id, reason, "a client's assertion was refused");
                    Err(refused())
                }
            }
        }
    }
}

/// What a client presents.
#[derive(PartialEq, Eq)]
struct Credentials {
    client_id: String,
    proof: Proof,
}

#[derive(PartialEq, Eq)]
enum Proof {
    None,
    Secret {
        secret: String,
        method: ClientAuthMethod,
    },
    Assertion(String),
}

impl Credentials {
    fn method(&self) -> ClientAuthMethod {
        match &self.proof {
            Proof::None => ClientAuthMethod::None,
            Proof::Secret { method, .. } => *method,
            Proof::Assertion(_) => ClientAuthMethod::PrivateKeyJwt,
        }
    }
}

/// Reads the credentials of a request, without looking anything up.
fn credentials(headers: &HeaderMap, form: &Parameters) -> Result<Credentials, OAuthError> {
    let get = |name| {
        form.get(name)
            .map_err(|_| OAuthError::new(ErrorCode::InvalidRequest, "a parameter is repeated"))
    };
    let (client_id, secret) = (get("client_id")?, get("client_secret")?);
    let assertion = match (get("client_assertion")?, get("client_assertion_type")?) {
        (None, None) => None,
        (Some(assertion), Some(ASSERTION_TYPE)) => Some(assertion),
        _ => return Err(refused()),
    };
    let mut authorizations = headers.get_all(header::AUTHORIZATION).iter();
    let authorization = authorizations.next();
    // RFC 6749 section 2.3: not more than one method per request.
    let methods = usize::from(authorization.is_some())
        + authorizations.count()
        + usize::from(secret.is_some())
        + usize::from(assertion.is_some());
    if methods > 1 {
        return Err(OAuthError::new(
            ErrorCode::InvalidRequest,
            "authenticate in one way only",
        ));
    }
    let (proven_id, proof) = match (authorization, secret, assertion) {
        (Some(authorization), ..) => {
            let (id, secret) = basic(authorization.as_bytes()).ok_or_else(refused)?;
            let method = ClientAuthMethod::ClientSecretBasic;
            (Some(id), Proof::Secret { secret, method })
        }
        (_, Some(secret), _) => {
            let (secret, method) = (secret.to_owned(), ClientAuthMethod::ClientSecretPost);
            (None, Proof::Secret { secret, method })
        }
        (_, _, Some(assertion)) => {
            let id = client_assertion::claimed_client(assertion).ok_or_else(refused)?;
            (Some(id), Proof::Assertion(assertion.to_owned()))
        }
        (None, None, None) => (None, Proof::None),
    };
    let client_id = match (proven_id, client_id) {
        (Some(proven), Some(said)) if proven != said => {
            return Err(OAuthError::new(
                ErrorCode::InvalidRequest,
                "client_id differs from the client that authenticates",
            ));
        }
        (Some(proven), _) => proven,
        (None, Some(said)) => said.to_owned(),
        (None, None) => return Err(OAuthError::new(ErrorCode::InvalidRequest, "client_id is missing")),
    };
    let secret_is_too_long =
        matches!(&proof, Proof::Secret { secret, .. } if secret.len() > MAX_SECRET_BYTES);
    if client_id.len() > MAX_ID_BYTES || secret_is_too_long {
        return Err(refused());
    }
    Ok(Credentials { client_id, proof })
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
