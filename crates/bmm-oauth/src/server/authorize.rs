//! The authorization endpoint (RFC 6749 section 4.1.1, OAuth 2.1). Everything is checked before anything is shown or sent; nothing is sent to a redirect
//! URI before client and redirect URI are known to belong together.

use axum::body::Body;
use axum::extract::{Request, State};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::authorization_server::AuthorizationServer;
use super::form::{Duplicated, FormError, Parameters};
use super::metadata;
use super::page;
use super::redirect::{self, RedirectError, Target};
use super::secret::{SecretHash, random_secret};
use super::store::{AuthorizationRequest, Client, PendingConsent, StoreError};
use super::wire::ErrorCode;
use crate::issuer::Issuer;
use crate::resource_uri::ResourceUri;
use crate::scope::Scopes;

pub(super) async fn handle(State(server): State<AuthorizationServer>, request: Request) -> Response<Body> {
    match authorize(&server, request).await {
        Ok(response) => response,
        Err(Failure::Page(problem)) => page::error(StatusCode::BAD_REQUEST, &problem.to_string()),
        Err(Failure::Redirect(error)) => error.response(&server.config.issuer),
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
    Store(StoreError),
}

/// What is said to the user, who can do no more than tell the application's author.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum PageError {
    #[error("The application's request cannot be read: {0}.")]
    Form(FormError),
    #[error("The application's request does not say who it is (client_id).")]
    NoClient,
    #[error("The application is not known here. It may have to register again.")]
    UnknownClient,
    #[error("The application's request names its client_id or redirect_uri twice.")]
    Duplicated,
    #[error("The application's request does not say where to send the answer (redirect_uri).")]
    NoRedirect,
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
        let mut parameters = vec![
            ("error", self.code.name()),
            ("error_description", self.description),
        ];
        parameters.extend(self.state.as_deref().map(|state| ("state", state)));
        parameters.push(("iss", issuer.as_str()));
        see_other(&redirect::with_parameters(&self.redirect_uri, &parameters))
    }
}

async fn authorize(server: &AuthorizationServer, request: Request) -> Result<Response<Body>, Failure> {
    let (parts, _) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let parameters =
        Parameters::parse(query.as_bytes()).map_err(|error| Failure::Page(PageError::Form(error)))?;
    let client_id = match parameters.get("client_id") {
        Ok(Some(client_id)) => client_id,
        Ok(None) => return Err(Failure::Page(PageError::NoClient)),
        Err(Duplicated) => return Err(Failure::Page(PageError::Duplicated)),
    };
    let client = server.store.client(client_id).await.map_err(Failure::Store)?;
    let client = client.ok_or(Failure::Page(PageError::UnknownClient))?;
    let schemes = &server.config.known_app_schemes;
    let destination = Destination::find(&client, &parameters, schemes).map_err(Failure::Page)?;

    // Before anything is sent to the client, an error as well: anybody may register, and a link to us must not lead on to an address of
    // theirs (RFC 9700 section 4.11.2).
    let Some(user) = server.sign_in.session.current(&parts).await else {
        // A path of ours with the query as it came: nothing of the Host header can get into it.
        let return_to = format!("{}{}?{query}", server.config.issuer.path(), metadata::AUTHORIZE);
        return Ok(see_other(&server.sign_in.session.sign_in_url(&return_to)));
    };
    let asked = judge(&parameters, server.config.default_resource.as_ref())
        .map_err(|(code, description)| Failure::Redirect(destination.error(code, description)))?;
    let Some(resource) = server.resources.lookup(&asked.resource, &user.subject).await else {
        let why = "this resource does not exist, or you may not use it";
        return Err(Failure::Redirect(
            destination.error(ErrorCode::InvalidTarget, why),
        ));
    };
    let scopes = match asked.scopes {
        scopes if scopes.is_empty() => resource.default_scopes.clone(),
        scopes => {
            let granted = scopes.intersection(&resource.scopes_supported);
            if granted.is_empty() {
                let why = "none of the scopes exists at this resource";
                return Err(Failure::Redirect(destination.error(ErrorCode::InvalidScope, why)));
            }
            granted
        }
    };

    let handle = random_secret();
    let browser = browser_secret(&parts.headers, &server.config.issuer).unwrap_or_else(random_secret);
    let request = AuthorizationRequest {
        client_id: client.id,
        redirect_uri: destination.uri,
        redirect_uri_was_sent: destination.was_sent,
        state: destination.state,
        code_challenge: asked.code_challenge,
        resource: asked.resource,
        scopes,
    };
    let pending = PendingConsent {
        request: request.clone(),
        subject: user.subject,
        browser: SecretHash::of(&browser),
        expires_at: server.clock.now().plus(server.config.consent_ttl),
    };
    server
        .store
        .put_consent(SecretHash::of(&handle), pending)
        .await
        .map_err(Failure::Store)?;
    server.sweep_now_and_then().await;
    let mut response = page::consent(&page::Consent {
        service: &server.config.service_name,
        user: &user.display_name,
        client: &client.name,
        target: &destination.target,
        resource_name: &resource.name,
        request: &request,
        action: &format!("{}{}", server.config.issuer.path(), metadata::CONSENT),
        handle: &handle,
    });
    response.headers_mut().append(
        header::SET_COOKIE,
        browser_cookie(&browser, &server.config.issuer),
    );
    Ok(response)
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
    Ok(Asked {
        code_challenge: challenge.to_owned(),
        resource,
        scopes,
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

/// The secret in the cookie that ties a consent page to its browser, if it has one. Several pages may be open at once.
pub(super) fn browser_secret(headers: &HeaderMap, issuer: &Issuer) -> Option<String> {
    let cookies = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let pairs = cookies
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs
        .filter(|(name, _)| *name == cookie_name(issuer))
        .map(|(_, value)| value);
    // Two of one name: somebody planted one.
    let value = values.next().filter(|_| values.next().is_none())?;
    (value.len() == 43
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'))
    .then(|| value.to_owned())
}

fn browser_cookie(secret: &str, issuer: &Issuer) -> HeaderValue {
    let secure = if issuer.is_https() { "; Secure" } else { "" };
    let cookie = format!(
        "{}={secret}; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax{secure}",
        cookie_name(issuer)
    );
    HeaderValue::from_str(&cookie).expect("the secret is base64url")
}

/// `__Host-` keeps other hosts of the domain from planting it (RFC 6265bis section 4.1.3.2); browsers want https for it.
fn cookie_name(issuer: &Issuer) -> &'static str {
    if issuer.is_https() {
        "__Host-bmm_consent"
    } else {
        "bmm_consent"
    }
}
