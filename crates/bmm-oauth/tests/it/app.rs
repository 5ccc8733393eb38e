//! An application for one test: authorization server and a guarded resource in one router, a clock that stands still, and users who sign in
//! by a cookie that says their name.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::{Extension, Router, routing};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bmm_oauth::*;
use http::request::Parts;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

pub(crate) const ORIGIN: &str = "https://auth.example";
pub(crate) const RESOURCE: &str = "https://auth.example/files/mcp";
pub(crate) const OTHER_RESOURCE: &str = "https://auth.example/mail/mcp";
pub(crate) const REDIRECT: &str = "https://client.example/cb";
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// Among the banned subjects: nobody can be looked up.
pub(crate) const RESOURCES_ARE_AWAY: &str = "(away)";

/// Among the banned subjects: no resource has the scopes any more that it had.
pub(crate) const SCOPES_ARE_OTHERS: &str = "(other scopes)";

pub(crate) struct App {
    pub(crate) router: Router,
    pub(crate) server: AuthorizationServer,
    pub(crate) clock: ManualClock,
    pub(crate) store: Arc<dyn Store>,
    /// The server's private key, for forgeries.
    pub(crate) pkcs8: Vec<u8>,
    /// What happened.
    pub(crate) events: Arc<Recorder>,
    /// Subjects that may no longer use any resource.
    pub(crate) banned: Arc<Mutex<HashSet<String>>>,
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

/// A client as the registration endpoint described it.
#[derive(Clone)]
pub(crate) struct Registered {
    pub(crate) id: String,
    pub(crate) secret: Option<String>,
}

/// A consent page in somebody's browser.
pub(crate) struct Page {
    pub(crate) reply: Reply,
    pub(crate) handle: String,
    pub(crate) cookie: String,
}

impl App {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut AsConfig)) -> Self {
        Self::on(Arc::new(MemoryStore::new()), change)
    }

    pub(crate) fn on(store: Arc<dyn Store>, change: impl FnOnce(&mut AsConfig)) -> Self {
        Self::extended(store, change, |server| server)
    }

    pub(crate) fn extended(
        store: Arc<dyn Store>,
        change: impl FnOnce(&mut AsConfig),
        extend: impl FnOnce(AuthorizationServer) -> AuthorizationServer,
    ) -> Self {
        let keys = SigningKeys::create(Algorithm::Es256).unwrap();
        Self::signing_with(keys, store, change, extend)
    }

    pub(crate) fn signing_with(
        keys: SigningKeys,
        store: Arc<dyn Store>,
        change: impl FnOnce(&mut AsConfig),
        extend: impl FnOnce(AuthorizationServer) -> AuthorizationServer,
    ) -> Self {
        let clock = ManualClock::new(Timestamp::from_secs(1_800_000_000));
        let issuer: Issuer = ORIGIN.parse().unwrap();
        let mut config = AsConfig::new(issuer.clone());
        change(&mut config);
        let file: Value = serde_json::from_slice(&keys.to_sealable_bytes()).unwrap();
        let pkcs8 = STANDARD
            .decode(file["keys"][0]["pkcs8"].as_str().unwrap())
            .unwrap();
        let banned = Arc::<Mutex<HashSet<String>>>::default();
        let events = Arc::<Recorder>::default();
        let server = AuthorizationServer::new(
            config,
            Arc::clone(&store),
            keys,
            SignIn::session(Arc::new(Cookies)),
            Arc::new(TwoResources(Arc::clone(&banned))),
        )
        .with_clock(Arc::new(clock.clone()))
        .with_events(Arc::<Recorder>::clone(&events));
        let server = extend(server);
        let resource: ResourceUri = RESOURCE.parse().unwrap();
        let guard = RequireAuthLayer::new(resource.clone(), issuer, server.verifier(resource))
            .with_scopes(["mcp:read"]);
        let whoami = |Extension(auth): Extension<AuthInfo>, headers: http::HeaderMap| async move {
            assert!(
                !headers.contains_key(header::AUTHORIZATION),
                "the token stays outside"
            );
            format!("{} {} {}", auth.subject(), auth.client_id(), auth.scopes())
        };
        let mcp = Router::new()
            .route("/mcp", routing::post(whoami))
            .layer(guard.clone());
        let router = Router::new()
            .nest("/files", mcp)
            .merge(guard.metadata_router())
            .merge(server.router());
        Self {
            router,
            server,
            clock,
            store,
            pkcs8,
            events,
            banned,
        }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        Reply::read(self.router.clone().oneshot(request).await.unwrap()).await
    }

    pub(crate) async fn get(&self, uri: &str) -> Reply {
        self.send(Request::get(uri).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn register(&self, metadata: Value) -> Reply {
        let request = Request::post("/oauth/register").header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(Body::from(metadata.to_string())).unwrap())
            .await
    }

    /// A public client with one redirect URI.
    pub(crate) async fn client(&self) -> Registered {
        self.client_with(json!({ "redirect_uris": [REDIRECT], "client_name": "Test client" }))
            .await
    }

    pub(crate) async fn client_with(&self, metadata: Value) -> Registered {
        let reply = self.register(metadata).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.body);
        let document = reply.json();
        Registered {
            id: document["client_id"].as_str().unwrap().to_owned(),
            secret: document["client_secret"].as_str().map(str::to_owned),
        }
    }

    /// A GET of the authorization endpoint as `alice`, with some of the usual parameters replaced (or dropped, if empty).
    pub(crate) async fn authorize(&self, client: &Registered, changes: &[(&str, &str)]) -> Reply {
        self.send(as_user("alice", authorize_request(client, changes)))
            .await
    }

    pub(crate) async fn consent_page(&self, client: &Registered) -> Page {
        self.consent_page_for("alice", client, &[]).await
    }

    pub(crate) async fn consent_page_for(
        &self,
        user: &str,
        client: &Registered,
        changes: &[(&str, &str)],
    ) -> Page {
        self.page_of(as_user(user, authorize_request(client, changes)))
            .await
    }

    /// The consent page that this request leads to.
    pub(crate) async fn page_of(&self, request: Request<Body>) -> Page {
        let reply = self.send(request).await;
        assert_eq!(reply.status, StatusCode::OK, "{:?} {}", reply.headers, reply.body);
        let handle = reply
            .body
            .split("name=\"handle\" value=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .to_owned();
        let cookie = reply.header("set-cookie").split(';').next().unwrap().to_owned();
        Page {
            reply,
            handle,
            cookie,
        }
    }

    pub(crate) async fn decide(&self, page: &Page, decision: &str) -> Reply {
        self.send(
            decision_request(page, "alice", decision)
                .body(decision_body(page, decision))
                .unwrap(),
        )
        .await
    }

    pub(crate) async fn code(&self, client: &Registered) -> String {
        let page = self.consent_page(client).await;
        let reply = self.decide(&page, "allow").await;
        assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.body);
        reply.location_parameter("code").unwrap()
    }

    pub(crate) async fn token(&self, form: &[(&str, &str)]) -> Reply {
        self.send(token_request(form)).await
    }

    pub(crate) async fn exchange(&self, client: &Registered, code: &str) -> Reply {
        self.token(&code_form(client, code)).await
    }

    pub(crate) async fn refresh(&self, client: &Registered, token: &str) -> Reply {
        self.token(&[
            ("grant_type", "refresh_token"),
            ("client_id", &client.id),
            ("refresh_token", token),
        ])
        .await
    }

    /// Access and refresh token of a whole walk.
    pub(crate) async fn tokens(&self, client: &Registered) -> (String, String) {
        let code = self.code(client).await;
        let reply = self.exchange(client, &code).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        reply.tokens()
    }

    pub(crate) async fn call(&self, token: &str) -> Reply {
        let request = Request::post("/files/mcp").header(header::AUTHORIZATION, format!("Bearer {token}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

impl Reply {
    pub(crate) async fn read(response: http::Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name} in {:?}", self.headers))
            .to_str()
            .unwrap()
    }

    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn tokens(&self) -> (String, String) {
        let document = self.json();
        (
            document["access_token"].as_str().unwrap().to_owned(),
            document["refresh_token"].as_str().unwrap().to_owned(),
        )
    }

    pub(crate) fn location_parameter(&self, name: &str) -> Option<String> {
        let location = self.header("location");
        let (_, query) = location.split_once('?')?;
        form_urlencoded::parse(query.as_bytes())
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.into_owned())
    }

    /// Asserts an error of the token endpoint.
    pub(crate) fn refused(&self, status: u16, error: &str) {
        assert_eq!(
            (self.status.as_u16(), self.error().as_str()),
            (status, error),
            "{}",
            self.body
        );
        assert_eq!(self.header("cache-control"), "no-store");
    }

    /// Asserts that the authorization endpoint kept the browser here.
    pub(crate) fn is_local_page(&self) {
        assert_eq!(self.status, StatusCode::BAD_REQUEST, "{:?}", self.headers);
        assert!(!self.headers.contains_key("location"), "{:?}", self.headers);
        assert!(self.header("content-type").starts_with("text/html"));
    }

    /// Asserts that the authorization endpoint sent an error to the client.
    pub(crate) fn redirects_error(&self, error: &str) {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{}", self.body);
        assert!(self.header("location").starts_with(&format!("{REDIRECT}?")));
        assert_eq!(self.location_parameter("error").as_deref(), Some(error));
        assert_eq!(self.location_parameter("iss").as_deref(), Some(ORIGIN));
        assert_eq!(self.location_parameter("code"), None);
    }
}

pub(crate) fn authorize_request(client: &Registered, changes: &[(&str, &str)]) -> Request<Body> {
    let usual = [
        ("response_type", "code"),
        ("client_id", &client.id),
        ("redirect_uri", REDIRECT),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("resource", RESOURCE),
        ("state", "xyz"),
    ];
    let kept = usual
        .into_iter()
        .filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    let changed = changes.iter().copied().filter(|(_, value)| !value.is_empty());
    let query = encode(&kept.chain(changed).collect::<Vec<_>>());
    Request::get(format!("/oauth/authorize?{query}"))
        .body(Body::empty())
        .unwrap()
}

pub(crate) fn as_user(user: &str, mut request: Request<Body>) -> Request<Body> {
    request
        .headers_mut()
        .append(header::COOKIE, format!("user={user}").parse().unwrap());
    request
}

pub(crate) fn decision_request(page: &Page, user: &str, _decision: &str) -> http::request::Builder {
    Request::post("/oauth/consent")
        .header(header::ORIGIN, ORIGIN)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::COOKIE, format!("user={user}; {}", page.cookie))
}

