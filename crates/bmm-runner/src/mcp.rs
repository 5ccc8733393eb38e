//! The MCP server of one spec, by hand on rmcp: both eras come through here.

// Logging and subscribing by request are deprecated in 2026-07-28; the clients of 2025-11-25 and earlier have nothing else.
#![expect(deprecated, reason = "serves the revisions in which they are not deprecated")]

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bmm_oauth::AuthInfo;
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, GetPromptRequestParams,
    GetPromptResponse, GetPromptResult, Implementation, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, LoggingLevel, PaginatedRequestParams, ReadResourceRequestParams,
    ReadResourceResponse, ReadResourceResult, ResourceUpdatedNotificationParam, ServerCapabilities,
    ServerConfig, SetLevelRequestParams, SubscribeRequestMethod, SubscribeRequestParams, SubscriptionFilter,
    Tool, UnsubscribeRequestMethod, UnsubscribeRequestParams,
};
use rmcp::service::{NotificationContext, RequestContext, RoleServer, SubscriptionContext};
use rmcp::{ErrorData, ServerHandler};
use serde_json::{Value, json};

use crate::call::{Occasion, Ran, Site, is_modern, severity};
use crate::documents::{self, Source};
use crate::engine::ToolFailure;
use crate::live::{Live, Shared};
use crate::manifest::{ListedTool, icons};
use crate::result;
use crate::session::Principal;
use crate::watched::{MAX_WATCHED, Watched};

/// How long a list may be kept: a new revision of the server is a new deploy, and clients should see it soon.
const LIST_TTL_MS: u64 = 60_000;
/// How soon the one who tells a client of changes notices that the client is gone.
const PEER_CHECK: Duration = Duration::from_secs(60);

/// One per session, or per request where there are none.
pub(crate) struct McpServer {
    live: Live,
    /// What a client of the stateful era asked for with `logging/setLevel`.
    level: AtomicU8,
    /// What it subscribed to.
    watched: Watched,
}

impl McpServer {
    pub(crate) fn new(live: Live) -> Self {
        Self {
            live,
            level: AtomicU8::new(severity(LoggingLevel::Info)),
            watched: Watched::default(),
        }
    }

    /// Runs one unit of code whose input has been checked.
    async fn run(
        &self,
        shared: &Shared,
        unit: usize,
        input: Value,
        context: &RequestContext<RoleServer>,
        occasion: Occasion<'_>,
    ) -> Result<Ran, ErrorData> {
        let site = Site {
            principal: Principal::of(principal(context)),
            shared,
            context,
            least_severity: self.level.load(Ordering::Relaxed),
        };
        site.run(unit, input, occasion).await
    }
}

impl ServerHandler for McpServer {
    fn get_info(&self) -> ServerConfig {
        let shared = self.live.now();
        let spec = &shared.spec;
        let changes = self.live.is_replaceable();
        let mut capabilities = ServerCapabilities::builder()
            .enable_logging()
            .enable_tools()
            .build();
        capabilities.resources = (changes || shared.documents.has_resources()).then(Default::default);
        capabilities.prompts = (changes || shared.documents.has_prompts()).then(Default::default);
        if changes {
            let tools = capabilities.tools.get_or_insert_default();
            tools.list_changed = Some(true);
            let resources = capabilities.resources.get_or_insert_default();
            resources.list_changed = Some(true);
            resources.subscribe = Some(true);
            let prompts = capabilities.prompts.get_or_insert_default();
            prompts.list_changed = Some(true);
        }
        let mut server = Implementation::new(spec.slug.to_string(), short(&spec.spec_digest));
        server.title = Some(spec.name.clone());
        server.description = Some(spec.description.clone()).filter(|text| !text.is_empty());
        server.icons = icons(&spec.icons);
        let mut info = ServerConfig::new(capabilities).with_server_info(server);
        info.instructions = spec.instructions.clone();
        info
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        one_page(request)?;
        let tools = self.live.now().manifest.listed();
        let mut list = ListToolsResult::with_all_items(tools);
        if is_modern(&context) {
            list = list
                .with_ttl_ms(LIST_TTL_MS)
                .with_cache_scope(CacheScope::Private);
        }
        Ok(list)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.live
            .now()
            .manifest
            .tool(name)
            .map(|(_, tool)| tool.definition().clone())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let shared = self.live.now();
        let Some((index, tool)) = shared.manifest.tool(&request.name) else {
            let name: String = request.name.chars().take(128).collect();
            return Err(ErrorData::invalid_params(format!("unknown tool: {name}"), None));
        };
        // Over HTTP the refusal has already been said as a 403 challenge; this is the second lock.
        if shared.enforce_scopes && !granted(tool.scopes(), principal(&context)) {
            return Err(ErrorData::invalid_request(
                "the token lacks a scope that this tool needs",
                None,
            ));
        }
        let input = Value::Object(request.arguments.unwrap_or_default());
        let problems = tool.input().problems(&input);
        if !problems.is_empty() {
            let text = format!(
                "the arguments do not match the tool's input schema: {}",
                problems.join("; ")
            );
            return Ok(result::failure(text).into());
        }
        let occasion = Occasion {
            method: "tools/call",
            name: &request.name,
            state: request.request_state,
            responses: request.input_responses,
        };
        let result = match self.run(&shared, index, input, &context, occasion).await? {
            Ran::Asks(asks) => return Ok(asks.into()),
            Ran::Value(value) => self.finish(tool, value, is_modern(&context)),
            Ran::Failed(failure) => {
                if let ToolFailure::Host(detail) = &failure {
                    tracing::error!(tool = %request.name, detail, "tool could not be run");
                }
                result::failure(failure.to_string())
            }
        };
        Ok(result.into())
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        one_page(request)?;
        let list = ListResourcesResult::with_all_items(self.live.now().documents.resources());
        Ok(if is_modern(&context) {
            list.with_ttl_ms(LIST_TTL_MS)
                .with_cache_scope(CacheScope::Private)
        } else {
            list
        })
    }

