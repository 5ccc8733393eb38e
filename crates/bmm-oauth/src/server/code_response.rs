//! The authorization response that holds a code (RFC 6749 section 4.1.2, RFC 9207).

use axum::body::Body;
use http::Response;

use super::authorization_server::AuthorizationServer;
use super::authorize::see_other;
use super::redirect::with_parameters;
use super::secret::{SecretHash, random_id, random_secret};
use super::store::{AuthorizationCode, AuthorizationRequest, StoreError};
use crate::events::Event;
use crate::verifier::Subject;

/// Sends a code to the client: `subject` has allowed what is in `request`.
pub(super) async fn send_code(
    server: &AuthorizationServer,
    request: AuthorizationRequest,
    subject: Subject,
    event: &mut Event,
) -> Result<Response<Body>, StoreError> {
    let code = random_secret();
    let mut parameters = vec![("code", code.as_str())];
    parameters.extend(request.state.as_deref().map(|state| ("state", state)));
    parameters.push(("iss", server.config.issuer.as_str()));
    let location = with_parameters(&request.redirect_uri, &parameters);
    let grant_id = random_id();
    event.grant_id = Some(grant_id.clone());
    let issued = AuthorizationCode {
        request,
        subject,
        grant_id,
        expires_at: server.clock.now().plus(server.config.code_ttl),
    };
    server.store.put_code(SecretHash::of(&code), issued).await?;
    Ok(see_other(&location))
}
