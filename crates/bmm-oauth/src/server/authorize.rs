//! The authorization endpoint (RFC 6749 section 4.1.1, OAuth 2.1). Everything is checked before anything is shown or sent; nothing is sent to a redirect
//! URI before client and redirect URI are known to belong together.

use axum::body::Body;
use axum::extract::{Request, State};
use http::{HeaderValue, Response, StatusCode, header};

use super::authorization_server::{AuthorizationServer, ClientError};
use super::budget::counted;
use super::consent_page::{self, Asking, ConsentView};
use super::cookie;
use super::endpoints;
use super::form::{Duplicated, FormError, Parameters};
use super::page;
use super::pending_consent::PendingConsent;
use super::pushed_request::{self, Resolved};
use super::redirect::{self, RedirectError, Target};
use super::secret::{SecretHash, random_secret};
use super::sign_in::Way;
use super::store::{AuthorizationRequest, Client, StoreError};
use super::wire::{ErrorCode, OAuthError};
use crate::events::{Event, EventKind, Outcome};
use crate::issuer::Issuer;
use crate::jwk::Thumbprint;
use crate::resource_uri::ResourceUri;
use crate::scope::Scopes;
use crate::verifier::BoxError;

/// The cookie that ties consent pages to their browser, and how long it lives. Several pages may be open at once.
pub(super) const CONSENT_COOKIE: &str = "bmm_consent";
const CONSENT_COOKIE_SECS: u32 = 3600;

/// Consent pages in a minute for people who have not signed in: for one address, and altogether.
const MAX_ASKINGS_PER_ADDRESS: u32 = 60;
const MAX_ASKINGS_PER_MINUTE: u32 = 3000;

/// Why a user gets no token for a resource; the same after signing in at an upstream.
pub(super) const NO_RESOURCE: (ErrorCode, &str) = (
    ErrorCode::InvalidTarget,
    "this resource does not exist, or you may not use it",
);
pub(super) const NO_SCOPE: (ErrorCode, &str) = (
    ErrorCode::InvalidScope,
    "none of the scopes exists at this resource",
);

/// What a client hears when the host could not say.
pub(super) fn lookup_failed(error: &BoxError) -> (ErrorCode, &'static str) {
    tracing::error!(
        error = &**error as &dyn std::error::Error,
        "the host failed to look up a resource or to take in a user"
    );
    (
        ErrorCode::TemporarilyUnavailable,
        "the server could not do this now, try again",
    )
}

pub(super) async fn handle(State(server): State<AuthorizationServer>, request: Request) -> Response<Body> {
    let mut event = server.event(EventKind::AuthorizationRequested, request.extensions());
    let result = authorize(&server, request, &mut event).await;
    event.outcome = result
        .as_ref()
        .map_or_else(Failure::outcome, |_| Outcome::Allowed);
    server.events.record(event);
    match result {
        Ok(response) => response,
        Err(Failure::Page(PageError::TooMany)) => {
            page::error(StatusCode::TOO_MANY_REQUESTS, &PageError::TooMany.to_string())
        }
        Err(Failure::Page(problem)) => page::error(StatusCode::BAD_REQUEST, &problem.to_string()),
        Err(Failure::Redirect(error)) => error.response(&server.config.issuer),
        Err(Failure::WayBack(error, target)) => page::error_with_way_back(
            error.description,
            &consent_page::destination(&target),
            &error.location(&server.config.issuer),
        ),
        Err(Failure::Store(error)) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "authorization request failed"
            );
            page::error(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The server could not do this now. Try again later.",
            )
        }
    }
}

/// How a request ends without consent.
enum Failure {
    /// Here, since no redirect URI can be trusted (RFC 6749 section 4.1.2.1).
    Page(PageError),
    /// At the client.
    Redirect(ErrorRedirect),
    /// Here, with a link to the client.
    WayBack(ErrorRedirect, Target),
    Store(StoreError),
}

impl Failure {
    fn outcome(&self) -> Outcome {
        Outcome::Refused(match self {
            Self::Page(PageError::UnknownClient | PageError::ClientUnreachable) => "unknown_client",
            Self::Page(PageError::RedirectNotRegistered | PageError::UnsafeRedirect(_)) => {
                "invalid_redirect_uri"
            }
            Self::Page(PageError::TooMany) => "rate_limited",
            Self::Page(_) => "invalid_request",
            Self::Redirect(error) | Self::WayBack(error, _) => error.code.name(),
            Self::Store(_) => "server_error",
        })
    }
}

