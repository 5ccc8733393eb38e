//! Sets of scopes as RFC 6749 section 3.3 writes them.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Most scopes in one set, and most bytes of its text.
const MAX_SCOPES: usize = 64;
const MAX_BYTES: usize = 4096;

/// A set of scopes. Its text is space-delimited and sorted; parsing refuses what is not a `scope-token`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scopes(BTreeSet<String>);

/// The text is not a list of at most 64 scopes made of printable ASCII without `"` and `\`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a space-delimited list of scopes (RFC 6749 section 3.3)")]
pub struct ScopeError;

impl Scopes {
    /// The empty set.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A set of the given scopes, each checked.
    pub fn new<I: IntoIterator<Item = S>, S: Into<String>>(scopes: I) -> Result<Self, ScopeError> {
        let scopes: BTreeSet<String> = scopes.into_iter().map(Into::into).collect();
        let bytes: usize = scopes.iter().map(|scope| scope.len() + 1).sum();
        let fits = scopes.len() <= MAX_SCOPES && bytes <= MAX_BYTES;
        if fits && scopes.iter().all(|scope| is_scope_token(scope)) {
            Ok(Self(scopes))
        } else {
            Err(ScopeError)
        }
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `scope` is in the set.
    pub fn contains(&self, scope: &str) -> bool {
        self.0.contains(scope)
    }

    /// Whether every scope of `required` is in this set.
    pub fn covers(&self, required: &Self) -> bool {
        required.0.is_subset(&self.0)
    }

    /// What is in both sets.
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    /// What is in either set.
    pub fn union(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).cloned().collect())
    }

    /// This set without `scope`.
    pub(crate) fn without(mut self, scope: &str) -> Self {
        self.0.remove(scope);
        self
    }

    /// The scopes in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl FromStr for Scopes {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        if text.len() > MAX_BYTES {
            return Err(ScopeError);
        }
        Self::new(text.split(' ').filter(|scope| !scope.is_empty()))
    }
}

impl TryFrom<String> for Scopes {
    type Error = ScopeError;

    fn try_from(text: String) -> Result<Self, ScopeError> {
        text.parse()
    }
}

impl From<Scopes> for String {
    fn from(scopes: Scopes) -> Self {
        scopes.to_string()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope)?;
        }
        Ok(())
    }
}

fn is_scope_token(scope: &str) -> bool {
    !scope.is_empty()
        && scope
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}
