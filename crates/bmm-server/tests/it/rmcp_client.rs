//! rmcp's own client goes from a bare MCP URL to a call after a refresh.

use std::sync::{Arc, Mutex};

use rmcp::model::{CallToolRequestParams, ProtocolVersion};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::auth::{
    AuthClient, AuthError, AuthorizationRequest, CredentialStore, InMemoryCredentialStore, OAuthHttpClient,
    OAuthHttpClientFuture, OAuthHttpRequest, OAuthState, StoredCredentials, default_oauth_http_client,
};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;

use crate::bmm::Place;
use crate::node::{Drivers, run};

const REDIRECT_URI: &str = "http://127.0.0.1:33333/callback";

#[tokio::test]
#[ignore = "needs Node 22: cargo xtask test"]
async fn the_rmcp_client_walks_to_a_refresh_in_the_stateless_era() {
    let (place, drivers) = (Place::new(), Drivers::new());
    let server = place.up(&[]);
    let mcp_url = server.mcp_url("demo");
    let wire = Arc::new(Traced::new());
    let credentials = InMemoryCredentialStore::new();

    let mut state = OAuthState::new_with_oauth_http_client(mcp_url.as_str(), wire.clone())
        .await
        .expect("a URL");
    let OAuthState::Unauthorized(manager) = &mut state else {
        panic!("a new state is not authorized")
    };
    manager.set_credential_store(credentials.clone());
    let request = AuthorizationRequest::new(REDIRECT_URI).with_client_name("bmm test client");
    state
        .start_authorization(request)
        .await
        .expect("discovery and registration");
    let link = state.get_authorization_url().await.expect("a link to open");
    let mut browser = drivers.node("browser.js");
    let opened = run(browser.args([server.sign_in_url(), &link]));
    let callback = String::from_utf8(opened.stdout).expect("a URL");
    state.handle_callback_url(callback.trim()).await.expect("a token");
    let OAuthState::Authorized(manager) = state else {
        panic!("the state is authorized after the callback")
    };

    let transport = StreamableHttpClientTransport::with_client(
        AuthClient::new(reqwest::Client::new(), manager),
        StreamableHttpClientTransportConfig::with_uri(mcp_url.as_str()),
    );
    let lifecycle = ClientLifecycleMode::Discover {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
    };
    let client = ().serve_with_lifecycle(transport, lifecycle).await.expect("server/discover");
    let tools = client.list_all_tools().await.expect("tools/list");
    assert!(tools.iter().any(|tool| tool.name == "text_stats"), "{tools:?}");
    let call = CallToolRequestParams::new("text_stats").with_arguments(
        serde_json::json!({"text": "one two three"})
            .as_object()
            .expect("an object")
            .clone(),
    );
    let first = client.call_tool(call.clone()).await.expect("tools/call");

    let before = stored(&credentials).await;
    expire(&credentials).await;
    let second = client
        .call_tool(call)
        .await
        .expect("tools/call after the refresh");
    let after = stored(&credentials).await;

    assert_ne!(first.is_error, Some(true));
    assert_eq!(first.content, second.content);
    assert_ne!(
        before.0, after.0,
        "the access token is the same after the refresh"
    );
    assert_ne!(
        before.1, after.1,
        "the refresh token is the same after the refresh"
    );
    let mcp = server.path_of(&mcp_url);
    let exchanges = wire.exchanges();
    let steps = [
        format!("GET {mcp} 401"),
        format!("GET /.well-known/oauth-protected-resource{mcp} 200"),
        "GET /.well-known/oauth-authorization-server 200".to_owned(),
        "POST /oauth/register 201".to_owned(),
        "POST /oauth/token 200".to_owned(),
        "POST /oauth/token 200".to_owned(),
    ];
    assert_eq!(exchanges, steps);
}

/// Access and refresh token.
async fn stored(credentials: &InMemoryCredentialStore) -> (String, Option<String>) {
    let stored = credentials.load().await.expect("a store").expect("credentials");
    let tokens = serde_json::to_value(stored.token_response.expect("tokens")).expect("JSON");
    let text = |name: &str| {
        tokens
            .get(name)
            .and_then(|token| token.as_str())
            .map(str::to_owned)
    };
    (
        text("access_token").expect("an access token"),
        text("refresh_token"),
    )
}

/// Makes the token one that was received long ago: this client refreshes by the clock.
async fn expire(credentials: &InMemoryCredentialStore) {
    let mut stored: StoredCredentials = credentials.load().await.expect("a store").expect("credentials");
    stored.token_received_at = Some(0);
    credentials.save(stored).await.expect("a store");
}

/// Notes the requests of the sign-in and of the refresh.
struct Traced {
    client: Box<dyn OAuthHttpClient>,
    exchanges: Mutex<Vec<String>>,
}

impl Traced {
    fn new() -> Self {
        let client = default_oauth_http_client()
            .map_err(|error: AuthError| error.to_string())
            .expect("a client");
        Self {
            client: Box::new(client),
            exchanges: Mutex::default(),
        }
    }

    fn exchanges(&self) -> Vec<String> {
        self.exchanges.lock().expect("nobody panics here").clone()
    }
}

impl OAuthHttpClient for Traced {
    fn execute(&self, request: OAuthHttpRequest) -> OAuthHttpClientFuture<'_> {
        let asked = format!("{} {}", request.request.method(), request.request.uri().path());
        Box::pin(async move {
            let response = self.client.execute(request).await?;
            self.exchanges
                .lock()
                .expect("nobody panics here")
                .push(format!("{asked} {}", response.status().as_u16()));
            Ok(response)
        })
    }
}