/// What is said to the user, who can do no more than tell the application's author.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum PageError {
    #[error("The application's request cannot be read: {0}.")]
    Form(FormError),
    #[error("The application's request does not say who it is (client_id).")]
    NoClient,
    #[error("Too many people are signing in at this moment. Try again in a minute.")]
    TooMany,
    #[error("The application is not known here. It may have to register again.")]
    UnknownClient,
    #[error("The application's request names its client_id or redirect_uri twice.")]
    Duplicated,
    #[error("The application's request does not say where to send the answer (redirect_uri).")]
    NoRedirect,
    #[error("The application's description cannot be fetched from its own address. Try again later.")]
    ClientUnreachable,
    #[error("The application's request has been used already, or is too old.")]
    PushedRequestGone,
    #[error("The application must send its request to this server first (RFC 9126).")]
    NotPushed,
    #[error("The application wants the answer sent to an address that it has not registered.")]
    RedirectNotRegistered,
    #[error("The application wants the answer sent to an address that is not safe: {0}.")]
    UnsafeRedirect(RedirectError),
}

/// An error on its way to the client (RFC 6749 section 4.1.2.1, RFC 9207).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ErrorRedirect {
    pub(super) redirect_uri: String,
    pub(super) state: Option<String>,
    pub(super) code: ErrorCode,
    pub(super) description: &'static str,
}

impl ErrorRedirect {
    pub(super) fn response(&self, issuer: &Issuer) -> Response<Body> {
        see_other(&self.location(issuer))
    }

    fn location(&self, issuer: &Issuer) -> String {
        let mut parameters = vec![
            ("error", self.code.name()),
            ("error_description", self.description),
        ];
        parameters.extend(self.state.as_deref().map(|state| ("state", state)));
        parameters.push(("iss", issuer.as_str()));
        redirect::with_parameters(&self.redirect_uri, &parameters)
    }
}