    async fn list_resource_templates(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        one_page(request)?;
        let list = ListResourceTemplatesResult::with_all_items(self.live.now().documents.templates());
        Ok(if is_modern(&context) {
            list.with_ttl_ms(LIST_TTL_MS)
                .with_cache_scope(CacheScope::Private)
        } else {
            list
        })
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri.as_str();
        let shared = self.live.now();
        let Some((resource, source)) = shared.documents.resource(uri) else {
            return Err(ErrorData::resource_not_found(
                "there is no such resource",
                Some(json!({ "uri": uri })),
            ));
        };
        let (contents, ttl_ms) = match source {
            Source::Ready(contents) => (contents, LIST_TTL_MS),
            Source::Code { unit, input } => {
                let occasion = Occasion {
                    method: "resources/read",
                    name: uri,
                    state: request.request_state,
                    responses: request.input_responses,
                };
                let value = match self.run(&shared, unit, input, &context, occasion).await? {
                    Ran::Asks(asks) => return Ok(asks.into()),
                    Ran::Value(value) => value,
                    Ran::Failed(failure) => return Err(not_made(failure)),
                };
                let contents = documents::computed_contents(uri, resource.mime_type.as_deref(), &value)
                    .ok_or_else(|| {
                        ErrorData::internal_error("the resource's code returned no content", None)
                    })?;
                (contents, 0)
            }
        };
        let result = ReadResourceResult::new(vec![contents]);
        Ok(if is_modern(&context) {
            result
                .with_ttl_ms(ttl_ms)
                .with_cache_scope(CacheScope::Private)
                .into()
        } else {
            result.into()
        })
    }

    async fn list_prompts(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        one_page(request)?;
        let list = ListPromptsResult::with_all_items(self.live.now().documents.prompts());
        Ok(if is_modern(&context) {
            list.with_ttl_ms(LIST_TTL_MS)
                .with_cache_scope(CacheScope::Private)
        } else {
            list
        })
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let shared = self.live.now();
        let Some((prompt, unit)) = shared.documents.prompt(&request.name) else {
            return Err(ErrorData::invalid_params("there is no such prompt", None));
        };
        let arguments = request.arguments.unwrap_or_default();
        let source = documents::prompt_messages(prompt, unit, &arguments)
            .map_err(|message| ErrorData::invalid_params(message, None))?;
        let messages = match source {
            Source::Ready(messages) => messages,
            Source::Code { unit, input } => {
                let occasion = Occasion {
                    method: "prompts/get",
                    name: &request.name,
                    state: request.request_state,
                    responses: request.input_responses,
                };
                let value = match self.run(&shared, unit, input, &context, occasion).await? {
                    Ran::Asks(asks) => return Ok(asks.into()),
                    Ran::Value(value) => value,
                    Ran::Failed(failure) => return Err(not_made(failure)),
                };
                documents::computed_messages(value).ok_or_else(|| {
                    ErrorData::internal_error("the prompt's code returned no messages", None)
                })?
            }
        };
        let mut result = GetPromptResult::new(messages);
        result.description = prompt.description.clone();
        Ok(result.into())
    }

