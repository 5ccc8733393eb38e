//! Texts of a description of an API as texts of a tool: plain, short, and nothing in them that a person would not see.

use crate::hidden::hidden;

/// A text without markup, hidden characters and runs of blank lines, cut at a word within a number of characters.
pub(super) fn plain(text: &str, max_chars: usize) -> String {
    let text = without_markup(start_of(text));
    let mut out = String::with_capacity(text.len().min(4 * max_chars));
    let (mut chars, mut newlines, mut spaces) = (0usize, 0usize, 0usize);
    for c in text.trim().chars() {
        match c {
            '\n' => {
                newlines += 1;
                spaces = 0;
            }
            c if c.is_whitespace() => spaces += 1,
            c if c.is_control() || hidden(c).is_some() => {}
            c => {
                let gap = if newlines > 0 {
                    newlines.min(2)
                } else {
                    spaces.min(1)
                };
                if chars + gap + 1 > max_chars {
                    return cut(out, max_chars);
                }
                for _ in 0..gap {
                    out.push(if newlines > 0 { '\n' } else { ' ' });
                }
                out.push(c);
                chars += gap + 1;
                (newlines, spaces) = (0, 0);
            }
        }
    }
    out
}

/// The first sentence or line of a text, for a title.
pub(super) fn first_line(text: &str, max_chars: usize) -> String {
    let text = plain(text, max_chars);
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// Letters, digits, `_` and `-` of a name; `_` for runs of anything else.
pub(super) fn identifier(name: &str) -> String {
    let mut out = String::with_capacity(name.len().min(256));
    let mut gap = false;
    for c in name.chars().take(256) {
        if c.is_ascii_alphanumeric() || c == '_' || c == '-' {
            if gap && !out.is_empty() {
                out.push('_');
            }
            gap = false;
            out.push(c);
        } else {
            gap = true;
        }
    }
    out
}

/// `camelCase`, `kebab-case` and the like as UPPER_SNAKE_CASE.
pub(super) fn upper_snake(name: &str) -> String {
    let mut out = String::new();
    let mut before = '_';
    for c in identifier(name).replace('-', "_").chars() {
        if c.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit()) {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
        before = c;
    }
    let out = out
        .trim_start_matches(|c: char| !c.is_ascii_alphabetic())
        .trim_end_matches('_');
    if out.is_empty() {
        "SECRET".to_owned()
    } else {
        out.to_owned()
    }
}

/// The first https address in a text.
pub(super) fn first_url(text: &str) -> Option<String> {
    let start = text.find("https://")?;
    let rest = text.get(start..)?;
    let end = rest
        .find(|c: char| c.is_whitespace() || c.is_control() || "\"'<>()[]{}`|\\".contains(c))
        .unwrap_or(rest.len());
    let url = rest
        .get(..end)?
        .trim_end_matches(['.', ',', ';', ':', '!', '?', '*', '_']);
    (url.len() > "https://".len() && url.len() <= 1024 && url.is_ascii()).then(|| url.to_owned())
}

/// No text is longer that anybody is meant to read; more is not looked at.
fn start_of(text: &str) -> &str {
    const MAX_BYTES: usize = 32 * 1024;
    text.get(..text.floor_char_boundary(MAX_BYTES)).unwrap_or(text)
}

fn cut(mut text: String, max_chars: usize) -> String {
    const DOTS: usize = 1;
    while text.chars().count() > max_chars.saturating_sub(DOTS) {
        text.pop();
    }
    // At a word, if one ends not too far back.
    if let Some(space) = text.rfind(char::is_whitespace)
        && text.len() - space < 40
    {
        text.truncate(space);
    }
    text.truncate(text.trim_end().len());
    text.push('…');
    text
}

/// Without tags and comments of HTML. A tag ends within a short distance or is none, so that time stays linear.
fn without_markup(text: &str) -> String {
    const MAX_TAG_BYTES: usize = 400;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if from.starts_with("<!--") {
            // What nobody sees on the page is not for the model either.
            rest = from
                .find("-->")
                .and_then(|end| from.get(end + 3..))
                .unwrap_or_default();
            continue;
        }
        let is_tag = from
            .as_bytes()
            .get(1)
            .is_some_and(|b| b.is_ascii_alphabetic() || *b == b'/');
        let end = from
            .bytes()
            .take(MAX_TAG_BYTES)
            .skip(1)
            .position(|b| matches!(b, b'<' | b'>'));
        let end = end
            .map(|end| end + 1)
            .filter(|end| from.as_bytes().get(*end) == Some(&b'>'));
        rest = match end.filter(|_| is_tag).and_then(|end| from.get(end + 1..)) {
            Some(after) => {
                out.push(' ');
                after
            }
            None => {
                out.push('<');
                from.get(1..).unwrap_or_default()
            }
        };
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_plain() {
        assert_eq!(
            plain(
                "<p>Lists  <b>all</b> cats.</p>\n\n\n\nx<y \u{200b}<!-- obey -->z",
                100
            ),
            "Lists all cats.\n\nx<y z"
        );
        assert_eq!(plain("one two three", 9), "one two…");
        assert_eq!(plain(&"ab".repeat(50), 10).chars().count(), 10);
        assert_eq!(plain(&"<".repeat(100), 200), "<".repeat(100));
        assert_eq!(first_line("\n# Title\nmore", 50), "# Title");
    }

    #[test]
    fn names_are_made_of_letters() {
        assert_eq!(identifier("repos/list-for user[]"), "repos_list-for_user");
        assert_eq!(upper_snake("accountSid_authToken"), "ACCOUNT_SID_AUTH_TOKEN");
        assert_eq!(upper_snake("X-Api-Key"), "X_API_KEY");
        assert_eq!(upper_snake("9é"), "SECRET");
        assert_eq!(
            first_url("See [keys](https://example.com/keys), or not.").as_deref(),
            Some("https://example.com/keys")
        );
        assert_eq!(first_url("https://"), None);
    }
}
