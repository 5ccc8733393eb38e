//! The few pages that people see: plain HTML without scripts, images or anything from elsewhere.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Response, StatusCode, header};

use super::redirect::Target;
use super::secret::sha256;
use super::store::AuthorizationRequest;

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem}\
h1{font-size:1.4rem}dt{font-weight:600;margin-top:.8rem}dd{margin:0;overflow-wrap:anywhere}\
.warn{border-left:.3rem solid #c60;padding-left:.8rem}\
button{font:inherit;padding:.5rem 1.4rem;margin:1rem .6rem 0 0}";

/// The style is allowed by its hash, so that no other can be smuggled in.
static STYLE_SOURCE: LazyLock<String> =
    LazyLock::new(|| format!("'sha256-{}'", STANDARD.encode(sha256(STYLE.as_bytes()))));

/// What the consent page shows.
pub(super) struct Consent<'a> {
    pub(super) service: &'a str,
    pub(super) user: &'a str,
    pub(super) client: &'a str,
    pub(super) target: &'a Target,
    pub(super) resource_name: &'a str,
    pub(super) request: &'a AuthorizationRequest,
    /// Path of the form, and its single-use handle.
    pub(super) action: &'a str,
    pub(super) handle: &'a str,
}

/// Asks the user. Whatever a client or a host wrote is escaped.
pub(super) fn consent(page: &Consent<'_>) -> Response<Body> {
    let (client, redirect) = (escape(page.client), escape(&destination(page.target)));
    let mut scopes = String::new();
    for scope in page.request.scopes.iter() {
        let _ = write!(scopes, "<li><code>{}</code></li>", escape(scope));
    }
    let scopes = if scopes.is_empty() {
        "nothing beyond being recognised".to_owned()
    } else {
        format!("<ul>{scopes}</ul>")
    };
    let body = format!(
        "<h1>Allow “{client}” to use {resource_name}?</h1>\
         <p>You are signed in to {service} as <strong>{user}</strong>. An application asks to act for you. Its name is its own \
         claim; nobody has checked it.</p>\
         <dl><dt>Application</dt><dd>{client}</dd>\
         <dt>Your answer is sent to</dt><dd><strong>{redirect}</strong></dd>\
         <dt>It wants to use</dt><dd>{resource_name}<br><code>{resource}</code></dd>\
         <dt>It may</dt><dd>{scopes}</dd></dl>\
         {warning}\
         <form method=\"post\" action=\"{action}\">\
         <input type=\"hidden\" name=\"handle\" value=\"{handle}\">\
         <button type=\"submit\" name=\"decision\" value=\"allow\">Allow</button>\
         <button type=\"submit\" name=\"decision\" value=\"deny\">Deny</button></form>",
        resource_name = escape(page.resource_name),
        service = escape(page.service),
        user = escape(page.user),
        resource = escape(page.request.resource.as_str()),
        warning = warning(page.target),
        action = escape(page.action),
        handle = escape(page.handle),
    );
    html(StatusCode::OK, "Allow access?", &body, "")
}

/// Tells the user that something is wrong, where no redirect can be trusted.
pub(super) fn error(status: StatusCode, what: &str) -> Response<Body> {
    let body = format!(
        "<h1>This sign-in cannot go on</h1><p>{}</p><p>Nothing has been allowed. Go back to the application and start again.</p>",
        escape(what),
    );
    html(status, "Sign-in failed", &body, "; form-action 'none'")
}

/// A page under a policy to which a page without a form adds that it has none. The consent page says nothing of forms: browsers
/// apply `form-action` to every redirect after the form, and where a client's redirect URI leads on to is not ours to know (a hosted
/// client's page that opens its application, for one). Its form is fixed, and every other text on it is escaped.
fn html(status: StatusCode, title: &str, body: &str, form_policy: &str) -> Response<Body> {
    let document = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{}</title><style>{STYLE}</style></head>\
         <body><main>{body}</main></body></html>",
        escape(title),
    );
    let policy = format!(
        "default-src 'none'; style-src {}; base-uri 'none'; frame-ancestors 'none'{form_policy}",
        *STYLE_SOURCE,
    );
    let mut response = Response::new(Body::from(document));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let policy = HeaderValue::from_str(&policy).expect("the policy is printable ASCII");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    // Not `no-referrer`: with it browsers send `Origin: null` with the form (Fetch, "append a request Origin header"), and the consent
    // endpoint could not tell its own page from a stranger's. To other origins both send nothing.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

fn destination(target: &Target) -> String {
    match target {
        Target::Https { host } => host.clone(),
        Target::Loopback { host } => format!("{host} (this computer)"),
        Target::PrivateScheme { scheme } => {
            format!("the application on this computer that opens {scheme}: links")
        }
    }
}

fn warning(target: &Target) -> &'static str {
    match target {
        Target::Https { .. } => "",
        Target::Loopback { .. } | Target::PrivateScheme { .. } => {
            "<p class=\"warn\" role=\"note\"><strong>Any program on this computer can pretend to be this application.</strong> \
             Allow only if you have just started the sign-in yourself.</p>"
        }
    }
}

/// Text for element content and quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn escaped_text_opens_no_tag_and_leaves_no_attribute(text in "\\PC{0,60}") {
            let escaped = escape(&text);
            prop_assert!(!escaped.contains(['<', '>', '"', '\'']));
            let plain = escaped.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
            prop_assert_eq!(plain.replace("&amp;", "&"), text);
        }
    }
}