    /// A client of the stateful era hears of another spec without asking.
    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        if !self.live.is_replaceable() {
            return;
        }
        let (mut live, watched) = (self.live.clone(), self.watched.clone());
        let mut before = live.now();
        tokio::spawn(async move {
            while !context.peer.is_transport_closed() {
                tokio::select! {
                    () = live.changed() => {}
                    () = tokio::time::sleep(PEER_CHECK) => continue,
                }
                let _ = context.peer.notify_tool_list_changed().await;
                let _ = context.peer.notify_resource_list_changed().await;
                let _ = context.peer.notify_prompt_list_changed().await;
                let now = live.now();
                for uri in watched.changed(&before, &now) {
                    let updated = ResourceUpdatedNotificationParam::new(uri);
                    let _ = context.peer.notify_resource_updated(updated).await;
                }
                before = now;
            }
        });
    }

    /// Resources change with another spec only; a server that never gets one has nothing to tell.
    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if !self.live.is_replaceable() {
            return Err(ErrorData::method_not_found::<SubscribeRequestMethod>());
        }
        if !self.live.now().documents.has(&request.uri) {
            return Err(ErrorData::resource_not_found(
                "there is no such resource",
                Some(json!({ "uri": request.uri })),
            ));
        }
        if self.watched.add(request.uri) {
            Ok(())
        } else {
            Err(ErrorData::invalid_request(
                format!("a session may subscribe to at most {MAX_WATCHED} resources"),
                None,
            ))
        }
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if !self.live.is_replaceable() {
            return Err(ErrorData::method_not_found::<UnsubscribeRequestMethod>());
        }
        self.watched.remove(&request.uri);
        Ok(())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        self.live.is_replaceable().then(|| requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut live = self.live.clone();
        let ending = live.ending();
        let watched = Watched::default();
        let asked_for = context.accepted().resource_subscriptions.clone();
        for uri in asked_for.unwrap_or_default() {
            watched.add(uri);
        }
        let mut before = live.now();
        loop {
            tokio::select! {
                () = context.cancelled() => return Ok(()),
                () = ending.cancelled() => return Ok(()),
                () = live.changed() => {}
            }
            // What the client did not ask for is refused by the sink, and a client that is gone cancels.
            let sink = context.sink();
            let _ = sink.notify_tool_list_changed().await;
            let _ = sink.notify_resource_list_changed().await;
            let _ = sink.notify_prompt_list_changed().await;
            let now = live.now();
            for uri in watched.changed(&before, &now) {
                let _ = sink.notify_resource_updated(uri).await;
            }
            before = now;
        }
    }

    async fn set_level(
        &self,
        request: SetLevelRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if is_modern(&context) {
            return Err(ErrorData::method_not_found::<rmcp::model::SetLevelRequestMethod>());
        }
        self.level.store(severity(request.level), Ordering::Relaxed);
        Ok(())
    }
}

impl McpServer {
    /// The result, if it is what the tool's output schema promises.
    fn finish(&self, tool: &ListedTool, value: Value, modern: bool) -> CallToolResult {
        let result = result::success(value, modern);
        let Some(schema) = tool.output().filter(|_| result.is_error != Some(true)) else {
            return result;
        };
        let problems = match &result.structured_content {
            Some(structured) => schema.problems(structured),
            None => vec!["there is no structured result".to_owned()],
        };
        if problems.is_empty() {
            return result;
        }
        result::failure(format!(
            "the tool's result does not match its output schema: {}",
            problems.join("; ")
        ))
    }
}

/// Whether a principal holds every one of `scopes`.
pub(crate) fn granted(scopes: &[String], principal: Option<&AuthInfo>) -> bool {
    scopes.is_empty()
        || principal.is_some_and(|principal| scopes.iter().all(|scope| principal.scopes().contains(scope)))
}

/// Resources and prompts have no result that says what went wrong, only the protocol's error.
fn not_made(failure: ToolFailure) -> ErrorData {
    if let ToolFailure::Host(detail) = &failure {
        tracing::error!(detail, "code could not be run");
    }
    ErrorData::internal_error(failure.to_string(), None)
}

fn principal(context: &RequestContext<RoleServer>) -> Option<&AuthInfo> {
    context
        .extensions
        .get::<http::request::Parts>()?
        .extensions
        .get::<AuthInfo>()
}

/// Lists are short and come whole, so no cursor is ever given out.
fn one_page(request: Option<PaginatedRequestParams>) -> Result<(), ErrorData> {
    match request.and_then(|request| request.cursor) {
        Some(_) => Err(ErrorData::invalid_params("unknown cursor", None)),
        None => Ok(()),
    }
}

fn short(digest: &str) -> String {
    digest.trim_start_matches("sha256:").chars().take(12).collect()
}
