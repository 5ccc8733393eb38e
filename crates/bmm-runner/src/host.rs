//! The broker: the only holder of network and secrets, on the trusted side of the wall.
//!
//! A fetch is checked before a name is resolved: https, a host of the allow-list, no address literal, no credentials in
//! the URL; and again on every redirect. Secrets are put in on the way out and taken out on the way back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bmm_net::HostPattern;
use bmm_spec::{CompiledSpec, SecretPlace};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::ResponseFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};
use url::Url;

use crate::connect::{Connector, HttpsClient};
use crate::decode::{Coding, DecodeError, OFFERED};
use crate::engine::{FetchRequest, FetchResponse, LogLevel, QuestionKind, Redirect, ToolHost};
use crate::questions::Questions;
use crate::secrets::{Escape, Handles, Rules, Secrets, Target};

/// Bounds of what a call may fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FetchLimits {
    /// Requests per call, redirects included.
    pub per_call: u32,
    /// Requests at the same time within one call.
    pub concurrent: u32,
    /// Largest request body in KiB.
    pub request_kib: u32,
    /// Largest response body in KiB.
    pub response_kib: u32,
    /// Time for one fetch with all its redirects, in seconds.
    pub timeout_secs: u32,
    /// Redirects followed in one fetch.
    pub redirects: u32,
}

impl Default for FetchLimits {
    /// 20 fetches, 8 at a time, 1 MiB out, 2 MiB back, 30 s, 5 redirects.
    fn default() -> Self {
        Self {
            per_call: 20,
            concurrent: 8,
            request_kib: 1024,
            response_kib: 2048,
            timeout_secs: 30,
            redirects: 5,
        }
    }
}

/// What a tool says while it runs. Text in it is scrubbed.
#[derive(Debug)]
pub(crate) enum CallEvent {
    Log {
        level: LogLevel,
        message: String,
    },
    Progress {
        progress: f64,
        total: Option<f64>,
        message: Option<String>,
    },
}

/// Longest URL and most headers of a request.
const MAX_URL_BYTES: usize = 8 * 1024;
const MAX_HEADERS: usize = 64;
const USER_AGENT: &str = concat!("bmm-runner/", env!("CARGO_PKG_VERSION"));

/// Headers that belong to the connection, or are the broker's to set.
const STRIPPED: [&str; 11] = [
    "host",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "accept-encoding",
    "expect",
    "forwarded",
];

/// Headers that must not follow a redirect to another origin.
const CREDENTIALS: [&str; 3] = ["authorization", "cookie", "x-api-key"];

/// One per server.
#[derive(Clone)]
pub(crate) struct Broker {
    allowed: Arc<[HostPattern]>,
    rules: Arc<Rules>,
    client: HttpsClient,
    limits: FetchLimits,
}

impl Broker {
    /// A spec may ask for less than the host's limits, never for more.
    pub(crate) fn new(
        spec: &CompiledSpec,
        secrets: &Secrets,
        connector: &Connector,
        limits: FetchLimits,
    ) -> Self {
        let limits = FetchLimits {
            per_call: limits.per_call.min(spec.limits.fetches),
            concurrent: limits.concurrent.min(spec.limits.concurrent_fetches).max(1),
            response_kib: limits.response_kib.min(spec.limits.response_kib),
            ..limits
        };
        Self {
            allowed: spec.allowed_domains.clone().into(),
            rules: Arc::new(Rules::new(spec, secrets)),
            client: connector.client(),
            limits,
        }
    }

    /// What one call sees. Events that find the channel full are dropped.
    pub(crate) fn for_call(&self, events: mpsc::Sender<CallEvent>, questions: Arc<Questions>) -> CallHost {
        CallHost {
            broker: self.clone(),
            handles: Handles::new(Arc::clone(&self.rules)),
            fetches: AtomicU32::new(0),
            running: Semaphore::new(self.limits.concurrent as usize),
            events,
            questions,
        }
    }
}

