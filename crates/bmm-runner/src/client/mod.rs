//! An MCP client that finds its way through OAuth by itself: `bmm call`, and `bmm scan` of a running server.
//!
//! From a bare MCP URL through the 401 challenge, discovery, registration, sign-in, consent and token (PKCE) to the call;
//! tokens are kept in a [`CredentialsFile`], refreshed when they expire or are refused, and asked for again with more scopes
//! when a tool needs them.

mod credentials;
mod error;
mod identity;
mod listing;
mod process_tree;
mod refused;
mod script;
mod sign_in;
mod stdio;

use std::fmt;

use rmcp::model::{CallToolRequestParams, ClientConfig, ContentBlock, Implementation, ResourceContents};
use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, RoleClient, RunningService, serve_client_with_lifecycle,
};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::auth::{AuthClient, AuthorizationManager, AuthorizationRequest, OAuthState};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::Value;

pub use self::credentials::CredentialsFile;
pub use self::error::ClientError;
pub use self::identity::ServerIdentity;
use self::identity::identity;
use self::listing::Budget;
pub use self::listing::{Listing, ListingLimits};
use self::refused::Refused;
use self::sign_in::Callback;
pub use self::sign_in::SignIn;
pub use self::stdio::StdioServer;

/// What the consent page shows.
const CLIENT_NAME: &str = "bmm";

/// A connection to one MCP server.
pub struct Client {
    url: String,
    sign_in: SignIn,
    credentials: CredentialsFile,
    running: RunningService<RoleClient, ClientConfig>,
}

impl Client {
    /// Connects, in the newest protocol revision that both speak; signs in if the server asks for it.
    pub async fn connect(
        url: &str,
        sign_in: SignIn,
        credentials: CredentialsFile,
    ) -> Result<Self, ClientError> {
        let url = url::Url::parse(url)
            .ok()
            .filter(|url| matches!(url.scheme(), "https" | "http"))
            .ok_or(ClientError::Url)?
            .to_string();
        let running = match open(&url, &credentials).await {
            Ok(running) => running,
            Err(Refused::Challenge { header, .. }) => {
                authorize(&url, &sign_in, &credentials, &header, &[]).await?;
                open(&url, &credentials).await.map_err(Refused::into_error)?
            }
            Err(refused) => return Err(refused.into_error()),
        };
        Ok(Self {
            url,
            sign_in,
            credentials,
            running,
        })
    }

    /// Who answers.
    pub fn server(&self) -> ServerIdentity {
        identity(self.running.peer_info().as_deref())
    }

    /// All tools, over all pages.
    pub async fn list_tools(&self) -> Result<Vec<ToolInfo>, ClientError> {
        let tools = listing::tools(&self.running, &mut Budget::new(&ListingLimits::default())).await?;
        let text = |tool: &Value, field: &str| Some(tool.get(field)?.as_str()?.to_owned());
        let tools = tools.into_iter().map(|tool| ToolInfo {
            name: text(&tool, "name").unwrap_or_default(),
            title: text(&tool, "title"),
            description: text(&tool, "description").unwrap_or_default(),
            definition: tool,
        });
        Ok(tools.collect())
    }

    /// Everything the server tells of itself: tools, prompts, resources, instructions.
    pub async fn listing(&self, limits: &ListingLimits) -> Result<Listing, ClientError> {
        listing::read(&self.running, limits).await
    }

    /// Calls a tool; `arguments` must be a JSON object. Signs in again, once, if the tool needs more scopes.
    pub async fn call_tool(&mut self, name: &str, arguments: Value) -> Result<CallOutcome, ClientError> {
        let Value::Object(arguments) = arguments else {
            return Err(ClientError::Arguments);
        };
        let params = CallToolRequestParams::new(name.to_owned()).with_arguments(arguments);
        match self.running.call_tool(params.clone()).await {
            Ok(result) => Ok(CallOutcome::of(&result)),
            Err(error) => match Refused::of(error) {
                Refused::Challenge { header, scopes } => {
                    authorize(&self.url, &self.sign_in, &self.credentials, &header, &scopes).await?;
                    self.running = open(&self.url, &self.credentials)
                        .await
                        .map_err(Refused::into_error)?;
                    let again = self.running.call_tool(params).await;
                    again
                        .map(|result| CallOutcome::of(&result))
                        .map_err(|error| Refused::of(error).into_error())
                }
                refused => Err(refused.into_error()),
            },
        }
    }

