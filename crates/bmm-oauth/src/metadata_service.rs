//! A service that answers with one JSON document that any page may read.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use tower_service::Service;

use crate::cors;

/// Answers GET with a JSON document, whatever the path and whatever else the request says; made by
/// [`RequireAuthLayer::metadata_service`](crate::RequireAuthLayer::metadata_service).
#[derive(Clone, Debug)]
pub struct MetadataService {
    document: Bytes,
}

impl MetadataService {
    pub(crate) fn new(document: &serde_json::Value) -> Self {
        Self {
            document: Bytes::from(document.to_string()),
        }
    }

    pub(crate) fn respond(&self, method: &Method) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        cors::public_endpoint(response.headers_mut(), "GET, HEAD, OPTIONS");
        match *method {
            Method::GET | Method::HEAD => {
                let headers = response.headers_mut();
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                headers.insert(
                    header::CACHE_CONTROL,
                    HeaderValue::from_static("public, max-age=300"),
                );
                if method == Method::GET {
                    *response.body_mut() = Full::new(self.document.clone());
                }
            }
            Method::OPTIONS => *response.status_mut() = StatusCode::NO_CONTENT,
            _ => {
                *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
                response
                    .headers_mut()
                    .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
            }
        }
        response
    }
}

impl<B> Service<Request<B>> for MetadataService {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.respond(request.method())))
    }
}
