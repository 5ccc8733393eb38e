//! Why there is no answer.

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Not an http or https URL.
    #[error("the server's address must be an http or https URL")]
    Url,
    /// Arguments that are not an object.
    #[error("the arguments must be a JSON object")]
    Arguments,
    /// No connection, or it broke.
    #[error("cannot talk to the server: {message}")]
    Connection {
        /// The innermost reason.
        message: String,
    },
    /// The server answered with an error of the protocol.
    #[error("the server refused ({code}): {message}")]
    Server {
        /// The JSON-RPC code.
        code: i32,
        /// Its text.
        message: String,
    },
    /// What the server lists cannot be read to its end.
    #[error("cannot list what the server offers: {message}")]
    Listing {
        /// What is wrong.
        message: String,
    },
    /// Discovery, registration, sign-in or token did not work.
    #[error("cannot sign in: {message}")]
    SignIn {
        /// What went wrong.
        message: String,
    },
    /// The token that was just obtained is not accepted.
    #[error("the server does not accept the token that its authorization server has just issued")]
    StillRefused,
    /// The credentials file cannot be used.
    #[error("the credentials file {path}: {message}")]
    Credentials {
        /// Where it is.
        path: String,
        /// What is wrong.
        message: String,
    },
}

impl ClientError {
    pub(super) fn sign_in(reason: impl ToString) -> Self {
        Self::SignIn {
            message: reason.to_string(),
        }
    }
}