/// One per call.
pub(crate) struct CallHost {
    broker: Broker,
    handles: Handles,
    fetches: AtomicU32,
    running: Semaphore,
    events: mpsc::Sender<CallEvent>,
    questions: Arc<Questions>,
}

impl CallHost {
    /// Text from inside the call on its way to the client.
    pub(crate) fn scrub(&self, text: &str) -> String {
        self.handles.scrub_text(text)
    }

    async fn fetch_within_limits(&self, request: FetchRequest) -> Result<FetchResponse, String> {
        let limits = self.broker.limits;
        let _running = self
            .running
            .acquire()
            .await
            .map_err(|_| "the call is over".to_owned())?;
        let allowed = Duration::from_secs(limits.timeout_secs.into());
        tokio::time::timeout(allowed, self.follow(request))
            .await
            .map_err(|_| format!("the fetch took longer than {} s", limits.timeout_secs))?
    }

    async fn follow(&self, request: FetchRequest) -> Result<FetchResponse, String> {
        let mut hop = Hop::first(&request, &self.broker.limits)?;
        for _ in 0..=self.broker.limits.redirects {
            self.count_fetch()?;
            self.check_destination(&hop.url)?;
            let response = self
                .send(&hop)?
                .await
                .map_err(|error| self.transport_error(&hop, &error))?;
            let location = redirect_target(&response, &hop.url);
            match (location, request.redirect) {
                (Some(_), Redirect::Error) => return Err("the host answered with a redirect".to_owned()),
                (Some(location), Redirect::Follow) => {
                    let next = location?;
                    // A host may put what it was sent into the address that it sends us to.
                    let (host, port) = destination(&next)?;
                    if let Some(name) = self.handles.leaking_to(next.as_str(), host, port) {
                        return Err(format!("the redirect would carry the secret {name} to {host}"));
                    }
                    hop = hop.redirected(response.status(), next);
                }
                _ => return self.received(response, &hop.url).await,
            }
        }
        Err(format!("more than {} redirects", self.broker.limits.redirects))
    }

