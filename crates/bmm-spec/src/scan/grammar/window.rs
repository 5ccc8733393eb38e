//! Looking around a token.

use super::{lexicon::Classes, tokens::Token};

/// The tokens behind one, with their places; behind `usize::MAX` stand all.
pub(super) fn behind<'t>(
    tokens: &'t [Token<'t>],
    at: usize,
    count: usize,
) -> impl Iterator<Item = (usize, &'t Token<'t>)> {
    tokens.iter().enumerate().skip(at.wrapping_add(1)).take(count)
}

/// The first token of these classes behind one.
pub(super) fn finds(tokens: &[Token<'_>], at: usize, count: usize, classes: Classes) -> Option<usize> {
    behind(tokens, at, count)
        .find(|(_, t)| t.says(classes))
        .map(|(i, _)| i)
}

/// The tokens before one.
pub(super) fn ahead_of<'t>(tokens: &'t [Token<'t>], at: usize, count: usize) -> &'t [Token<'t>] {
    tokens.get(at.saturating_sub(count)..at).unwrap_or_default()
}

/// Whether a token of these classes stands before one.
pub(super) fn before(tokens: &[Token<'_>], at: usize, count: usize, classes: Classes) -> bool {
    ahead_of(tokens, at, count).iter().any(|t| t.says(classes))
}
