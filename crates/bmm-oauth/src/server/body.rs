//! Request bodies, bounded and of one media type.

use axum::extract::Request;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::wire::{ErrorCode, OAuthError};

/// A request's body, if it is no larger than `max` bytes.
pub(super) async fn read_body(request: Request, max: usize) -> Result<Vec<u8>, OAuthError> {
    match Limited::new(request.into_body(), max).collect().await {
        Ok(body) => Ok(body.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => Err(OAuthError::new(
            ErrorCode::InvalidRequest,
            format!("the body is larger than {max} bytes"),
        )
        .with_status(StatusCode::PAYLOAD_TOO_LARGE)),
        Err(_) => Err(OAuthError::new(
            ErrorCode::InvalidRequest,
            "the body could not be read",
        )),
    }
}

/// Whether the body's media type is `expected`, whatever its parameters.
pub(super) fn has_content_type(headers: &http::HeaderMap, expected: &str) -> bool {
    let value = headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case(expected)
}
