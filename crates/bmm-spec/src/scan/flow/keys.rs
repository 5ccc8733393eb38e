//! Keys written into code: known formats anywhere, anything random where a credential goes.

use crate::{
    code::{Module, range},
    rule::{Confidence, Rule},
    scan::Hit,
};
use oxc_ast::{
    AstKind,
    ast::{Argument, Expression, PropertyKey},
};
use oxc_span::{GetSpan, Span};

/// Prefix, shortest rest, and what the rest is made of.
const FORMATS: &[(&str, usize, Alphabet, &str)] = &[
    ("sk-", 20, Alphabet::Word, "an API key"),
    ("sk_live_", 16, Alphabet::Word, "a Stripe key"),
    ("rk_live_", 16, Alphabet::Word, "a Stripe key"),
    ("sk_test_", 16, Alphabet::Word, "a Stripe key"),
    ("whsec_", 20, Alphabet::Base64, "a webhook secret"),
    ("ghp_", 36, Alphabet::Word, "a GitHub token"),
    ("gho_", 36, Alphabet::Word, "a GitHub token"),
    ("ghu_", 36, Alphabet::Word, "a GitHub token"),
    ("ghs_", 36, Alphabet::Word, "a GitHub token"),
    ("ghr_", 36, Alphabet::Word, "a GitHub token"),
    ("github_pat_", 40, Alphabet::Word, "a GitHub token"),
    ("glpat-", 20, Alphabet::Word, "a GitLab token"),
    ("xoxb-", 20, Alphabet::Word, "a Slack token"),
    ("xoxp-", 20, Alphabet::Word, "a Slack token"),
    ("xoxa-", 20, Alphabet::Word, "a Slack token"),
    ("xapp-", 20, Alphabet::Word, "a Slack token"),
    ("AKIA", 16, Alphabet::Upper, "an AWS key id"),
    ("ASIA", 16, Alphabet::Upper, "an AWS key id"),
    ("AIza", 35, Alphabet::Word, "a Google API key"),
    ("ya29.", 40, Alphabet::Word, "a Google token"),
    ("GOCSPX-", 20, Alphabet::Word, "a Google client secret"),
    ("npm_", 36, Alphabet::Word, "an npm token"),
    ("pypi-", 60, Alphabet::Word, "a PyPI token"),
    ("hf_", 30, Alphabet::Word, "a Hugging Face token"),
    ("dop_v1_", 60, Alphabet::Word, "a DigitalOcean token"),
    ("shpat_", 30, Alphabet::Word, "a Shopify token"),
    ("shpss_", 30, Alphabet::Word, "a Shopify secret"),
    ("sq0atp-", 20, Alphabet::Word, "a Square token"),
    ("SG.", 40, Alphabet::Dotted, "a SendGrid key"),
    ("eyJ", 60, Alphabet::Dotted, "a JSON Web Token"),
    ("AGE-SECRET-KEY-1", 50, Alphabet::Upper, "an age key"),
    ("lin_api_", 30, Alphabet::Word, "a Linear key"),
    ("secret_", 40, Alphabet::Word, "a Notion token"),
];

/// A shorter literal is no credential.
const MIN_CREDENTIAL: usize = 12;
/// No format is shorter: a test holds this against the list.
const LEAST: usize = 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Alphabet {
    Upper,
    Word,
    Base64,
    Dotted,
}

impl Alphabet {
    fn has(self, c: char) -> bool {
        match self {
            Self::Upper => c.is_ascii_uppercase() || c.is_ascii_digit(),
            Self::Word => c.is_ascii_alphanumeric() || matches!(c, '_' | '-'),
            Self::Base64 => c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '='),
            Self::Dotted => c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'),
        }
    }
}

