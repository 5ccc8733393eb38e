//! Requests to an upstream. They go through one function, so that who may be reached, and how long it may take, is decided in one place.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bmm_net::{FetchLimits, Fetcher};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use serde::de::DeserializeOwned;

use super::UpstreamError;
use crate::absolute_uri::{self, Http as PlainHttp};
use crate::json_object;
use crate::verifier::{BoxError, BoxFuture};

/// Sends a request to an upstream and brings its answer. It must follow no redirect, and bound the time and the size of an answer.
pub type SendUpstream =
    Arc<dyn Fn(Request<Bytes>) -> BoxFuture<'static, Result<Response<Bytes>, BoxError>> + Send + Sync>;

/// Most bytes of any answer that is read.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// Together with the discovery before it, a refresh stays well within its lease.
const LIMITS: FetchLimits = FetchLimits {
    max_bytes: MAX_ANSWER_BYTES,
    timeout: Duration::from_secs(10),
};

#[derive(Clone)]
pub(super) struct Http {
    send: SendUpstream,
}

impl Http {
    pub(super) fn new(send: SendUpstream) -> Self {
        Self { send }
    }

    pub(super) async fn send(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, UpstreamError> {
        // GitHub refuses requests without one.
        request
            .headers_mut()
            .insert(header::USER_AGENT, HeaderValue::from_static("bmm-oauth"));
        let response = (self.send)(request).await.map_err(UpstreamError::Unreachable)?;
        if response.body().len() > MAX_ANSWER_BYTES {
            return Err(UpstreamError::Malformed("larger than 256 KiB"));
        }
        Ok(response)
    }

    /// A document by GET.
    pub(super) async fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Bytes, UpstreamError> {
        let mut request = Request::get(url).header("accept", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Bytes::new())
            .map_err(|_| UpstreamError::Malformed("an address or a token cannot be sent"))?;
        let response = self.send(request).await?;
        match response.status().as_u16() {
            200 => Ok(response.into_body()),
            status => Err(UpstreamError::Status(status)),
        }
    }

    /// A JSON object by GET.
    pub(super) async fn get_json<T: DeserializeOwned>(
        &self,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<T, UpstreamError> {
        let body = self.get(url, headers).await?;
        json_object::parse(&body).ok_or(UpstreamError::Malformed("not the JSON object that it should be"))
    }
}

/// Public hosts by https only.
impl Default for Http {
    fn default() -> Self {
        let fetcher = Fetcher::new();
        Self::new(Arc::new(move |request| {
            let fetcher = fetcher.clone();
            Box::pin(async move { fetcher.fetch(request, LIMITS).await.map_err(BoxError::from) })
        }))
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

/// An endpoint that an upstream named: https, as its issuer is. (An issuer on plain http is a test's, on this machine.)
pub(super) fn endpoint(url: String, issuer: &str) -> Result<String, UpstreamError> {
    let parsed = absolute_uri::parse(&url, PlainHttp::LoopbackOnly)
        .map_err(|_| UpstreamError::Malformed("an endpoint is not an https URL"))?;
    if parsed.scheme() != "https" && issuer.starts_with("https:") {
        return Err(UpstreamError::Malformed("an endpoint is not an https URL"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_on_https_cannot_name_an_endpoint_on_http() {
        let named = |url: &str, issuer| endpoint(url.to_owned(), issuer).is_ok();
        assert!(named("https://other.example/token", "https://a.example"));
        assert!(named("http://127.0.0.1:8080/token", "http://127.0.0.1:8080"));
        for url in [
            "http://127.0.0.1/token",
            "http://a.example/token",
            "https://u@a.example/token",
            "https://a.example/token#x",
            "file:///etc/passwd",
            "/token",
            "",
        ] {
            assert!(!named(url, "https://a.example"), "{url}");
        }
    }
}
