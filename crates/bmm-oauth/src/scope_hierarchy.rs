//! Scopes that include others. MCP wants them accounted for when a token's scopes are compared with what is needed.

use std::collections::HashMap;

use crate::scope::{ScopeError, Scopes};

/// Which scopes include which: `files:write` may include `files:read`. Inclusion goes on through what is included.
///
/// ```
/// use bmm_oauth::{ScopeHierarchy, Scopes};
/// let hierarchy = ScopeHierarchy::new([("admin", ["files:write"]), ("files:write", ["files:read"])])?;
/// assert!(hierarchy.covers(&Scopes::new(["admin"])?, &Scopes::new(["files:read"])?));
/// # Ok::<(), bmm_oauth::ScopeError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ScopeHierarchy(HashMap<String, Scopes>);

impl ScopeHierarchy {
    /// A hierarchy of these inclusions.
    pub fn new<I, S, J, T>(inclusions: I) -> Result<Self, ScopeError>
    where
        I: IntoIterator<Item = (S, J)>,
        S: Into<String>,
        J: IntoIterator<Item = T>,
        T: Into<String>,
    {
        let inclusions = inclusions
            .into_iter()
            .map(|(scope, included)| Ok((scope.into(), Scopes::new(included)?)));
        Ok(Self(inclusions.collect::<Result<_, _>>()?))
    }

    /// Whether `granted`, with all that it includes, has every scope of `needed`.
    pub fn covers(&self, granted: &Scopes, needed: &Scopes) -> bool {
        granted.covers(needed)
            || needed
                .iter()
                .all(|scope| granted.iter().any(|holder| self.includes(holder, scope)))
    }

    fn includes(&self, holder: &str, wanted: &str) -> bool {
        let (mut found, mut next) = (vec![holder], 0);
        // Each scope is looked at once, so that a circle ends.
        while let Some(scope) = found.get(next).copied() {
            if scope == wanted {
                return true;
            }
            for included in self.0.get(scope).into_iter().flat_map(Scopes::iter) {
                if !found.contains(&included) {
                    found.push(included);
                }
            }
            next += 1;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inclusion_goes_down_only_and_a_circle_ends() {
        let hierarchy =
            ScopeHierarchy::new([("a", ["b"]), ("b", ["c"]), ("c", ["a"]), ("x", ["y"])]).unwrap();
        let covers = |granted: &[&str], needed: &[&str]| {
            hierarchy.covers(
                &Scopes::new(granted.iter().copied()).unwrap(),
                &Scopes::new(needed.iter().copied()).unwrap(),
            )
        };
        assert!(covers(&["b"], &["a", "b", "c"]));
        assert!(covers(&["a", "x"], &["c", "y"]));
        assert!(!covers(&["y"], &["x"]));
        assert!(!covers(&["a"], &["c", "y"]));
        assert!(covers(&[], &[]));
    }
}
