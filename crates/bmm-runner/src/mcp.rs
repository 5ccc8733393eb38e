//! The MCP server of one spec, by hand on rmcp: both eras come through here.

// Logging is deprecated in 2026-07-28; the clients of 2025-11-25 and earlier have nothing else.
#![expect(
    deprecated,
    reason = "serves the revisions in which logging is not deprecated"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bmm_oauth::AuthInfo;
use bmm_spec::CompiledSpec;
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, GetPromptRequestParams,
    GetPromptResponse, GetPromptResult, Implementation, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, LoggingLevel, LoggingMessageNotificationParam,
    PaginatedRequestParams, ProgressNotificationParam, ProtocolVersion, ReadResourceRequestParams,
    ReadResourceResponse, ReadResourceResult, ServerCapabilities, ServerConfig, SetLevelRequestParams, Tool,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::{ErrorData, ServerHandler};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::documents::{self, Documents, Source};
use crate::engine::{LogLevel, ToolCall, ToolEngine, ToolFailure};
use crate::host::{Broker, CallEvent};
use crate::manifest::{ListedTool, Manifest, icons};
use crate::result;

/// How long a list may be kept: a new revision of the server is a new deploy, and clients should see it soon.
const LIST_TTL_MS: u64 = 60_000;
/// Messages of a tool waiting for a slow client; more are dropped.
const EVENT_BUFFER: usize = 64;
/// For one message, and for all that are left at the end of a call: a client that does not read must not hold its answer.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(5);

/// What all sessions of a server share.
pub(crate) struct Shared {
    pub(crate) spec: CompiledSpec,
    pub(crate) manifest: Manifest,
    pub(crate) documents: Documents,
    pub(crate) engine: Arc<dyn ToolEngine>,
    pub(crate) broker: Broker,
    /// Whether a tool with scopes needs an [`AuthInfo`] that has them.
    pub(crate) enforce_scopes: bool,
}

/// One per session, or per request where there are none.
pub(crate) struct McpServer {
    shared: Arc<Shared>,
    /// What a client of the stateful era asked for with `logging/setLevel`.
    level: AtomicU8,
}

impl McpServer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            level: AtomicU8::new(severity(LoggingLevel::Info)),
        }
    }

    /// Runs one unit of code whose input has been checked.
    async fn run(
        &self,
        unit: usize,
        input: Value,
        context: &RequestContext<RoleServer>,
    ) -> Result<Result<Value, ToolFailure>, ErrorData> {
        let (events, mut said) = mpsc::channel(EVENT_BUFFER);
        let host = Arc::new(self.shared.broker.for_call(events));
        let mut call = self
            .shared
            .engine
            .call(ToolCall { tool: unit, input }, Arc::clone(&host) as _);
        // Beside the call and not in turn with it: its limits are kept by polling it.
        let telling = async {
            while let Some(event) = said.recv().await {
                self.tell(event, context).await;
            }
        };
        tokio::pin!(telling);
        let mut all_told = false;
        let outcome = loop {
            tokio::select! {
                biased;
                // Dropping the call is what stops it.
                () = context.ct.cancelled() => {
                    return Err(ErrorData::internal_error("the call was cancelled", None));
                }
                () = &mut telling, if !all_told => all_told = true,
                outcome = &mut call => break outcome,
            }
        };
        let outcome = match outcome {
            Ok(output) => Ok(output.value),
            Err(ToolFailure::Thrown { message }) => Err(ToolFailure::Thrown {
                message: host.scrub(&message),
            }),
            Err(failure) => Err(failure),
        };
        // With these two the channel ends, and the telling with what is still in it.
        drop((call, host));
        if !all_told {
            let _ = tokio::time::timeout(NOTIFY_TIMEOUT, telling).await;
        }
        Ok(outcome)
    }

    async fn tell(&self, event: CallEvent, context: &RequestContext<RoleServer>) {
        let told = async {
            match event {
                CallEvent::Log { level, message } => {
                    let level = logging_level(level);
                    if severity(level) < self.least_severity(context) {
                        return;
                    }
                    let params = LoggingMessageNotificationParam::new(level, Value::from(message));
                    let _ = context.peer.notify_logging_message(params).await;
                }
                CallEvent::Progress {
                    progress,
                    total,
                    message,
                } => {
                    let Some(token) = context.meta.get_progress_token() else {
                        return;
                    };
                    let mut params = ProgressNotificationParam::new(token, progress);
                    params.total = total;
                    params.message = message;
                    let _ = context.peer.notify_progress(params).await;
                }
            }
        };
        let _ = tokio::time::timeout(NOTIFY_TIMEOUT, told).await;
    }

    /// From 2026-07-28 on a request without a level wants no messages.
    fn least_severity(&self, context: &RequestContext<RoleServer>) -> u8 {
        match context.meta.log_level() {
            Some(level) => severity(level),
            None if is_modern(context) => u8::MAX,
            None => self.level.load(Ordering::Relaxed),
        }
    }
}

