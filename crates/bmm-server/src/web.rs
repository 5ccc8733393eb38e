//! The server's own pages and API, as opposed to OAuth and the servers it hosts.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Form, Path, Query, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, SET_COOKIE};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use url::Url;
use zeroize::Zeroizing;

use crate::browser_guard::{self, HostGuard};
use crate::db::DbError;
use crate::deploy::{Deploys, SetSecretError};
use crate::pages;
use crate::secrets::{SecretError, SecretValue};
use crate::session::{Sessions, own_path};

/// A secret is the largest thing anybody sends here: three times its bound, percent-encoded, and some more.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct WebState {
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) deploys: Arc<Deploys>,
}

/// `/`, `/login`, `/logout`, `/dashboard/…`, `/api/servers`, `/assets/bmm.css` and `/health`.
pub(crate) fn router(state: WebState, guard: Arc<HostGuard>) -> Router {
    Router::new()
        .route("/", get(dashboard))
        .route("/login", get(login_page).post(login))
        .route("/logout", post(logout))
        .route("/dashboard/{slug}/secrets/{name}", post(set_secret))
        .route("/api/servers", get(api_servers))
        .layer(middleware::from_fn(browser_guard::page_headers))
        .layer(middleware::from_fn_with_state(
            guard,
            browser_guard::refuse_foreign_origin,
        ))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .route("/assets/bmm.css", get(style))
        .route("/health", get(async || Json(json!({ "status": "ok" }))))
        .with_state(state)
}

async fn dashboard(State(state): State<WebState>, headers: HeaderMap) -> Result<Response, WebError> {
    let Some(user) = state.sessions.user(&headers).await? else {
        return Ok(Redirect::to("/login").into_response());
    };
    let cards = state.deploys.cards(&user).await?;
    Ok(Html(pages::dashboard(&user.display_name, &cards)).into_response())
}

#[derive(Deserialize)]
struct LoginQuery {
    token: Option<String>,
    return_to: Option<String>,
}

async fn login_page(
    State(state): State<WebState>,
    method: Method,
    headers: HeaderMap,
    Query(query): Query<LoginQuery>,
) -> Result<Response, WebError> {
    let return_to = own_path(query.return_to.as_deref().unwrap_or("/"));
    // Link previews and prefetching must not use the link up.
    let opened = method == Method::GET && !headers.contains_key("sec-purpose");
    match query.token {
        Some(token) if opened => redeem(&state, &token, &headers, &return_to).await,
        _ if state.sessions.user(&headers).await?.is_some() => Ok(Redirect::to(&return_to).into_response()),
        _ => Ok(Html(pages::sign_in(&return_to, None)).into_response()),
    }
}

#[derive(Deserialize)]
struct LoginForm {
    link: String,
    #[serde(default)]
    return_to: String,
}

async fn login(
    State(state): State<WebState>,
    headers: HeaderMap,
    Form(form): Form<LoginForm>,
) -> Result<Response, WebError> {
    let return_to = own_path(&form.return_to);
    redeem(&state, &token_of(form.link.trim()), &headers, &return_to).await
}

async fn redeem(
    state: &WebState,
    token: &str,
    headers: &HeaderMap,
    return_to: &str,
) -> Result<Response, WebError> {
    match state.sessions.redeem(token, headers).await? {
        Some(cookie) => Ok(([(SET_COOKIE, cookie)], Redirect::to(return_to)).into_response()),
        None => {
            let problem = "This link was used already, is older than ten minutes, or is not one of ours.";
            Ok((
                StatusCode::FORBIDDEN,
                Html(pages::sign_in(return_to, Some(problem))),
            )
                .into_response())
        }
    }
}

async fn logout(State(state): State<WebState>, headers: HeaderMap) -> Result<Response, WebError> {
    let cookie = state.sessions.sign_out(&headers).await?;
    Ok(([(SET_COOKIE, cookie)], Redirect::to("/login")).into_response())
}

#[derive(Deserialize)]
struct SecretForm {
    value: String,
}

async fn set_secret(
    State(state): State<WebState>,
    headers: HeaderMap,
    Path((slug, name)): Path<(String, String)>,
    Form(form): Form<SecretForm>,
) -> Result<Response, WebError> {
    let value = SecretValue::new(Zeroizing::new(form.value));
    let Some(user) = state.sessions.user(&headers).await? else {
        return Ok(Redirect::to("/login").into_response());
    };
    let set = match value {
        Ok(value) => state.deploys.set_secret(&user, &slug, &name, &value).await,
        Err(error) => Err(error.into()),
    };
    let Err(error) = set else {
        return Ok(Redirect::to(&format!("/#{slug}")).into_response());
    };
    let status = match &error {
        SetSecretError::Refused(SecretError::NoServer(_) | SecretError::NoSecret { .. }) => {
            StatusCode::NOT_FOUND
        }
        SetSecretError::Refused(SecretError::Empty | SecretError::TooLarge) => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        SetSecretError::NotInUse(_) => StatusCode::BAD_GATEWAY,
        SetSecretError::Refused(_) => return Err(anyhow::Error::new(error).into()),
    };
    let title = match &error {
        SetSecretError::Refused(_) => "The secret was not set",
        SetSecretError::NotInUse(_) => "The secret is not in use",
    };
    let text = pages::message(title, &error.to_string());
    Ok((status, Html(text)).into_response())
}

async fn api_servers(State(state): State<WebState>, headers: HeaderMap) -> Result<Response, WebError> {
    let Some(user) = state.sessions.user(&headers).await? else {
        let body = json!({ "error": "unauthorized", "message": "sign in first" });
        return Ok((StatusCode::UNAUTHORIZED, Json(body)).into_response());
    };
    let cards = state.deploys.cards(&user).await?;
    let servers: Vec<_> = cards
        .iter()
        .map(|card| {
            json!({
                "slug": card.slug,
                "name": card.name,
                "description": card.description,
                "mcp_url": card.mcp_url,
                "revision": card.revision,
                "running": card.running,
                "tools": card.tools,
            })
        })
        .collect();
    Ok(Json(json!({ "servers": servers })).into_response())
}

async fn style() -> Response {
    let headers = [
        (CONTENT_TYPE, "text/css; charset=utf-8"),
        (CACHE_CONTROL, "public, max-age=3600"),
    ];
    (headers, pages::STYLE).into_response()
}

/// The token of a pasted link, or the pasted text itself.
fn token_of(pasted: &str) -> String {
    let in_link = Url::parse(pasted).ok().and_then(|url| {
        url.query_pairs()
            .find_map(|(name, value)| (name == "token").then(|| value.into_owned()))
    });
    in_link.unwrap_or_else(|| pasted.to_owned())
}

/// Something inside went wrong; what exactly is for the log.
struct WebError(anyhow::Error);

impl From<DbError> for WebError {
    fn from(error: DbError) -> Self {
        Self(error.into())
    }
}

impl From<anyhow::Error> for WebError {
    fn from(error: anyhow::Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for WebError {
    fn into_response(self) -> Response {
        tracing::error!(error = format!("{:#}", self.0), "a request failed");
        let text = pages::message("Something went wrong", "The server's log says what.");
        (StatusCode::INTERNAL_SERVER_ERROR, Html(text)).into_response()
    }
}
