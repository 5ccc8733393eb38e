//! Parameters of a query or of a form body, read strictly and within bounds.

use std::collections::HashSet;

/// Most bytes of a query or form, and most parameters in it.
pub(crate) const MAX_FORM_BYTES: usize = 16 * 1024;
const MAX_PARAMETERS: usize = 64;

/// Decoded `application/x-www-form-urlencoded` pairs.
#[derive(Debug)]
pub(crate) struct Parameters(Vec<(String, String)>);

/// Why parameters cannot be read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormError {
    #[error("the request is larger than 16 KiB or has more than 64 parameters")]
    TooLarge,
    #[error("the request is not valid UTF-8, or contains a NUL character")]
    Encoding,
}

/// A parameter that came twice (RFC 6749 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Duplicated;

impl Parameters {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, FormError> {
        if bytes.len() > MAX_FORM_BYTES {
            return Err(FormError::TooLarge);
        }
        let pairs: Vec<(String, String)> = form_urlencoded::parse(bytes)
            .take(MAX_PARAMETERS + 1)
            .map(|(k, v)| (k.into_owned(), v.into_owned()))
            .collect();
        if pairs.len() > MAX_PARAMETERS {
            return Err(FormError::TooLarge);
        }
        // The decoder replaces what is not UTF-8; nobody sends the replacement character on purpose.
        let odd = |text: &str| text.contains(['\0', '\u{fffd}']);
        if pairs.iter().any(|(name, value)| odd(name) || odd(value)) {
            return Err(FormError::Encoding);
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter; an empty one counts as absent (RFC 6749 section 3.1).
    pub(crate) fn get(&self, name: &str) -> Result<Option<&str>, Duplicated> {
        let mut values = self
            .0
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, value)| value.as_str());
        let first = values.next();
        if values.next().is_some() {
            Err(Duplicated)
        } else {
            Ok(first.filter(|value| !value.is_empty()))
        }
    }

    /// The parameters in their encoded form, but for those of these names.
    pub(crate) fn without(&self, names: &[&str]) -> String {
        let kept = self.0.iter().filter(|(name, _)| !names.contains(&name.as_str()));
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(kept)
            .finish()
    }

    /// The same with one more parameter, in place of any of its name.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut all: Vec<_> = self
            .0
            .iter()
            .filter(|(found, _)| found != name)
            .cloned()
            .collect();
        all.push((name.to_owned(), value.to_owned()));
        Self(all)
    }

    /// All values of the one parameter that may be repeated, `resource` (RFC 8707 section 2).
    pub(crate) fn resources(&self) -> Vec<&str> {
        self.0
            .iter()
            .filter(|(name, value)| name == "resource" && !value.is_empty())
            .map(|(_, v)| v.as_str())
            .collect()
    }

    /// The name of some parameter that came twice.
    pub(crate) fn duplicated(&self) -> Option<&str> {
        let mut seen = HashSet::new();
        self.0
            .iter()
            .map(|(name, _)| name.as_str())
            .find(|name| *name != "resource" && !seen.insert(*name))
    }
}