async fn authorize(
    server: &AuthorizationServer,
    request: Request,
    event: &mut Event,
) -> Result<Response<Body>, Failure> {
    let (parts, _) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let parameters =
        Parameters::parse(query.as_bytes()).map_err(|error| Failure::Page(PageError::Form(error)))?;
    let client_id = match parameters.get("client_id") {
        Ok(Some(client_id)) => client_id,
        Ok(None) => return Err(Failure::Page(PageError::NoClient)),
        Err(Duplicated) => return Err(Failure::Page(PageError::Duplicated)),
    };
    let client = server.client(client_id, event.address).await;
    let client = client.map_err(|error| match error {
        ClientError::Store(error) => Failure::Store(error),
        ClientError::Unreachable => Failure::Page(PageError::ClientUnreachable),
    })?;
    let client = client.ok_or(Failure::Page(PageError::UnknownClient))?;
    event.client_id = Some(client.id.clone());
    let schemes = &server.config.known_app_schemes;
    let resolved = pushed_request::resolve(server, &client, &parameters).await;
    let pushed = match resolved.map_err(Failure::Store)? {
        Resolved::Taken(taken) => Some(taken),
        Resolved::Gone => return Err(Failure::Page(PageError::PushedRequestGone)),
        Resolved::NotPushed if must_push(server, &client) => return Err(Failure::Page(PageError::NotPushed)),
        Resolved::NotPushed => None,
    };
    let parameters = pushed.as_ref().map_or(&parameters, |taken| &taken.parameters);
    let destination = Destination::find(&client, parameters, schemes).map_err(Failure::Page)?;

    // Before anything is sent to the client, an error as well: anybody may register, and a link to us must not lead on to an address of
    // theirs (RFC 9700 section 4.11.2).
    let user = match &server.sign_in.way {
        Way::Session(session) => match session.current(&parts).await {
            Some(user) => Some(user),
            None => {
                if let Some(taken) = &pushed {
                    taken.put_back(server).await.map_err(Failure::Store)?;
                }
                // A path of ours with the query as it came: nothing of the Host header can get into it.
                let return_to = format!("{}{}?{query}", server.config.issuer.path(), endpoints::AUTHORIZE);
                return Ok(see_other(&session.sign_in_url(&return_to)));
            }
        },
        // The user signs in after the consent; until then an error is shown here, with a way back. Anybody can get that far, and what
        // waits for a consent is kept.
        Way::Upstreams(_) => {
            let (address, now) = (event.address.map(counted), server.clock.now());
            let left = server
                .askings
                .spend(address, MAX_ASKINGS_PER_ADDRESS, MAX_ASKINGS_PER_MINUTE, now);
            if !left {
                return Err(Failure::Page(PageError::TooMany));
            }
            None
        }
    };
    event.subject = user.as_ref().map(|user| user.subject.clone());
    let refused = |(code, description)| {
        let error = destination.error(code, description);
        match &user {
            Some(_) => Failure::Redirect(error),
            None => Failure::WayBack(error, destination.target.clone()),
        }
    };
    let asked = judge(parameters, server.config.default_resource.as_ref()).map_err(&refused)?;
    event.resource = Some(asked.resource.clone());
    let looked_up = match &user {
        Some(user) => server.resources.lookup(&asked.resource, &user.subject).await,
        None => server.resources.describe(&asked.resource).await,
    };
    let resource = looked_up.map_err(|error| refused(lookup_failed(&error)))?;
    let scopes = match (&resource, &user) {
        (Some(resource), _) => resource
            .grantable(&asked.scopes)
            .ok_or_else(|| refused(NO_SCOPE))?,
        (None, Some(_)) => return Err(refused(NO_RESOURCE)),
        // What there is shows when it is known who asks.
        (None, None) => asked.scopes,
    };

    let handle = random_secret();
    let issuer = &server.config.issuer;
    let browser = cookie::read(&parts.headers, &cookie::name(CONSENT_COOKIE, issuer));
    let browser = browser.unwrap_or_else(random_secret);
    let request = AuthorizationRequest {
        client_id: client.id.clone(),
        redirect_uri: destination.uri.clone(),
        redirect_uri_was_sent: destination.was_sent,
        state: destination.state.clone(),
        code_challenge: asked.code_challenge,
        resource: asked.resource,
        scopes,
        dpop_jkt: asked.dpop_jkt,
    };
    let pending = PendingConsent {
        request: request.clone(),
        subject: user.as_ref().map(|user| user.subject.clone()),
        browser: SecretHash::of(&browser),
    };
    pending.keep(server, &handle).await.map_err(Failure::Store)?;
    server.sweep_now_and_then().await;
    let view = ConsentView::new(Asking {
        config: &server.config,
        user: user.as_ref().map(|user| user.display_name.as_str()),
        client: &client,
        target: &destination.target,
        resource_name: resource.as_ref().map(|resource| resource.name.as_str()),
        request: &request,
        action: format!("{}{}", issuer.path(), endpoints::CONSENT),
        handle,
        upstreams: server.sign_in.upstreams_by_name(),
    });
    let html = server.consent_page.render(&view);
    let mut response = page::consent(&html.title, &html.style, &html.body);
    let cookie = cookie::set(
        &cookie::name(CONSENT_COOKIE, issuer),
        &browser,
        CONSENT_COOKIE_SECS,
        issuer,
    );
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(response)
}

fn must_push(server: &AuthorizationServer, client: &Client) -> bool {
    server.config.require_pushed_authorization_requests
        || client.metadata.require_pushed_authorization_requests
}

/// The checks of a request that is pushed (RFC 9126 section 2.1), and what it is for.
pub(super) fn check_pushed(
    server: &AuthorizationServer,
    client: &Client,
    parameters: &Parameters,
) -> Result<ResourceUri, OAuthError> {
    Destination::find(client, parameters, &server.config.known_app_schemes)
        .map_err(|problem| OAuthError::new(ErrorCode::InvalidRequest, problem.to_string()))?;
    let asked = judge(parameters, server.config.default_resource.as_ref());
    let asked = asked.map_err(|(code, why)| OAuthError::new(code, why))?;
    Ok(asked.resource)
}

/// Where answers go: a redirect URI that the client registered and that is safe.
struct Destination {
    uri: String,
    was_sent: bool,
    target: Target,
    state: Option<String>,
}

