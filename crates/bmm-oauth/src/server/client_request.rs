//! A form that a client sends to one of its endpoints: read strictly, and the client authenticated, before anything is done.

use axum::extract::Request;

use super::authorization_server::AuthorizationServer;
use super::body::{has_content_type, read_body};
use super::client_auth;
use super::form::{MAX_FORM_BYTES, Parameters};
use super::presented::Presented;
use super::store::Client;
use super::wire::{ErrorCode, OAuthError};
use crate::events::Event;

/// The form, and who sent it. `endpoint` is the path that the request came to.
pub(super) async fn authenticated(
    server: &AuthorizationServer,
    request: Request,
    endpoint: &'static str,
    event: &mut Event,
) -> Result<(Client, Parameters), OAuthError> {
    let invalid = |why: &'static str| OAuthError::new(ErrorCode::InvalidRequest, why);
    let headers = request.headers().clone();
    if !has_content_type(&headers, "application/x-www-form-urlencoded") {
        return Err(invalid(
            "send the parameters as application/x-www-form-urlencoded",
        ));
    }
    let body = read_body(request, MAX_FORM_BYTES).await?;
    let form = Parameters::parse(&body)
        .map_err(|error| OAuthError::new(ErrorCode::InvalidRequest, error.to_string()))?;
    if form.duplicated().is_some() {
        return Err(invalid("a parameter is repeated"));
    }
    let presented = Presented {
        headers: &headers,
        form: &form,
        endpoint,
        address: event.address,
    };
    let client = client_auth::authenticate(server, &presented).await?;
    event.client_id = Some(client.id.clone());
    Ok((client, form))
}

/// The parameter `token` of RFC 7009 and RFC 7662. What kind of token it is shows by itself; hints are not needed.
pub(super) fn token(form: &Parameters) -> Result<&str, OAuthError> {
    match form.get("token") {
        Ok(Some(token)) => Ok(token),
        _ => Err(OAuthError::new(ErrorCode::InvalidRequest, "token is missing")),
    }
}
