//! An application whose users sign in at upstreams, those upstreams, and browsers with cookie jars. No socket is opened: requests to the
//! upstreams end in a function.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bmm_oauth::*;
use bmm_vault::{LocalKek, Vault};
use bytes::Bytes;
use http::{Request, Response, header};
use serde_json::{Value, json};

use crate::app::*;
use crate::key_pairs::Signer;

pub(crate) const CORP: &str = "https://id.example";
pub(crate) const START: u64 = 1_800_000_000;
const CLIENT_ID: &str = "our-client-id";
pub(crate) const CLIENT_SECRET: &str = "our-client-secret";

/// All upstreams at once, told apart by host: `id.example` and `other.example` speak OpenID Connect, `github.com` and `forge.example`
/// do as GitHub and Forgejo.
pub(crate) struct World {
    key: Signer,
    pub(crate) state: Mutex<State>,
    /// Taken by each refresh while it is at the upstream.
    pub(crate) gate: tokio::sync::Semaphore,
}

type Twist = Box<dyn Fn(&mut Value, &mut Value) + Send>;

#[derive(Default)]
pub(crate) struct State {
    /// Who sits at the upstreams' own pages.
    pub(crate) user: u64,
    codes: HashMap<String, Code>,
    /// Refresh tokens rotate: one is good.
    pub(crate) refresh_token: Option<String>,
    issued: u32,
    pub(crate) refreshes: u32,
    /// What a refresh is refused with.
    pub(crate) refresh_error: Option<&'static str>,
    pub(crate) no_refresh_token: bool,
    /// Changes header and claims of ID tokens before they are signed.
    pub(crate) twist: Option<Twist>,
    pub(crate) stranger_signs: bool,
    /// Status that every request is answered with.
    pub(crate) broken: Option<u16>,
    /// So many questions who the user is are answered with 503.
    pub(crate) stumbles: u32,
    /// Left out of the answer to a refresh.
    pub(crate) refreshed_without: Option<&'static str>,
    pub(crate) discovered_issuer: Option<&'static str>,
    pub(crate) sends_iss: bool,
    pub(crate) fetches: Vec<String>,
    pub(crate) authorizations: Vec<String>,
}