impl Destination {
    fn find(client: &Client, parameters: &Parameters, schemes: &[String]) -> Result<Self, PageError> {
        let asked = parameters
            .get("redirect_uri")
            .map_err(|Duplicated| PageError::Duplicated)?;
        let uri = match (asked, client.redirect_uris.as_slice()) {
            (Some(asked), registered) if registered.iter().any(|uri| redirect::matches(uri, asked)) => asked,
            (Some(_), _) => return Err(PageError::RedirectNotRegistered),
            // OAuth 2.1 section 4.1.1: it may be left out where there is one only.
            (None, [only]) => only,
            (None, _) => return Err(PageError::NoRedirect),
        };
        let target = redirect::classify(uri, schemes).map_err(PageError::UnsafeRedirect)?;
        let state = parameters.get("state").ok().flatten().map(str::to_owned);
        Ok(Self {
            uri: uri.to_owned(),
            was_sent: asked.is_some(),
            target,
            state,
        })
    }

    fn error(&self, code: ErrorCode, description: &'static str) -> ErrorRedirect {
        ErrorRedirect {
            redirect_uri: self.uri.clone(),
            state: self.state.clone(),
            code,
            description,
        }
    }
}

/// What is asked for, apart from who asks.
#[derive(Debug)]
struct Asked {
    code_challenge: String,
    resource: ResourceUri,
    scopes: Scopes,
    dpop_jkt: Option<Thumbprint>,
}

/// The decision over the rest of the request. PKCE with S256 is not negotiable (OAuth 2.1 section 4.1.1), and a token is for exactly one resource (RFC 8707).
fn judge(parameters: &Parameters, default: Option<&ResourceUri>) -> Result<Asked, (ErrorCode, &'static str)> {
    use ErrorCode::{InvalidRequest, InvalidScope, InvalidTarget, UnsupportedResponseType};
    if parameters.duplicated().is_some() {
        return Err((InvalidRequest, "a parameter is repeated"));
    }
    let get = |name| {
        parameters
            .get(name)
            .map_err(|Duplicated| (InvalidRequest, "a parameter is repeated"))
    };
    match get("response_type")? {
        Some("code") => {}
        Some(_) => return Err((UnsupportedResponseType, "response_type must be code")),
        None => return Err((InvalidRequest, "response_type is missing; it must be code")),
    }
    if get("request")?.is_some() {
        return Err((
            ErrorCode::RequestNotSupported,
            "request objects are not supported",
        ));
    }
    if get("request_uri")?.is_some() {
        return Err((ErrorCode::RequestUriNotSupported, "request_uri is not supported"));
    }
    if get("response_mode")?.is_some_and(|mode| mode != "query") {
        return Err((InvalidRequest, "response_mode must be query"));
    }
    let challenge =
        get("code_challenge")?.ok_or((InvalidRequest, "code_challenge is missing; PKCE is required"))?;
    // Without a method RFC 7636 means `plain`.
    if get("code_challenge_method")? != Some("S256") {
        return Err((InvalidRequest, "code_challenge_method must be S256"));
    }
    let base64url = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if challenge.len() != 43 || !challenge.bytes().all(base64url) {
        return Err((
            InvalidRequest,
            "code_challenge is not the base64url of a SHA-256 hash",
        ));
    }
    let resource = match (parameters.resources().as_slice(), default) {
        ([one], _) => ResourceUri::insecure_http(one)
            .map_err(|_| (InvalidTarget, "resource is not an absolute https URI"))?,
        ([], Some(default)) => default.clone(),
        ([], None) => {
            return Err((
                InvalidTarget,
                "resource is missing; send the URL of the MCP server (RFC 8707)",
            ));
        }
        _ => return Err((InvalidTarget, "ask for one resource at a time")),
    };
    let scopes = get("scope")?
        .unwrap_or_default()
        .parse()
        .map_err(|_| (InvalidScope, "scope is malformed"))?;
    let dpop_jkt = get("dpop_jkt")?
        .map(|jkt| Thumbprint::parse(jkt).ok_or((InvalidRequest, "dpop_jkt is not a JWK thumbprint")))
        .transpose()?;
    Ok(Asked {
        code_challenge: challenge.to_owned(),
        resource,
        scopes,
        dpop_jkt,
    })
}

/// A redirect after which the browser uses GET (RFC 9700 section 4.12), and which tells the target nothing about us.
pub(super) fn see_other(location: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let Ok(location) = HeaderValue::from_str(location) else {
        return page::error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The server could not do this now.",
        );
    };
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(header::LOCATION, location);
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
        .headers_mut()
        .insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
