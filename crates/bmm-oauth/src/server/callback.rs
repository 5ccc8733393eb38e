//! Where an upstream sends the browser back to. Each upstream has a callback of its own, and an answer counts once, at that callback,
//! in the browser that consented.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use http::{Response, StatusCode, header};
use zeroize::Zeroizing;

use super::authorization_server::AuthorizationServer;
use super::authorize::{ErrorRedirect, NO_RESOURCE, NO_SCOPE, lookup_failed};
use super::code_response::send_code;
use super::form::Parameters;
use super::sign_in::Arrival;
use super::sign_in_transaction::{self as transaction, Transaction};
use super::store::StoreError;
use super::upstream::{
    SignInAttempt, Upstream, UpstreamAnswer, UpstreamError, UpstreamTokens, UpstreamUser, subject,
};
use super::wire::ErrorCode;
use super::{page, upstream_token};
use crate::events::{Event, EventKind, Outcome};

/// The pauses between the attempts to learn from an upstream who the user is.
const IDENTIFY_AGAIN_AFTER: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(800)];

pub(super) async fn handle(State(server): State<AuthorizationServer>, request: Request) -> Response<Body> {
    let mut event = server.event(EventKind::SignedIn, request.extensions());
    let result = answer(&server, request, &mut event).await;
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
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "sign-in callback failed"
            );
            page::error(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The server could not do this now. Try again later.",
            )
        }
    }
}

enum Failure {
    /// Here: whoever brings this answer is not known to have consented to anything.
    Refused(Refused),
    Store(StoreError),
}

/// Why an answer of an upstream does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("Users do not sign in that way here.")]
    UnknownUpstream,
    #[error("The answer of the sign-in service cannot be read.")]
    Malformed,
    #[error("This sign-in has ended already, or took too long.")]
    Spent,
    #[error("This sign-in was started at another service.")]
    OtherUpstream,
    #[error("This sign-in was started in another browser.")]
    OtherBrowser,
    #[error("The answer is not of the service where the sign-in was started.")]
    OtherIssuer,
}

impl Refused {
    fn outcome(self) -> Outcome {
        Outcome::Refused(match self {
            Self::UnknownUpstream => "unknown_upstream",
            Self::Malformed => "invalid_request",
            Self::Spent => "spent",
            Self::OtherUpstream => "other_upstream",
            Self::OtherBrowser => "other_browser",
            Self::OtherIssuer => "other_issuer",
        })
    }
}

/// An answer of the browser that consented, at the right callback, of the right issuer, and for the only time.
struct Judged {
    transaction: Transaction,
    attempt: SignInAttempt,
}

async fn answer(
    server: &AuthorizationServer,
    request: Request,
    event: &mut Event,
) -> Result<Response<Body>, Failure> {
    let (parts, _) = request.into_parts();
    let refuse = |why| Err(Failure::Refused(why));
    // Names are plain letters, so that no decoding is needed; anything else is unknown.
    let name = parts.uri.path().rsplit('/').next().unwrap_or_default();
    let Some(upstream) = server.sign_in.upstream(name) else {
        return refuse(Refused::UnknownUpstream);
    };
    let parameters = Parameters::parse(parts.uri.query().unwrap_or_default().as_bytes())
        .ok()
        .filter(|parameters| parameters.duplicated().is_none());
    let Some(parameters) = parameters else {
        return refuse(Refused::Malformed);
    };
    let get = |name| parameters.get(name).ok().flatten();
    let Some(state) = get("state") else {
        return refuse(Refused::Malformed);
    };
    // Taken before it is judged: a state is tried once, whatever comes of it.
    let taken = transaction::take(server, state).await.map_err(Failure::Store)?;
    let browser = transaction::browser_secret(&parts.headers, state, &server.config.issuer);
    let judged = match judge(taken, upstream.as_ref(), browser.as_deref(), get("iss")) {
        Ok((transaction, browser)) => Judged {
            attempt: transaction::attempt(server, upstream.name(), state, browser),
            transaction,
        },
        Err(why) => return refuse(why),
    };
    let asked = &judged.transaction.request;
    event.client_id = Some(asked.client_id.clone());
    event.resource = Some(asked.resource.clone());
    // From here on the browser is the one that allowed this client to get an answer.
    let outcome = match (get("code"), get("error")) {
        (Some(code), None) => {
            let answer = UpstreamAnswer {
                code: Zeroizing::new(code.to_owned()),
                iss: get("iss").map(str::to_owned),
            };
            sign_in(server, upstream, answer, judged, event).await
        }
        (None, Some("access_denied")) => Err(refusal(
            judged.transaction,
            ErrorCode::AccessDenied,
            "the user did not sign in",
        )),
        _ => Err(refusal(
            judged.transaction,
            ErrorCode::ServerError,
            "the sign-in service answered with an error",
        )),
    };
    let mut response = match outcome {
        Ok(response) => response,
        Err(Ended::AtClient(error)) => {
            event.outcome = Outcome::Refused(error.code.name());
            error.response(&server.config.issuer)
        }
        Err(Ended::Store(error)) => return Err(Failure::Store(error)),
    };
    let forget = transaction::forget_browser(state, &server.config.issuer);
    response.headers_mut().append(header::SET_COOKIE, forget);
    Ok(response)
}

