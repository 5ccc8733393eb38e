//! Which path leads to which endpoint. This is the only file that routes.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::routing::{any, get, post};
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;

use super::authorization_server::AuthorizationServer;
use super::{
    authorize, callback, consent, endpoints, introspect, manage, push, register, revocations, revoke, token,
};
use crate::cors;
use crate::metadata::authorization_server_path;
use crate::metadata_service::MetadataService;

impl AuthorizationServer {
    /// All endpoints, at their paths below the issuer's, and the RFC 8414 document at its well-known path. Merge it into the
    /// application at the root of the issuer's host.
    pub fn router(&self) -> Router {
        let path = |endpoint: &str| format!("{}{endpoint}", self.config.issuer.path());
        let documents = Router::new().route_service(
            &authorization_server_path(&self.config.issuer),
            MetadataService::new(&self.metadata()),
        );
        Router::new()
            .route(
                &path(endpoints::REGISTER),
                post(register::handle).options(preflight),
            )
            .route(
                &path(&format!("{}/{{id}}", endpoints::REGISTER)),
                get(manage::handle)
                    .put(manage::handle)
                    .delete(manage::handle)
                    .options(preflight_managing),
            )
            .route(&path(endpoints::TOKEN), post(token::handle).options(preflight))
            .route(&path(endpoints::REVOKE), post(revoke::handle).options(preflight))
            .route(
                &path(endpoints::INTROSPECT),
                post(introspect::handle).options(preflight),
            )
            .route(&path(endpoints::PUSH), post(push::handle).options(preflight))
            .route(&path(endpoints::AUTHORIZE), get(authorize::handle))
            .route(&path(endpoints::CONSENT), post(consent::handle))
            .route(&path(endpoints::JWKS), any(jwks))
            .route(
                &path(&format!("{}/{{upstream}}", endpoints::CALLBACK)),
                get(callback::handle),
            )
            .route(&path(endpoints::REVOCATIONS), get(revocations::handle))
            .with_state(self.clone())
            .merge(documents)
    }
}

/// The JWK Set of this moment: keys come and go.
async fn jwks(State(server): State<AuthorizationServer>, request: Request) -> Response<Full<Bytes>> {
    MetadataService::new(&server.jwks()).respond(request.method())
}

/// The preflight of the POST endpoints that pages may call. Authorize and consent have none: no page may.
async fn preflight(State(_): State<AuthorizationServer>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    cors::public_endpoint(response.headers_mut(), "POST, OPTIONS");
    response
}

async fn preflight_managing() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    cors::public_endpoint(response.headers_mut(), "GET, PUT, DELETE, OPTIONS");
    response
}
