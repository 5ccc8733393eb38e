//! Which path leads to which endpoint. This is the only file that routes.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::{get, post};
use http::{Response, StatusCode};

use super::authorization_server::AuthorizationServer;
use super::{authorize, consent, metadata, register, token};
use crate::cors;
use crate::metadata::authorization_server_path;
use crate::metadata_service::MetadataService;

impl AuthorizationServer {
    /// All endpoints, at their paths below the issuer's, and the RFC 8414 document at its well-known path. Merge it into the
    /// application at the root of the issuer's host.
    pub fn router(&self) -> Router {
        let path = |endpoint: &str| format!("{}{endpoint}", self.config.issuer.path());
        let documents = Router::new()
            .route_service(
                &authorization_server_path(&self.config.issuer),
                MetadataService::new(&self.metadata()),
            )
            .route_service(&path(metadata::JWKS), MetadataService::new(&self.jwks()));
        Router::new()
            .route(
                &path(metadata::REGISTER),
                post(register::handle).options(preflight),
            )
            .route(&path(metadata::TOKEN), post(token::handle).options(preflight))
            .route(&path(metadata::AUTHORIZE), get(authorize::handle))
            .route(&path(metadata::CONSENT), post(consent::handle))
            .with_state(self.clone())
            .merge(documents)
    }
}

/// The preflight of the POST endpoints that pages may call. Authorize and consent have none: no page may.
async fn preflight(State(_): State<AuthorizationServer>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    cors::public_endpoint(response.headers_mut(), "POST, OPTIONS");
    response
}