/// Keys in the literals of a module.
pub(super) fn hardcoded(module: &Module<'_>) -> Vec<Hit> {
    let mut hits = Vec::new();
    for node in module.semantic.nodes().iter() {
        match node.kind() {
            AstKind::StringLiteral(literal) => known(literal.value.as_str(), literal.span, &mut hits),
            AstKind::TemplateElement(element) => {
                if let Some(text) = &element.value.cooked {
                    known(text.as_str(), element.span, &mut hits);
                }
            }
            AstKind::ObjectProperty(property) => {
                let name = match &property.key {
                    PropertyKey::StaticIdentifier(name) => name.name.as_str(),
                    PropertyKey::StringLiteral(name) => name.value.as_str(),
                    _ => continue,
                };
                credential(name, &property.value, &mut hits);
            }
            AstKind::CallExpression(call) => {
                if let Expression::StaticMemberExpression(callee) = &call.callee
                    && matches!(callee.property.name.as_str(), "set" | "append")
                    && let [Argument::StringLiteral(name), value] = call.arguments.as_slice()
                    && let Some(value) = value.as_expression()
                {
                    credential(name.value.as_str(), value, &mut hits);
                }
                if let Expression::StaticMemberExpression(callee) = &call.callee
                    && callee.property.name == "basicAuth"
                    && let Some(Expression::StringLiteral(password)) =
                        call.arguments.get(1).and_then(Argument::as_expression)
                    && !placeholder(password.value.as_str())
                {
                    hits.push(hit(password.span, "a password in the code", Confidence::High));
                }
            }
            AstKind::AssignmentExpression(assignment) => {
                if let Some(member) = assignment.left.as_member_expression()
                    && let Some(name) = member.static_property_name()
                {
                    credential(name, &assignment.right, &mut hits);
                }
            }
            AstKind::VariableDeclarator(declarator) => {
                if let (Some(name), Some(value)) = (declarator.id.get_identifier_name(), &declarator.init)
                    && name.as_str().len() > 3
                {
                    credential(name.as_str(), value, &mut hits);
                }
            }
            _ => {}
        }
    }
    hits.sort_by_key(|hit| (hit.span.start, hit.span.end, std::cmp::Reverse(hit.confidence)));
    hits.dedup_by(|later, first| later.span.start <= first.span.start && later.span.end <= first.span.end);
    hits
}

fn hit(span: Span, what: &str, confidence: Confidence) -> Hit {
    Hit::new(Rule::HardcodedSecret, range(span), format!("holds {what}")).with_confidence(confidence)
}

/// A literal that has the form of a key, as a whole or after `Bearer`.
fn known(text: &str, span: Span, hits: &mut Vec<Hit>) {
    if text.len() < 16 {
        return;
    }
    if text.len() > 64 && text.contains("-----BEGIN ") && text.contains("PRIVATE KEY-----") {
        hits.push(hit(span, "a private key", Confidence::High));
        return;
    }
    for word in
        text.split(|c: char| c.is_whitespace() || matches!(c, '=' | '&' | ',' | '"' | '\'' | ':' | '?'))
    {
        // Of every format prefix and rest, so most words are too short.
        if word.len() < LEAST {
            continue;
        }
        for (prefix, least, alphabet, what) in FORMATS {
            if word.as_bytes().first() != prefix.as_bytes().first() {
                continue;
            }
            let Some(rest) = word.strip_prefix(prefix) else {
                continue;
            };
            let dots = *prefix != "eyJ" || rest.matches('.').count() == 2;
            if rest.len() >= *least
                && dots
                && rest.chars().all(|c| alphabet.has(c))
                && random(rest)
                && !placeholder(rest)
            {
                hits.push(hit(span, what, Confidence::High));
                return;
            }
        }
    }
    // Each of them has a path, so most texts need no search.
    if text.contains('/') && webhook(text) {
        hits.push(hit(
            span,
            "the address of a webhook, which is a key by itself",
            Confidence::High,
        ));
    }
}

