//! Logs: to stderr, filtered by `BMM_LOG`; every request has an id.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::header::{HeaderName, HeaderValue};
use tracing::Instrument as _;
use tracing_subscriber::EnvFilter;

/// Sets up logging. What a user must see is printed, not logged, so that the default is quiet.
pub(crate) fn init() {
    // The client library calls a server that asks for sign-in an error; to `bmm call` it is how every first call begins.
    let filter = EnvFilter::try_from_env("BMM_LOG").unwrap_or_else(|_| EnvFilter::new("warn,rmcp=off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

/// Gives a request its id, in the log and as `x-request-id`. Queries are not logged: sign-in links have their token there.
pub(crate) async fn trace_request(request: Request, next: Next) -> Response {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let id = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    let span = tracing::info_span!("request", id, method = %request.method(), path = request.uri().path());
    async move {
        let begun = Instant::now();
        let mut response = next.run(request).await;
        let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(status = response.status().as_u16(), elapsed_ms, "answered");
        response
            .headers_mut()
            .insert(HeaderName::from_static("x-request-id"), HeaderValue::from(id));
        response
    }
    .instrument(span)
    .await
}