    /// Ends the connection, and its session if it has one.
    pub async fn close(self) {
        let _ = self.running.cancel().await;
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// One listed tool.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ToolInfo {
    /// What to call it by.
    pub name: String,
    /// Its name for people.
    pub title: Option<String>,
    /// What it does.
    pub description: String,
    /// The whole definition as listed.
    pub definition: Value,
}

/// What a call came to. `Display` is for a terminal: the texts, and one line for what is not text.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CallOutcome {
    /// Whether the tool says that it failed.
    pub is_error: bool,
    /// The structured result.
    pub structured: Option<Value>,
    /// The content blocks as JSON.
    pub content: Vec<Value>,
    lines: Vec<String>,
}

impl CallOutcome {
    fn of(result: &rmcp::model::CallToolResult) -> Self {
        Self {
            is_error: result.is_error == Some(true),
            structured: result.structured_content.clone(),
            content: result
                .content
                .iter()
                .filter_map(|block| serde_json::to_value(block).ok())
                .collect(),
            lines: result.content.iter().map(line).collect(),
        }
    }
}

impl fmt::Display for CallOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

fn line(block: &ContentBlock) -> String {
    match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Image(image) => format!(
            "[image {}, {} characters of base64]",
            image.mime_type,
            image.data.len()
        ),
        ContentBlock::Audio(audio) => format!(
            "[audio {}, {} characters of base64]",
            audio.mime_type,
            audio.data.len()
        ),
        ContentBlock::Resource(embedded) => match &embedded.resource {
            ResourceContents::TextResourceContents { text, .. } => text.clone(),
            _ => "[resource]".to_owned(),
        },
        ContentBlock::ResourceLink(link) => format!("[resource {}]", link.uri),
        _ => "[content]".to_owned(),
    }
}

type Running = RunningService<RoleClient, ClientConfig>;

/// Opens a connection with the stored credentials, if there are any.
async fn open(url: &str, credentials: &CredentialsFile) -> Result<Running, Refused> {
    let manager = manager(url, credentials).await.map_err(Refused::Error)?;
    // A redirect could carry the token to a place that the user has not named.
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| Refused::of_source(&error))?;
    let http = AuthClient::new(http, manager);
    let config = StreamableHttpClientTransportConfig::with_uri(url.to_owned());
    let transport = StreamableHttpClientTransport::with_client(http, config);
    serve_client_with_lifecycle(client_config(), transport, lifecycle())
        .await
        .map_err(|error| match error {
            ClientInitializeError::TransportError { error, .. } => Refused::of_source(error.error.as_ref()),
            other => Refused::of_source(&other),
        })
}

/// Who this client says it is.
fn client_config() -> ClientConfig {
    ClientConfig::new(
        Default::default(),
        Implementation::new(CLIENT_NAME, env!("CARGO_PKG_VERSION")),
    )
}

/// The newest protocol revision first, then the ones with `initialize`.
fn lifecycle() -> ClientLifecycleMode {
    ClientLifecycleMode::Auto {
        preferred_versions: vec![rmcp::model::ProtocolVersion::LATEST],
        legacy_version: None,
    }
}

async fn manager(url: &str, credentials: &CredentialsFile) -> Result<AuthorizationManager, ClientError> {
    let mut manager = AuthorizationManager::new(url)
        .await
        .map_err(ClientError::sign_in)?;
    manager.set_credential_store(credentials.store(url));
    if credentials.knows(url)? {
        // Stored credentials of an issuer that has changed are dropped here, and the server will ask.
        manager
            .initialize_from_store()
            .await
            .map_err(ClientError::sign_in)?;
    }
    Ok(manager)
}

/// One sign-in, from the challenge to the stored token.
async fn authorize(
    url: &str,
    sign_in: &SignIn,
    credentials: &CredentialsFile,
    challenge: &str,
    scopes: &[String],
) -> Result<(), ClientError> {
    let granted = credentials.granted_scopes(url)?;
    let mut manager = AuthorizationManager::new(url)
        .await
        .map_err(ClientError::sign_in)?;
    manager.set_credential_store(credentials.store(url));
    let callback = Callback::listen().await?;
    let mut request = AuthorizationRequest::new(callback.redirect_uri()).with_client_name(CLIENT_NAME);
    if !challenge.is_empty() {
        request = request.with_challenge(challenge);
    }
    if !scopes.is_empty() {
        let mut union = granted;
        union.extend(
            scopes
                .iter()
                .filter(|scope| !union.contains(scope))
                .cloned()
                .collect::<Vec<_>>(),
        );
        request = request.with_scopes(union);
    }
    let mut state = OAuthState::Unauthorized(manager);
    state
        .start_authorization(request)
        .await
        .map_err(ClientError::sign_in)?;
    let authorize_url = state
        .get_authorization_url()
        .await
        .map_err(ClientError::sign_in)?;
    let answer = sign_in.carry_out(&authorize_url, callback).await?;
    state
        .handle_callback_url(&answer)
        .await
        .map_err(ClientError::sign_in)
}
