//! What stands behind an error of the client: a challenge to answer, or the end.

use rmcp::service::ServiceError;
use rmcp::transport::auth::AuthError;
use rmcp::transport::streamable_http_client::{AuthRequiredError, InsufficientScopeError};

use super::error::ClientError;

/// What the server said no with.
pub(super) enum Refused {
    /// Sign in (again), with these scopes if any are named.
    Challenge {
        header: String,
        scopes: Vec<String>,
    },
    Error(ClientError),
}

impl Refused {
    pub(super) fn of(error: ServiceError) -> Self {
        match error {
            ServiceError::TransportSend(error) => Self::of_source(error.error.as_ref()),
            ServiceError::McpError(error) => Self::Error(ClientError::Server {
                code: error.code.0,
                message: error.message.into_owned(),
            }),
            other => Self::Error(ClientError::Connection {
                message: other.to_string(),
            }),
        }
    }

    pub(super) fn of_source(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut cause = Some(error);
        let mut text = error.to_string();
        while let Some(error) = cause {
            if let Some(challenge) = error.downcast_ref::<AuthRequiredError>() {
                return Self::Challenge {
                    header: challenge.www_authenticate_header.clone(),
                    scopes: Vec::new(),
                };
            }
            if let Some(challenge) = error.downcast_ref::<InsufficientScopeError>() {
                let scopes = challenge.get_required_scope().unwrap_or_default();
                return Self::Challenge {
                    header: challenge.www_authenticate_header.clone(),
                    scopes: scopes.split_whitespace().map(str::to_owned).collect(),
                };
            }
            if matches!(
                error.downcast_ref::<AuthError>(),
                Some(AuthError::AuthorizationRequired)
            ) {
                return Self::Challenge {
                    header: String::new(),
                    scopes: Vec::new(),
                };
            }
            text = error.to_string();
            cause = error.source();
        }
        Self::Error(ClientError::Connection { message: text })
    }

    pub(super) fn into_error(self) -> ClientError {
        match self {
            Self::Challenge { .. } => ClientError::StillRefused,
            Self::Error(error) => error,
        }
    }
}