impl ServerHandler for McpServer {
    fn get_info(&self) -> ServerConfig {
        let spec = &self.shared.spec;
        let mut capabilities = ServerCapabilities::builder()
            .enable_logging()
            .enable_tools()
            .build();
        capabilities.resources = self.shared.documents.has_resources().then(Default::default);
        capabilities.prompts = self.shared.documents.has_prompts().then(Default::default);
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
        let tools = self.shared.manifest.listed();
        let mut list = ListToolsResult::with_all_items(tools);
        if is_modern(&context) {
            list = list
                .with_ttl_ms(LIST_TTL_MS)
                .with_cache_scope(CacheScope::Private);
        }
        Ok(list)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.shared
            .manifest
            .tool(name)
            .map(|(_, tool)| tool.definition().clone())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some((index, tool)) = self.shared.manifest.tool(&request.name) else {
            let name: String = request.name.chars().take(128).collect();
            return Err(ErrorData::invalid_params(format!("unknown tool: {name}"), None));
        };
        // Over HTTP the refusal has already been said as a 403 challenge; this is the second lock.
        if self.shared.enforce_scopes && !granted(tool.scopes(), principal(&context)) {
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
        let result = match self.run(index, input, &context).await? {
            Ok(value) => self.finish(tool, value, is_modern(&context)),
            Err(failure) => {
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
        let list = ListResourcesResult::with_all_items(self.shared.documents.resources());
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
        let list = ListResourceTemplatesResult::with_all_items(self.shared.documents.templates());
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
        let Some((resource, source)) = self.shared.documents.resource(uri) else {
            return Err(ErrorData::resource_not_found(
                "there is no such resource",
                Some(json!({ "uri": uri })),
            ));
        };
        let (contents, ttl_ms) = match source {
            Source::Ready(contents) => (contents, LIST_TTL_MS),
            Source::Code { unit, input } => {
                let value = self.run(unit, input, &context).await?.map_err(not_made)?;
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
        let list = ListPromptsResult::with_all_items(self.shared.documents.prompts());
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
        let Some((prompt, unit)) = self.shared.documents.prompt(&request.name) else {
            return Err(ErrorData::invalid_params("there is no such prompt", None));
        };
        let arguments = request.arguments.unwrap_or_default();
        let source = documents::prompt_messages(prompt, unit, &arguments)
            .map_err(|message| ErrorData::invalid_params(message, None))?;
        let messages = match source {
            Source::Ready(messages) => messages,
            Source::Code { unit, input } => {
                let value = self.run(unit, input, &context).await?.map_err(not_made)?;
                documents::computed_messages(value).ok_or_else(|| {
                    ErrorData::internal_error("the prompt's code returned no messages", None)
                })?
            }
        };
        let mut result = GetPromptResult::new(messages);
        result.description = prompt.description.clone();
        Ok(result.into())
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

fn is_modern(context: &RequestContext<RoleServer>) -> bool {
    context
        .protocol_version()
        .is_some_and(|version| version.as_str() >= ProtocolVersion::V_2026_07_28.as_str())
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

fn logging_level(level: LogLevel) -> LoggingLevel {
    match level {
        LogLevel::Debug => LoggingLevel::Debug,
        LogLevel::Info => LoggingLevel::Info,
        LogLevel::Warning => LoggingLevel::Warning,
        LogLevel::Error => LoggingLevel::Error,
    }
}

fn severity(level: LoggingLevel) -> u8 {
    match level {
        LoggingLevel::Debug => 0,
        LoggingLevel::Info => 1,
        LoggingLevel::Notice => 2,
        LoggingLevel::Warning => 3,
        LoggingLevel::Error => 4,
        LoggingLevel::Critical => 5,
        LoggingLevel::Alert => 6,
        LoggingLevel::Emergency => 7,
    }
}