struct Code {
    nonce: Option<String>,
    challenge: String,
    redirect_uri: String,
    user: u64,
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        let state = State {
            user: 7,
            ..State::default()
        };
        Arc::new(Self {
            key: Signer::es256(),
            state: Mutex::new(state),
            gate: tokio::sync::Semaphore::new(100),
        })
    }

    pub(crate) fn http(self: &Arc<Self>) -> SendUpstream {
        let world = Arc::clone(self);
        Arc::new(move |request| {
            let world = Arc::clone(&world);
            Box::pin(async move { Ok(world.answer(request).await) })
        })
    }

    /// What a browser does that is sent to an upstream, whose user says yes: the address it is sent back to.
    pub(crate) fn visit(&self, location: &str) -> String {
        let url = url::Url::parse(location).unwrap();
        let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!(query["response_type"], "code");
        assert_eq!(query["client_id"], CLIENT_ID);
        assert_eq!(query["code_challenge_method"], "S256");
        let mut state = self.state.lock().unwrap();
        state.issued += 1;
        let code = format!("code-{}", state.issued);
        let granted = Code {
            nonce: query.get("nonce").cloned(),
            challenge: query["code_challenge"].clone(),
            redirect_uri: query["redirect_uri"].clone(),
            user: state.user,
        };
        state.codes.insert(code.clone(), granted);
        let mut answer = vec![("code", code.as_str()), ("state", &query["state"])];
        let issuer = url.origin().ascii_serialization();
        if state.sends_iss {
            answer.push(("iss", &issuer));
        }
        let back = format!("{}?{}", query["redirect_uri"], encode(&answer));
        back.strip_prefix(ORIGIN).unwrap().to_owned()
    }

    async fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        let uri = request.uri().to_string();
        let authorization = request
            .headers()
            .get("authorization")
            .map(|v| v.to_str().unwrap().to_owned());
        {
            let mut state = self.state.lock().unwrap();
            state.fetches.push(uri.clone());
            state.authorizations.extend(authorization.clone());
            if state.stumbles > 0 && uri.ends_with("/user") {
                state.stumbles -= 1;
                return json_answer(503, &json!({}));
            }
            if let Some(status) = state.broken {
                return json_answer(status, &json!({"error": "server_error"}));
            }
        }
        assert!(request.headers().contains_key("user-agent"));
        let issuer = format!("https://{}", request.uri().host().unwrap());
        match request.uri().path() {
            "/.well-known/openid-configuration" => {
                let state = self.state.lock().unwrap();
                json_answer(
                    200,
                    &json!({
                        "issuer": state.discovered_issuer.unwrap_or(&issuer),
                        "authorization_endpoint": format!("{issuer}/authorize?tenant=a"),
                        "token_endpoint": format!("{issuer}/token"),
                        "jwks_uri": format!("{issuer}/keys"),
                        "authorization_response_iss_parameter_supported": state.sends_iss,
                    }),
                )
            }
            "/keys" => json_answer(200, &json!({ "keys": [self.key.jwk("k1")] })),
            "/user" => json_answer(200, &json!({"id": self.user_of(authorization), "login": "octo"})),
            "/login/oauth/userinfo" => {
                let sub = self.user_of(authorization).to_string();
                json_answer(200, &json!({"sub": sub, "preferred_username": "forger"}))
            }
            "/token" | "/login/oauth/access_token" => self.token(&issuer, &request).await,
            path => panic!("nothing at {path}"),
        }
    }

    fn user_of(&self, authorization: Option<String>) -> u64 {
        let token = authorization.unwrap();
        let user = token.strip_prefix("Bearer access-").unwrap();
        user.split('-').next().unwrap().parse().unwrap()
    }

    async fn token(&self, issuer: &str, request: &Request<Bytes>) -> Response<Bytes> {
        let form: HashMap<String, String> = form_urlencoded::parse(request.body()).into_owned().collect();
        let basic = format!(
            "Basic {}",
            STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}"))
        );
        let authenticated = match request.headers().get("authorization") {
            Some(header) => header.to_str().unwrap() == basic,
            None => form["client_id"] == CLIENT_ID && form["client_secret"] == CLIENT_SECRET,
        };
        assert!(authenticated, "we show who we are");
        if form["grant_type"] == "refresh_token" {
            let _at_the_upstream = self.gate.acquire().await.unwrap();
            let mut state = self.state.lock().unwrap();
            state.refreshes += 1;
            if let Some(error) = state.refresh_error {
                return json_answer(400, &json!({ "error": error }));
            }
            if state.refresh_token.as_ref() != Some(&form["refresh_token"]) {
                return json_answer(400, &json!({"error": "invalid_grant"}));
            }
            let mut answer = tokens(&mut state, 7);
            if let Some(member) = state.refreshed_without {
                answer.as_object_mut().unwrap().remove(member);
            }
            return json_answer(200, &answer);
        }
        let code = self.state.lock().unwrap().codes.remove(&form["code"]);
        let Some(code) = code else {
            return json_answer(400, &json!({"error": "invalid_grant"}));
        };
        let challenge = URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(
            &aws_lc_rs::digest::SHA256,
            form["code_verifier"].as_bytes(),
        ));
        if challenge != code.challenge || form["redirect_uri"] != code.redirect_uri {
            return json_answer(400, &json!({"error": "invalid_grant"}));
        }
        let mut answer = {
            let mut state = self.state.lock().unwrap();
            match state.no_refresh_token {
                true => json!({
                    "access_token": format!("access-{}-again", code.user), "token_type": "Bearer", "expires_in": 600,
                }),
                false => tokens(&mut state, code.user),
            }
        };
        if let Some(nonce) = &code.nonce {
            answer["id_token"] = self.id_token(issuer, code.user, nonce).into();
        }
        json_answer(200, &answer)
    }

    fn id_token(&self, issuer: &str, user: u64, nonce: &str) -> String {
        let mut head = json!({"alg": "ES256", "typ": "JWT", "kid": "k1"});
        let mut claims = json!({
            "iss": issuer, "aud": CLIENT_ID, "sub": user.to_string(), "exp": START + 300, "iat": START, "nonce": nonce,
            "name": "Ada",
        });
        let state = self.state.lock().unwrap();
        if let Some(twist) = &state.twist {
            twist(&mut head, &mut claims);
        }
        let stranger = state.stranger_signs.then(Signer::es256);
        let signer = stranger.as_ref().unwrap_or(&self.key);
        signer.sign(&head.to_string(), &claims.to_string())
    }
}

fn tokens(state: &mut State, user: u64) -> Value {
    state.issued += 1;
    let refresh_token = format!("refresh-{user}-{}", state.issued);
    state.refresh_token = Some(refresh_token.clone());
    json!({
        "access_token": format!("access-{user}-{}", state.issued), "token_type": "Bearer", "expires_in": 600,
        "refresh_token": refresh_token,
    })
}

fn json_answer(status: u16, body: &Value) -> Response<Bytes> {
    Response::builder()
        .status(status)
        .body(Bytes::from(body.to_string()))
        .unwrap()
}

/// OpenID Connect at `id.example`, named `corp`.
pub(crate) fn corp(world: &Arc<World>) -> Arc<dyn Upstream> {
    oidc(world, "corp", CORP)
}

pub(crate) fn oidc(world: &Arc<World>, name: &str, issuer: &str) -> Arc<dyn Upstream> {
    Arc::new(
        Oidc::new(name, issuer.parse().unwrap(), CLIENT_ID, CLIENT_SECRET).insecure_with_http(world.http()),
    )
}

pub(crate) fn github(world: &Arc<World>) -> Arc<dyn Upstream> {
    Arc::new(GitHub::new(CLIENT_ID, CLIENT_SECRET).insecure_with_http(world.http()))
}