pub(crate) fn decision_body(page: &Page, decision: &str) -> Body {
    Body::from(encode(&[("handle", &page.handle), ("decision", decision)]))
}

pub(crate) fn code_form<'a>(client: &'a Registered, code: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("client_id", &client.id),
        ("code", code),
        ("code_verifier", VERIFIER),
        ("redirect_uri", REDIRECT),
        ("resource", RESOURCE),
    ];
    form.extend(client.secret.as_deref().map(|secret| ("client_secret", secret)));
    form
}

pub(crate) fn token_request(form: &[(&str, &str)]) -> Request<Body> {
    let request =
        Request::post("/oauth/token").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    request.body(Body::from(encode(form))).unwrap()
}

pub(crate) fn encode(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

/// What an access token says in `grant_id`.
pub(crate) fn grant_of(access_token: &str) -> String {
    let payload = access_token.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    claims["grant_id"].as_str().unwrap().to_owned()
}

pub(crate) fn request(method: Method, uri: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(uri)
        .body(Body::empty())
        .unwrap()
}

/// Keeps all events.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Vec<Event>>);

impl Recorder {
    /// The events so far, and forgets them.
    pub(crate) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl EventSink for Recorder {
    fn record(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// `user=<name>` in a cookie is a session.
struct Cookies;

impl Session for Cookies {
    fn current<'a>(&'a self, request: &'a Parts) -> BoxFuture<'a, Option<User>> {
        let cookies = request
            .headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|cookies| cookies.split("; "));
        let user = pairs
            .find_map(|pair| pair.strip_prefix("user="))
            .map(str::to_owned);
        Box::pin(async move {
            user.map(|name| User {
                subject: Subject::new(&*name),
                display_name: name,
            })
        })
    }

    fn sign_in_url(&self, return_to: &str) -> String {
        format!("/login?{}", encode(&[("next", return_to)]))
    }
}

pub(crate) struct TwoResources(pub(crate) Arc<Mutex<HashSet<String>>>);

impl Resources for TwoResources {
    fn lookup<'a>(
        &'a self,
        resource: &'a ResourceUri,
        subject: &'a Subject,
    ) -> BoxFuture<'a, Result<Option<ResourceInfo>, BoxError>> {
        let banned = self.0.lock().unwrap().contains(subject.as_str());
        let away = self.0.lock().unwrap().contains(RESOURCES_ARE_AWAY);
        let supported = match self.0.lock().unwrap().contains(SCOPES_ARE_OTHERS) {
            true => ["mcp:list", "mcp:call"],
            false => ["mcp:read", "mcp:write"],
        };
        let known = [RESOURCE, OTHER_RESOURCE].contains(&resource.as_str());
        let info = ResourceInfo {
            name: "Files".to_owned(),
            scopes_supported: Scopes::new(supported).unwrap(),
            default_scopes: Scopes::new(["mcp:read"]).unwrap(),
        };
        Box::pin(async move {
            match away {
                true => Err("the database is away".into()),
                false => Ok((known && !banned).then_some(info)),
            }
        })
    }
}
