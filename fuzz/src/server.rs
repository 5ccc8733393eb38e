//! An authorization server in memory, whose only user is signed in on every request.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bmm_oauth::*;
use http::request::Parts;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use tokio::runtime::Runtime;
use tower::ServiceExt;
use url::Url;

pub const ORIGIN: &str = "https://auth.example";
pub const RESOURCE: &str = "https://auth.example/files/mcp";
/// RFC 7636, appendix B.
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

pub struct Server {
    pub server: AuthorizationServer,
    pub store: Arc<dyn Store>,
    pub clock: ManualClock,
    pub runtime: Runtime,
    router: Router,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: http::HeaderMap,
    pub body: Vec<u8>,
}

impl Server {
    pub fn new(extend: impl FnOnce(AuthorizationServer) -> AuthorizationServer) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let clock = ManualClock::new(Timestamp::from_secs(1_800_000_000));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let server = AuthorizationServer::new(
            AsConfig::new(ORIGIN.parse().unwrap()),
            Arc::clone(&store),
            SigningKeys::create(Algorithm::EdDsa).unwrap(),
            SignIn::session(Arc::new(AlwaysAlice)),
            Arc::new(OneResource),
        );
        let server = extend(
            server
                .with_clock(Arc::new(clock.clone()))
                .with_events(Arc::new(Nowhere)),
        );
        let router = server.router();
        Self {
            server,
            store,
            clock,
            runtime,
            router,
        }
    }

    /// Puts a client into the store, whatever registration would say to it.
    pub fn enrol(
        &self,
        id: &str,
        auth_method: ClientAuthMethod,
        secret: Option<&str>,
        redirect_uris: &[&str],
    ) {
        let now = self.clock.now();
        let client = Client {
            id: id.to_owned(),
            secret_hash: secret.map(SecretHash::of),
            auth_method,
            name: "A client".to_owned(),
            redirect_uris: redirect_uris.iter().map(|uri| (*uri).to_owned()).collect(),
            created_at: now,
            used_at: Some(now),
            metadata: ClientMetadata::default(),
        };
        self.runtime
            .block_on(self.store.put_client(client, 1000))
            .unwrap();
    }

    /// Moves the clock, so that no limit per minute ends the exploration.
    pub fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// The answer, which is never a fault of the server.
    pub fn send(&self, request: Request<Body>) -> Answer {
        let answer = self.runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.unwrap();
            let (parts, body) = response.into_parts();
            Answer {
                status: parts.status,
                headers: parts.headers,
                body: body.collect().await.unwrap().to_bytes().to_vec(),
            }
        });
        assert!(!answer.status.is_server_error(), "{}", answer.status);
        answer
    }

    /// Follows an authorization request to its redirect, if it has one: by consenting, where it is asked for.
    pub fn authorize(&self, query: &str) -> Option<String> {
        let request = Request::get(format!("/oauth/authorize?{query}")).body(Body::empty());
        let answer = self.send(request.ok()?);
        if answer.status != StatusCode::OK {
            return answer.location();
        }
        let page = String::from_utf8(answer.body).unwrap();
        let handle = page.split("name=\"handle\" value=\"").nth(1).unwrap();
        let handle = handle.split('"').next().unwrap();
        let cookie = answer.headers[header::SET_COOKIE].to_str().unwrap();
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("handle", handle)
            .append_pair("decision", "allow")
            .finish();
        let consent = Request::post("/oauth/consent")
            .header(header::ORIGIN, ORIGIN)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::COOKIE, cookie.split(';').next().unwrap());
        let answer = self.send(consent.body(Body::from(form)).unwrap());
        assert_eq!(
            answer.status,
            StatusCode::SEE_OTHER,
            "a page that was shown can be answered"
        );
        answer.location()
    }
}

impl Answer {
    pub fn location(&self) -> Option<String> {
        let location = self.headers.get(header::LOCATION)?;
        Some(location.to_str().expect("a location is text").to_owned())
    }
}

/// Whether a redirect goes where one of `registered` says, by a reading of URIs other than the server's: scheme, user, host, port (but
/// for loopback) and path are the same, and it is a place that code does not run at.
pub fn leads_to_one_of(location: &str, registered: &[&str]) -> bool {
    let Ok(location) = Url::parse(location) else {
        return false;
    };
    let scheme = location.scheme();
    let safe = match scheme {
        "https" => true,
        "http" => {
            matches!(location.host_str(), Some("localhost" | "[::1]"))
                || location.host_str().is_some_and(|host| host.starts_with("127."))
        }
        "claude" | "cursor" | "vscode" | "vscode-insiders" | "vscodium" | "windsurf" | "zed" | "goose"
        | "raycast" => true,
        other => other.contains('.'),
    };
    let place = |url: &Url| {
        let port = if url.scheme() == "http" { None } else { url.port() };
        let user = (url.username().to_owned(), url.password().map(str::to_owned));
        (
            url.scheme().to_owned(),
            user,
            url.host_str().map(str::to_owned),
            port,
            url.path().to_owned(),
        )
    };
    let mut registered = registered.iter().filter_map(|uri| Url::parse(uri).ok());
    safe && registered.any(|uri| place(&uri) == place(&location))
}

struct AlwaysAlice;

impl Session for AlwaysAlice {
    fn current<'a>(&'a self, _: &'a Parts) -> BoxFuture<'a, Option<User>> {
        let user = User {
            subject: Subject::new("alice"),
            display_name: "Alice".to_owned(),
        };
        Box::pin(async move { Some(user) })
    }

    fn sign_in_url(&self, _: &str) -> String {
        "/login".to_owned()
    }
}

struct OneResource;

impl Resources for OneResource {
    fn lookup<'a>(
        &'a self,
        resource: &'a ResourceUri,
        _: &'a Subject,
    ) -> BoxFuture<'a, Result<Option<ResourceInfo>, BoxError>> {
        let info = ResourceInfo {
            name: "Files".to_owned(),
            scopes_supported: Scopes::new(["mcp:read", "mcp:write"]).unwrap(),
            default_scopes: Scopes::new(["mcp:read"]).unwrap(),
        };
        let known = resource.as_str() == RESOURCE;
        Box::pin(async move { Ok(known.then_some(info)) })
    }
}

struct Nowhere;

impl EventSink for Nowhere {
    fn record(&self, _: Event) {}
}