/// The decision whether the answer counts: for a sign-in that waits, at its own callback (RFC 9700 section 4.4.2.2), in its own browser, and
/// of its own issuer (RFC 9207 section 2.4).
fn judge<'a>(
    transaction: Option<Transaction>,
    upstream: &dyn Upstream,
    browser: Option<&'a str>,
    iss: Option<&str>,
) -> Result<(Transaction, &'a str), Refused> {
    let transaction = transaction.ok_or(Refused::Spent)?;
    if transaction.upstream != upstream.name() {
        return Err(Refused::OtherUpstream);
    }
    let browser = browser
        .filter(|browser| transaction.browser.matches(browser))
        .ok_or(Refused::OtherBrowser)?;
    if iss.is_some_and(|iss| !upstream.is_issuer(iss)) {
        return Err(Refused::OtherIssuer);
    }
    Ok((transaction, browser))
}

/// How a sign-in ends without a code.
enum Ended {
    AtClient(ErrorRedirect),
    Store(StoreError),
}

fn refusal(transaction: Transaction, code: ErrorCode, description: &'static str) -> Ended {
    Ended::AtClient(ErrorRedirect {
        redirect_uri: transaction.request.redirect_uri,
        state: transaction.request.state,
        code,
        description,
    })
}

async fn sign_in(
    server: &AuthorizationServer,
    upstream: &Arc<dyn Upstream>,
    answer: UpstreamAnswer,
    judged: Judged,
    event: &mut Event,
) -> Result<Response<Body>, Ended> {
    let Judged {
        mut transaction,
        attempt,
    } = judged;
    // A task of its own: once the code is exchanged, tokens that the upstream has replaced by these are worthless, so these must be kept
    // even if the browser goes away.
    let exchange = tokio::spawn(identify(server.clone(), Arc::clone(upstream), answer, attempt));
    let arrival = match exchange.await {
        Ok(Ok(arrival)) => arrival,
        Ok(Err(Unidentified::Store(error))) => return Err(Ended::Store(error)),
        Ok(Err(Unidentified::Upstream(error))) => {
            tracing::warn!(
                upstream = upstream.name(),
                error = &error as &dyn std::error::Error,
                "a sign-in at the upstream failed"
            );
            let unreachable = matches!(error, UpstreamError::Unreachable(_) | UpstreamError::Status(_));
            let (code, why) = if unreachable {
                (
                    ErrorCode::TemporarilyUnavailable,
                    "users cannot sign in at the moment",
                )
            } else {
                (
                    ErrorCode::AccessDenied,
                    "the sign-in service did not say who the user is",
                )
            };
            return Err(refusal(transaction, code, why));
        }
        Err(_) => {
            tracing::error!(upstream = upstream.name(), "a sign-in was broken off");
            return Err(refusal(
                transaction,
                ErrorCode::ServerError,
                "the sign-in was broken off",
            ));
        }
    };
    let subject = arrival.subject.clone();
    event.subject = Some(subject.clone());
    if let Err(error) = server.sign_in.arrived(arrival).await {
        let (code, why) = lookup_failed(&error);
        return Err(refusal(transaction, code, why));
    }
    let resource = server
        .resources
        .lookup(&transaction.request.resource, &subject)
        .await;
    let granted = match &resource {
        Ok(Some(resource)) => resource.grantable(&transaction.request.scopes).ok_or(NO_SCOPE),
        Ok(None) => Err(NO_RESOURCE),
        Err(error) => Err(lookup_failed(error)),
    };
    match granted {
        Ok(scopes) => transaction.request.scopes = scopes,
        Err((code, why)) => return Err(refusal(transaction, code, why)),
    }
    send_code(server, transaction.request, subject, event)
        .await
        .map_err(Ended::Store)
}

/// Until it is known whose they are, the tokens can be kept for nobody: an upstream that stumbles is asked again.
async fn identify_patiently(
    upstream: &dyn Upstream,
    tokens: &UpstreamTokens,
    attempt: &SignInAttempt,
) -> Result<UpstreamUser, UpstreamError> {
    let mut pauses = IDENTIFY_AGAIN_AFTER.into_iter();
    loop {
        let failed = match upstream.identify(tokens, attempt).await {
            Err(error @ (UpstreamError::Unreachable(_) | UpstreamError::Status(429 | 500..))) => error,
            identified => return identified,
        };
        let pause = pauses.next().ok_or(failed)?;
        tokio::time::sleep(pause).await;
    }
}

enum Unidentified {
    Upstream(UpstreamError),
    Store(StoreError),
}

/// Code for tokens, tokens for a user, and the tokens kept, in this order and with nothing between.
async fn identify(
    server: AuthorizationServer,
    upstream: Arc<dyn Upstream>,
    answer: UpstreamAnswer,
    attempt: SignInAttempt,
) -> Result<Arrival, Unidentified> {
    let tokens = upstream
        .exchange(&answer, &attempt)
        .await
        .map_err(Unidentified::Upstream)?;
    let user = identify_patiently(upstream.as_ref(), &tokens, &attempt)
        .await
        .map_err(Unidentified::Upstream)?;
    let subject = subject(upstream.issuer(), &user.id).map_err(Unidentified::Upstream)?;
    upstream_token::keep(&server, upstream.name(), &subject, &tokens)
        .await
        .map_err(Unidentified::Store)?;
    Ok(Arrival {
        subject,
        upstream: upstream.name().to_owned(),
        user,
    })
}