pub(crate) fn forgejo(world: &Arc<World>) -> Arc<dyn Upstream> {
    let base = "https://forge.example".parse().unwrap();
    Arc::new(Forgejo::new(base, CLIENT_ID, CLIENT_SECRET).insecure_with_http(world.http()))
}

pub(crate) fn vault() -> Arc<Vault> {
    let kek = LocalKek::from_bytes(zeroize::Zeroizing::new([7; 32]));
    Arc::new(Vault::create(&kek).unwrap())
}

/// An application with these upstreams; `change` sees its server before it is mounted.
pub(crate) fn app_with(
    store: Arc<dyn Store>,
    upstreams: Vec<Arc<dyn Upstream>>,
    change: impl FnOnce(AuthorizationServer) -> AuthorizationServer,
) -> App {
    app_signing_in(store, SignIn::upstreams(upstreams).unwrap(), change)
}

pub(crate) fn app_signing_in(
    store: Arc<dyn Store>,
    sign_in: SignIn,
    change: impl FnOnce(AuthorizationServer) -> AuthorizationServer,
) -> App {
    let clock = ManualClock::new(Timestamp::from_secs(START));
    let banned = Arc::<Mutex<HashSet<String>>>::default();
    let events = Arc::<Recorder>::default();
    let server = AuthorizationServer::new(
        AsConfig::new(ORIGIN.parse().unwrap()),
        Arc::clone(&store),
        SigningKeys::create(Algorithm::Es256).unwrap(),
        sign_in,
        Arc::new(TwoResources(Arc::clone(&banned))),
    )
    .with_clock(Arc::new(clock.clone()))
    .with_events(Arc::<Recorder>::clone(&events));
    let server = change(server);
    App {
        router: server.router(),
        server,
        clock,
        store,
        pkcs8: Vec::new(),
        events,
        banned,
    }
}

/// An application with one upstream, `corp`.
pub(crate) fn app(world: &Arc<World>) -> App {
    app_with(Arc::new(MemoryStore::new()), vec![corp(world)], |server| server)
}

/// A browser: it keeps cookies and sends what a browser sends.
#[derive(Clone, Default)]
pub(crate) struct Browser {
    pub(crate) cookies: BTreeMap<String, String>,
}

impl Browser {
    pub(crate) async fn send(&mut self, app: &App, mut request: Request<Body>) -> Reply {
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if !cookies.is_empty() {
            request
                .headers_mut()
                .insert(header::COOKIE, cookies.join("; ").parse().unwrap());
        }
        let reply = app.send(request).await;
        for cookie in reply.headers.get_all(header::SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            for attribute in ["HttpOnly", "Secure", "SameSite=Lax", "Path=/"] {
                assert!(cookie.contains(attribute), "{cookie}");
            }
            let (pair, attributes) = cookie.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            assert!(name.starts_with("__Host-"), "{cookie}");
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        reply
    }

    pub(crate) async fn get(&mut self, app: &App, uri: &str) -> Reply {
        self.send(app, Request::get(uri).body(Body::empty()).unwrap())
            .await
    }

    /// The consent page for a client's request; its handle.
    pub(crate) async fn ask(&mut self, app: &App, client: &Registered, changes: &[(&str, &str)]) -> Reply {
        self.send(app, authorize_request(client, changes)).await
    }

    pub(crate) async fn decide(&mut self, app: &App, page: &Reply, decision: &str) -> Reply {
        let form = encode(&[("handle", &handle(page)), ("decision", decision)]);
        let request = Request::post("/oauth/consent")
            .header(header::ORIGIN, ORIGIN)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(app, request.body(Body::from(form)).unwrap()).await
    }

    /// Allows a client and is sent to the upstream of this name: the address there.
    pub(crate) async fn allow(&mut self, app: &App, client: &Registered, upstream: &str) -> String {
        let page = self.ask(app, client, &[]).await;
        assert_eq!(page.status, 200, "{}", page.body);
        let reply = self.decide(app, &page, &format!("allow:{upstream}")).await;
        assert_eq!(reply.status, 303, "{}", reply.body);
        reply.header("location").to_owned()
    }

    /// The whole way to the client's code.
    pub(crate) async fn sign_in(
        &mut self,
        app: &App,
        world: &World,
        client: &Registered,
        upstream: &str,
    ) -> Reply {
        let location = self.allow(app, client, upstream).await;
        self.get(app, &world.visit(&location)).await
    }
}

pub(crate) fn handle(page: &Reply) -> String {
    let (_, rest) = page.body.split_once("name=\"handle\" value=\"").expect("a form");
    rest.split('"').next().unwrap().to_owned()
}

/// The subject of an access token.
pub(crate) fn subject_of(access_token: &str) -> String {
    let payload = URL_SAFE_NO_PAD
        .decode(access_token.split('.').nth(1).unwrap())
        .unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    claims["sub"].as_str().unwrap().to_owned()
}

/// Lets other tasks go on until `done`, for a bounded number of turns.
pub(crate) async fn until(done: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it did not happen");
}