    fn check_destination(&self, url: &Url) -> Result<(), String> {
        if url.scheme() != "https" {
            return Err("only https addresses can be fetched".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the address must not hold credentials".to_owned());
        }
        let (host, port) = destination(url)?;
        if !self
            .broker
            .allowed
            .iter()
            .any(|pattern| pattern.matches(host, port))
        {
            let host = self.handles.scrub_text(host);
            return Err(format!(
                "the host {host} (port {port}) is not in the server's allowedDomains"
            ));
        }
        Ok(())
    }

    /// Takes a request through every check and counts it, and sends nothing: for answers that were recorded.
    pub(crate) fn rehearse(&self, request: &FetchRequest) -> Result<(), String> {
        let hop = Hop::first(request, &self.broker.limits)?;
        self.count_fetch()?;
        self.check_destination(&hop.url)?;
        self.prepare(&hop).map(drop)
    }

    fn count_fetch(&self) -> Result<(), String> {
        if self.fetches.fetch_add(1, Ordering::Relaxed) >= self.broker.limits.per_call {
            return Err(format!(
                "a call may fetch at most {} times",
                self.broker.limits.per_call
            ));
        }
        Ok(())
    }

    fn send(&self, hop: &Hop) -> Result<ResponseFuture, String> {
        Ok(self.broker.client.request(self.prepare(hop)?))
    }

    /// The request as it goes out, secrets in place.
    fn prepare(&self, hop: &Hop) -> Result<http::Request<Full<Bytes>>, String> {
        let (host, port) = destination(&hop.url)?;
        let at = |place| Target { place, host, port };
        let mut with_secret = false;
        let mut put = |text: &[u8], place, escape| {
            with_secret |= Handles::occur_in(text);
            self.handles.substitute(text, &at(place), escape)
        };

        let mut target = put(hop.url.path().as_bytes(), SecretPlace::Path, Escape::Percent)?.to_vec();
        if let Some(query) = hop.url.query() {
            target.push(b'?');
            target.extend_from_slice(&put(query.as_bytes(), SecretPlace::Query, Escape::Percent)?);
        }
        let uri = http::Uri::builder()
            .scheme("https")
            .authority(if port == 443 {
                host.to_owned()
            } else {
                format!("{host}:{port}")
            })
            .path_and_query(target)
            .build()
            .map_err(|_| "the address is not valid".to_owned())?;

        let mut headers = HeaderMap::new();
        headers.insert(http::header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        for (name, value) in &hop.headers {
            let value = put(value.as_bytes(), SecretPlace::Header, Escape::None)?;
            let mut value = HeaderValue::from_bytes(&value)
                .map_err(|_| format!("the value of the header {name} is not valid"))?;
            value.set_sensitive(true);
            // Fetch joins repeated names; `user-agent` is replaced.
            headers.insert(name.clone(), value);
        }
        let escape = body_escape(headers.get(http::header::CONTENT_TYPE));
        let body = match &hop.body {
            Some(body) => Bytes::from(put(body, SecretPlace::Body, escape)?.to_vec()),
            None => Bytes::new(),
        };
        if with_secret {
            // Parts of an echo would not be recognised as the secret.
            headers.remove(http::header::RANGE);
            headers.remove(http::header::IF_RANGE);
        } else {
            // Beside a secret that the host echoes, the size of a compressed answer, or its time, would tell whether the tool has
            // guessed a part of it (BREACH).
            headers.insert(http::header::ACCEPT_ENCODING, HeaderValue::from_static(OFFERED));
        }
        let mut request = http::Request::new(Full::new(body));
        *request.method_mut() = hop.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    async fn received(
        &self,
        response: http::Response<hyper::body::Incoming>,
        url: &Url,
    ) -> Result<FetchResponse, String> {
        let (parts, body) = response.into_parts();
        let coding = Coding::of(&parts.headers)
            .ok_or_else(|| "the host sent an answer in an encoding that was not offered".to_owned())?;
        let limit_kib = self.broker.limits.response_kib;
        let limit = limit_kib as usize * 1024;
        let body = Limited::new(body, limit)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<LengthLimitError>() {
                    format!("the answer is larger than {limit_kib} KiB")
                } else {
                    "the connection broke while the answer was read".to_owned()
                }
            })?
            .to_bytes();
        let body = coding.decode(body, limit).map_err(|error| match error {
            DecodeError::TooLarge => format!("the answer is larger than {limit_kib} KiB"),
            DecodeError::Broken => "the answer is not encoded as its content-encoding says".to_owned(),
        })?;
        // They speak of what was sent, not of what the tool gets.
        let of_encoded = [http::header::CONTENT_ENCODING, http::header::CONTENT_LENGTH];
        let headers = parts
            .headers
            .iter()
            .filter(|(name, _)| coding == Coding::Identity || !of_encoded.contains(name))
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes());
                let value = self.handles.scrub_text(&value);
                (name.as_str().to_owned(), value)
            })
            .collect();
        Ok(FetchResponse {
            status: parts.status.as_u16(),
            url: self.handles.scrub_text(url.as_str()),
            headers,
            body: Bytes::from(self.handles.scrub(&body)),
        })
    }

    fn transport_error(&self, hop: &Hop, error: &hyper_util::client::legacy::Error) -> String {
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        let host = hop.url.host_str().unwrap_or_default();
        self.handles
            .scrub_text(&format!("cannot fetch from {host}: {cause}"))
    }

    fn say(&self, event: CallEvent) {
        // A tool that talks faster than its client reads loses the excess, not its pace.
        let _ = self.events.try_send(event);
    }
}

impl ToolHost for CallHost {
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, Result<FetchResponse, String>> {
        Box::pin(self.fetch_within_limits(request))
    }

    fn log(&self, level: LogLevel, message: &str) {
        self.say(CallEvent::Log {
            level,
            message: self.scrub(message),
        });
    }

    fn progress(&self, progress: f64, total: Option<f64>, message: Option<&str>) {
        let message = message.map(|message| self.scrub(message));
        self.say(CallEvent::Progress {
            progress,
            total,
            message,
        });
    }

