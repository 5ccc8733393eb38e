//! The user's decision. Nothing is taken from the form but its handle and the decision; what is granted was stored when the page was made.

use axum::body::Body;
use axum::extract::{Request, State};
use http::{HeaderMap, Response, StatusCode, header};

use super::authorization_server::AuthorizationServer;
use super::authorize::{CONSENT_COOKIE, ErrorRedirect};
use super::body::{has_content_type, read_body};
use super::code_response::send_code;
use super::cookie;
use super::form::{MAX_FORM_BYTES, Parameters};
use super::page;
use super::pending_consent::PendingConsent;
use super::sign_in::{User, Way};
use super::sign_in_transaction;
use super::store::StoreError;
use super::wire::ErrorCode;
use crate::events::{Event, EventKind, Outcome};
use crate::issuer::Issuer;

pub(super) async fn handle(State(server): State<AuthorizationServer>, request: Request) -> Response<Body> {
    let mut event = server.event(EventKind::ConsentDecided, request.extensions());
    let result = decide(&server, request, &mut event).await;
    match &result {
        Ok(_) => {}
        Err(Failure::Refused(why)) => event.outcome = why.outcome(),
        Err(Failure::Store(_)) => event.outcome = Outcome::Refused("server_error"),
    }
    server.events.record(event);
    match result {
        Ok(response) => response,
        Err(Failure::Refused(why)) => page::error(StatusCode::FORBIDDEN, &why.to_string()),
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

impl Refused {
    fn outcome(self) -> Outcome {
        Outcome::Refused(match self {
            Self::ForeignOrigin => "foreign_origin",
            Self::Malformed => "invalid_request",
            Self::Spent => "spent",
            Self::OtherSession => "other_session",
        })
    }
}

async fn decide(
    server: &AuthorizationServer,
    request: Request,
    event: &mut Event,
) -> Result<Response<Body>, Failure> {
    let (parts, body) = request.into_parts();
    let issuer = &server.config.issuer;
    if !is_own_page(&parts.headers, issuer) {
        return Err(Failure::Refused(Refused::ForeignOrigin));
    }
    let asked = match &server.sign_in.way {
        Way::Session(session) => Asked::User(session.current(&parts).await),
        Way::Upstreams(_) => Asked::Browser,
    };
    let browser = cookie::read(&parts.headers, &cookie::name(CONSENT_COOKIE, issuer));
    let form = read_form(Request::from_parts(parts, body))
        .await
        .ok_or(Failure::Refused(Refused::Malformed))?;
    let (Ok(Some(handle)), Ok(Some(decision))) = (form.get("handle"), form.get("decision")) else {
        return Err(Failure::Refused(Refused::Malformed));
    };
    // Taken before it is judged: a handle is tried once, whatever comes of it.
    let pending = PendingConsent::take(server, handle)
        .await
        .map_err(Failure::Store)?;
    let consent = judge(pending, &asked, browser.as_deref()).map_err(Failure::Refused)?;
    event.client_id = Some(consent.request.client_id.clone());
    event.subject = consent.subject.clone();
    event.resource = Some(consent.request.resource.clone());
    let upstream = match (&server.sign_in.way, decision.split_once(':')) {
        (Way::Upstreams(_), Some(("allow", name))) => server.sign_in.upstream(name),
        _ => None,
    };
    let allowed = upstream.is_some() || decision == "allow" && consent.subject.is_some();
    if !allowed {
        event.outcome = Outcome::Refused(ErrorCode::AccessDenied.name());
        let denied = ErrorRedirect {
            redirect_uri: consent.request.redirect_uri,
            state: consent.request.state,
            code: ErrorCode::AccessDenied,
            description: "the user denied the request",
        };
        return Ok(denied.response(issuer));
    }
    match (upstream, consent.subject) {
        (Some(upstream), _) => sign_in_transaction::begin(server, upstream, consent.request).await,
        (None, Some(subject)) => send_code(server, consent.request, subject, event).await,
        (None, None) => return Err(Failure::Refused(Refused::OtherSession)),
    }
    .map_err(Failure::Store)
}

/// Who can be asked.
enum Asked {
    /// The signed-in user, if there is one.
    User(Option<User>),
    /// Whoever sits before the browser: they sign in next.
    Browser,
}

/// The decision whether the decision counts: same handle, same user, same browser.
fn judge(
    pending: Option<PendingConsent>,
    asked: &Asked,
    browser: Option<&str>,
) -> Result<PendingConsent, Refused> {
    let pending = pending.ok_or(Refused::Spent)?;
    let same_user = match (asked, &pending.subject) {
        (Asked::User(Some(user)), Some(subject)) => user.subject == *subject,
        (Asked::Browser, None) => true,
        _ => false,
    };
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
