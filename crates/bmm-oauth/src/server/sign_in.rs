//! Who the user is.

use std::fmt;
use std::sync::Arc;

use http::request::Parts;

use crate::verifier::{BoxFuture, Subject};

/// A signed-in user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// What tokens will say (`sub`).
    pub subject: Subject,
    /// What the consent page says.
    pub display_name: String,
}

/// The host's own sign-in.
pub trait Session: Send + Sync + 'static {
    /// The user whose session this request carries (in a cookie), if any.
    fn current<'a>(&'a self, request: &'a Parts) -> BoxFuture<'a, Option<User>>;

    /// Where to send a browser to sign in. `return_to` is a path of this host with its query, to come back to; it needs encoding if
    /// it becomes a parameter.
    fn sign_in_url(&self, return_to: &str) -> String;
}

/// How users sign in.
#[derive(Clone)]
pub struct SignIn {
    pub(crate) session: Arc<dyn Session>,
}

impl SignIn {
    /// Users sign in at the host, which keeps a session of its own.
    pub fn session(session: Arc<dyn Session>) -> Self {
        Self { session }
    }
}

impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignIn::session")
    }
}