/// Addresses that anybody who knows them can post to.
fn webhook(text: &str) -> bool {
    let tail = |mark: &str| text.split_once(mark).map(|(_, tail)| tail);
    let long = |tail: &str, segments: usize| {
        let parts: Vec<&str> = tail.split('/').collect();
        parts.len() >= segments
            && parts
                .last()
                .is_some_and(|last| last.len() >= 20 && random(last) && !placeholder(last))
    };
    tail("hooks.slack.com/services/").is_some_and(|tail| long(tail, 3))
        || tail("discord.com/api/webhooks/").is_some_and(|tail| long(tail, 2))
        || tail("api.telegram.org/bot").is_some_and(|tail| {
            tail.split('/')
                .next()
                .and_then(|bot| bot.split_once(':'))
                .is_some_and(|(id, key)| {
                    !id.is_empty()
                        && id.bytes().all(|b| b.is_ascii_digit())
                        && key.len() >= 30
                        && !placeholder(key)
                })
        })
}

/// A literal under a name that says it is a credential.
fn credential(name: &str, value: &Expression<'_>, hits: &mut Vec<Hit>) {
    let text = match value.without_parentheses() {
        Expression::StringLiteral(text) => text.value.as_str(),
        Expression::TemplateLiteral(template) if template.expressions.is_empty() => template
            .quasis
            .first()
            .map_or("", |quasi| quasi.value.raw.as_str()),
        _ => return,
    };
    // Whatever its name, a shorter one is no key.
    if text.len() < MIN_CREDENTIAL {
        return;
    }
    let plain: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let header = matches!(
        plain.as_str(),
        "authorization" | "proxyauthorization" | "xapikey" | "xauthtoken" | "cookie"
    );
    let named = header
        || [
            "apikey",
            "apisecret",
            "secretkey",
            "accesstoken",
            "authtoken",
            "clientsecret",
            "password",
            "privatekey",
            "bearertoken",
        ]
        .iter()
        .any(|word| plain.ends_with(word));
    if !named {
        return;
    }
    let (scheme, key) = match text.trim().split_once(' ') {
        Some((scheme, key)) => (Some(scheme.to_ascii_lowercase()), key.trim()),
        None => (None, text.trim()),
    };
    let in_scheme = matches!(
        scheme.as_deref(),
        Some("bearer" | "basic" | "token" | "apikey" | "bot")
    );
    if scheme.is_some() && !in_scheme && !plain.ends_with("cookie") {
        return; // Words, not a key.
    }
    if key.len() >= MIN_CREDENTIAL && !placeholder(key) && (random(key) || in_scheme && key.len() >= 16) {
        let confidence = if header && (in_scheme || key.len() >= 20) {
            Confidence::High
        } else {
            Confidence::Medium
        };
        hits.push(hit(value.span(), "a credential in the code", confidence));
    }
}

/// As mixed as only chance makes it: letters and digits, many different ones.
fn random(text: &str) -> bool {
    let mut seen = [0u32; 128];
    let (mut total, mut digits, mut letters) = (0u32, 0u32, 0u32);
    for byte in text.bytes() {
        if let Some(count) = seen.get_mut(usize::from(byte)) {
            *count += 1;
            total += 1;
        }
        digits += u32::from(byte.is_ascii_digit());
        letters += u32::from(byte.is_ascii_alphabetic());
    }
    if total == 0 || digits == 0 || letters == 0 {
        return false;
    }
    let total = f64::from(total);
    let bits: f64 = seen
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / total)
        .map(|share| -share * share.log2())
        .sum();
    bits >= 3.0
}

/// What documentation puts in a key's place.
fn placeholder(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    text.is_empty()
        || [
            "example",
            "placeholder",
            "your",
            "xxxx",
            "dummy",
            "changeme",
            "redacted",
            "0000",
            "1234567890abcdef",
            "<",
            "{",
            "...",
        ]
        .iter()
        .any(|mark| lower.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::{FORMATS, LEAST};

    #[test]
    fn no_format_is_shorter_than_the_words_that_are_looked_at() {
        assert!(
            FORMATS
                .iter()
                .all(|(prefix, least, ..)| prefix.len() + least >= LEAST)
        );
    }
}