    fn basic_auth(&self, user: &str, secret: &str) -> Result<String, String> {
        self.handles.basic_auth(user, secret)
    }

    fn hmac(&self, algorithm: &str, secret: &str, data: &[u8]) -> Result<String, String> {
        self.handles.hmac(algorithm, secret, data)
    }

    fn secret_handle(&self, name: &str) -> Option<String> {
        self.handles.handle(name)
    }

    fn ask(&self, kind: QuestionKind, question: &str) -> Result<Option<String>, String> {
        self.questions.ask(kind, question, |text| self.scrub(text))
    }
}

/// One request of a chain of redirects, with handles still in place of secrets.
struct Hop {
    url: Url,
    method: Method,
    headers: Vec<(HeaderName, String)>,
    body: Option<Bytes>,
}

impl Hop {
    fn first(request: &FetchRequest, limits: &FetchLimits) -> Result<Self, String> {
        if request.url.len() > MAX_URL_BYTES {
            return Err(format!("the address is longer than {MAX_URL_BYTES} bytes"));
        }
        let url = Url::parse(&request.url).map_err(|_| "the address is not an absolute URL".to_owned())?;
        let method = Method::from_bytes(request.method.as_bytes())
            .ok()
            .filter(|method| *method != Method::CONNECT && *method != Method::TRACE)
            .ok_or_else(|| "this method cannot be used".to_owned())?;
        if request.headers.len() > MAX_HEADERS {
            return Err(format!("more than {MAX_HEADERS} headers"));
        }
        let mut headers = Vec::with_capacity(request.headers.len());
        for (name, value) in &request.headers {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| "a header's name is not valid".to_owned())?;
            if !STRIPPED.contains(&name.as_str()) && !name.as_str().starts_with("proxy-") {
                headers.push((name, value.clone()));
            }
        }
        if request
            .body
            .as_ref()
            .is_some_and(|body| body.len() > limits.request_kib as usize * 1024)
        {
            return Err(format!("the body is larger than {} KiB", limits.request_kib));
        }
        Ok(Self {
            url,
            method,
            headers,
            body: request.body.clone(),
        })
    }

    /// The next request (Fetch standard, HTTP-redirect fetch).
    fn redirected(mut self, status: StatusCode, next: Url) -> Self {
        let to_get = match status {
            StatusCode::SEE_OTHER => self.method != Method::HEAD,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => self.method == Method::POST,
            _ => false,
        };
        if to_get {
            self.method = Method::GET;
            self.body = None;
            self.headers
                .retain(|(name, _)| !name.as_str().starts_with("content-"));
        }
        if self.url.origin() != next.origin() {
            self.headers.retain(|(name, value)| {
                !CREDENTIALS.contains(&name.as_str()) && !Handles::occur_in(value.as_bytes())
            });
        }
        self.url = next;
        self
    }
}

fn destination(url: &Url) -> Result<(&str, u16), String> {
    match url.host() {
        Some(url::Host::Domain(host)) => Ok((host, url.port_or_known_default().unwrap_or(443))),
        Some(_) => Err("an IP address cannot be fetched; use a host name".to_owned()),
        None => Err("the address has no host".to_owned()),
    }
}

fn redirect_target(
    response: &http::Response<hyper::body::Incoming>,
    base: &Url,
) -> Option<Result<Url, String>> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(http::header::LOCATION)?;
    let next = location
        .to_str()
        .ok()
        .and_then(|location| base.join(location).ok());
    Some(next.ok_or_else(|| "the host redirects to something that is not an address".to_owned()))
}

fn body_escape(content_type: Option<&HeaderValue>) -> Escape {
    let essence = content_type
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase())
        .unwrap_or_default();
    match essence.as_str() {
        "application/x-www-form-urlencoded" => Escape::Form,
        json if json == "application/json" || json.ends_with("+json") => Escape::Json,
        _ => Escape::None,
    }
}
