//! The user's decision. Nothing is taken from the form but its handle and the decision; what is granted was stored when the page was made.

use axum::body::Body;
use axum::extract::{Request, State};
use http::{HeaderMap, Response, StatusCode, header};

use super::authorization_server::AuthorizationServer;
use super::authorize::{ErrorRedirect, browser_secret, see_other};
use super::body::{has_content_type, read_body};
use super::form::{MAX_FORM_BYTES, Parameters};
use super::page;
use super::redirect::with_parameters;
use super::secret::{SecretHash, random_id, random_secret};
use super::sign_in::User;
use super::store::{AuthorizationCode, PendingConsent, StoreError};
use super::wire::ErrorCode;
use crate::clock::Timestamp;
use crate::issuer::Issuer;

pub(super) async fn handle(State(server): State<AuthorizationServer>, request: Request) -> Response<Body> {
    match decide(&server, request).await {
        Ok(response) => response,
        Err(Failure::Refused(why)) => {
            tracing::warn!(reason = %why, "consent refused");
            page::error(StatusCode::FORBIDDEN, &why.to_string())
        }
        Err(Failure::Store(error)) => {
            tracing::error!(error = &error as &dyn std::error::Error, "consent failed");
            page::error(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The server could not do this now. Try again later.",
            )
        }
    }
}

enum Failure {
    Refused(Refused),
    Store(StoreError),
}

/// Why a decision does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("The answer did not come from this server's own page.")]
    ForeignOrigin,
    #[error("The answer cannot be read.")]
    Malformed,
    #[error("This page has been answered already, or is too old.")]
    Spent,
    #[error("You are no longer signed in as the user that was asked, or this is another browser.")]
    OtherSession,
}

async fn decide(server: &AuthorizationServer, request: Request) -> Result<Response<Body>, Failure> {
    let (parts, body) = request.into_parts();
    let issuer = &server.config.issuer;
    if !is_own_page(&parts.headers, issuer) {
        return Err(Failure::Refused(Refused::ForeignOrigin));
    }
    let user = server.sign_in.session.current(&parts).await;
    let browser = browser_secret(&parts.headers, issuer);
    let form = read_form(Request::from_parts(parts, body))
        .await
        .ok_or(Failure::Refused(Refused::Malformed))?;
    let (Ok(Some(handle)), Ok(Some(decision))) = (form.get("handle"), form.get("decision")) else {
        return Err(Failure::Refused(Refused::Malformed));
    };
    // Taken before it is judged: a handle is tried once, whatever comes of it.
    let pending = server
        .store
        .take_consent(SecretHash::of(handle))
        .await
        .map_err(Failure::Store)?;
    let now = server.clock.now();
    let consent = judge(pending, user.as_ref(), browser.as_deref(), now).map_err(Failure::Refused)?;
    if decision != "allow" {
        let denied = ErrorRedirect {
            redirect_uri: consent.request.redirect_uri,
            state: consent.request.state,
            code: ErrorCode::AccessDenied,
            description: "the user denied the request",
        };
        return Ok(denied.response(issuer));
    }
    let code = random_secret();
    let mut parameters = vec![("code", code.as_str())];
    parameters.extend(consent.request.state.as_deref().map(|state| ("state", state)));
    parameters.push(("iss", issuer.as_str()));
    let location = with_parameters(&consent.request.redirect_uri, &parameters);
    tracing::info!(client_id = consent.request.client_id, resource = %consent.request.resource, "consent given");
    let issued = AuthorizationCode {
        request: consent.request,
        subject: consent.subject,
        grant_id: random_id(),
        expires_at: now.plus(server.config.code_ttl),
    };
    server
        .store
        .put_code(SecretHash::of(&code), issued)
        .await
        .map_err(Failure::Store)?;
    Ok(see_other(&location))
}

/// The decision whether the decision counts: same handle, same user, same browser, in time.
fn judge(
    pending: Option<PendingConsent>,
    user: Option<&User>,
    browser: Option<&str>,
    now: Timestamp,
) -> Result<PendingConsent, Refused> {
    let pending = pending
        .filter(|pending| pending.expires_at > now)
        .ok_or(Refused::Spent)?;
    let same_user = user.is_some_and(|user| user.subject == pending.subject);
    let same_browser = browser.is_some_and(|browser| pending.browser.matches(browser));
    if same_user && same_browser {
        Ok(pending)
    } else {
        Err(Refused::OtherSession)
    }
}

/// `Origin` must be ours; every browser sends it with a form. `Sec-Fetch-Site`, where there is one, must agree.
fn is_own_page(headers: &HeaderMap, issuer: &Issuer) -> bool {
    let own_origin = headers
        .get(header::ORIGIN)
        .is_some_and(|origin| origin.as_bytes() == issuer.origin().as_bytes());
    let same_site = headers
        .get("sec-fetch-site")
        .is_none_or(|site| site.as_bytes() == b"same-origin");
    own_origin && same_site
}

async fn read_form(request: Request) -> Option<Parameters> {
    if !has_content_type(request.headers(), "application/x-www-form-urlencoded") {
        return None;
    }
    let body = read_body(request, MAX_FORM_BYTES).await.ok()?;
    Parameters::parse(&body)
        .ok()
        .filter(|form| form.duplicated().is_none())
}
