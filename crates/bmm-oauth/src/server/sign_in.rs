//! Who the user is.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use http::request::Parts;

use super::upstream::{Upstream, UpstreamUser};
use crate::verifier::{BoxError, BoxFuture, Subject};

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

/// How users sign in: at the host, which has sessions of its own, or at upstreams, each time an application asks for access.
#[derive(Clone)]
pub struct SignIn {
    pub(super) way: Way,
}

#[derive(Clone)]
pub(super) enum Way {
    Session(Arc<dyn Session>),
    Upstreams(Upstreams),
}

/// The upstreams of a server, by their names.
#[derive(Clone)]
pub(super) struct Upstreams {
    list: Arc<[Arc<dyn Upstream>]>,
    on_arrival: Option<OnArrival>,
}

/// A user who has just signed in at an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Arrival {
    /// What tokens will say (`sub`): made of the upstream's issuer and [`UpstreamUser::id`].
    pub subject: Subject,
    /// The name of the upstream.
    pub upstream: String,
    /// The user as the upstream knows them.
    pub user: UpstreamUser,
}

/// What a host does when somebody signs in, such as making an account.
pub type OnArrival = Arc<dyn Fn(Arrival) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync>;

/// A list of upstreams that cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignInError {
    /// Not one.
    #[error("there is no upstream to sign in with")]
    NoUpstream,
    /// More than sixteen.
    #[error("there are more than {MAX_UPSTREAMS} upstreams")]
    TooMany,
    /// Not 1 to 32 lower-case letters, digits and dashes.
    #[error("the upstream name {0:?} is not 1 to 32 lower-case letters, digits and dashes")]
    Name(String),
    /// Two of one name: their callbacks could not be told apart.
    #[error("two upstreams are named {0:?}; give one of them another name")]
    SameName(String),
}

/// More would not fit on a page.
const MAX_UPSTREAMS: usize = 16;

impl SignIn {
    /// Users sign in at the host, which keeps a session of its own.
    pub fn session(session: Arc<dyn Session>) -> Self {
        Self {
            way: Way::Session(session),
        }
    }

    /// Users sign in at one of these, after they have said on our page what the application may do. Register
    /// `<issuer>/oauth/callback/<name>` as the redirect URI at each. For several kinds in one list, make each an
    /// `Arc<dyn Upstream>`.
    pub fn upstreams<U: Upstream>(upstreams: impl IntoIterator<Item = U>) -> Result<Self, SignInError> {
        let list: Vec<Arc<dyn Upstream>> = upstreams
            .into_iter()
            .take(MAX_UPSTREAMS + 1)
            .map(|upstream| Arc::new(upstream) as Arc<dyn Upstream>)
            .collect();
        match list.len() {
            0 => return Err(SignInError::NoUpstream),
            1..=MAX_UPSTREAMS => {}
            _ => return Err(SignInError::TooMany),
        }
        let mut names = HashSet::new();
        for name in list.iter().map(|upstream| upstream.name()) {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if name.is_empty() || name.len() > 32 || !name.bytes().all(plain) {
                return Err(SignInError::Name(name.to_owned()));
            }
            if !names.insert(name) {
                return Err(SignInError::SameName(name.to_owned()));
            }
        }
        Ok(Self {
            way: Way::Upstreams(Upstreams {
                list: list.into(),
                on_arrival: None,
            }),
        })
    }

    /// Tells the host of every user who signs in at an upstream, before [`Resources`](super::Resources) is asked what they may use.
    /// If it fails, so does the sign-in, for the time being. A host with sessions of its own knows already and hears nothing.
    pub fn with_arrivals(mut self, on_arrival: OnArrival) -> Self {
        if let Way::Upstreams(upstreams) = &mut self.way {
            upstreams.on_arrival = Some(on_arrival);
        }
        self
    }

    pub(super) async fn arrived(&self, arrival: Arrival) -> Result<(), BoxError> {
        match &self.way {
            Way::Upstreams(Upstreams {
                on_arrival: Some(tell),
                ..
            }) => tell(arrival).await,
            _ => Ok(()),
        }
    }

    /// The upstream of this name, if users sign in at upstreams and this is one.
    pub(super) fn upstream(&self, name: &str) -> Option<&Arc<dyn Upstream>> {
        match &self.way {
            Way::Session(_) => None,
            Way::Upstreams(upstreams) => upstreams.iter().find(|upstream| upstream.name() == name),
        }
    }
}

impl SignIn {
    /// Names and display names, for a page; none if the host signs users in.
    pub(super) fn upstreams_by_name(&self) -> Vec<(&str, &str)> {
        match &self.way {
            Way::Session(_) => Vec::new(),
            Way::Upstreams(upstreams) => upstreams
                .iter()
                .map(|upstream| (upstream.name(), upstream.display_name()))
                .collect(),
        }
    }
}

impl Upstreams {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<dyn Upstream>> {
        self.list.iter()
    }
}

impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            Way::Session(_) => f.write_str("SignIn::session"),
            Way::Upstreams(upstreams) => {
                let names = upstreams.iter().map(|upstream| upstream.name());
                f.debug_set().entries(names).finish()
            }
        }
    }
}
