//! The few pages that people see: plain HTML without scripts, images or anything from elsewhere.

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Response, StatusCode, header};

use super::secret::sha256;

pub(super) const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem}\
h1{font-size:1.4rem}dt{font-weight:600;margin-top:.8rem}dd{margin:0;overflow-wrap:anywhere}\
.warn{border-left:.3rem solid #c60;padding-left:.8rem}\
button{font:inherit;padding:.5rem 1.4rem;margin:1rem .6rem 0 0}\
:focus-visible{outline:.2rem solid #06c;outline-offset:.15rem}";

/// A consent page, whoever rendered it.
pub(super) fn consent(title: &str, style: &str, body: &str) -> Response<Body> {
    html(StatusCode::OK, title, style, body, "")
}

/// Tells the user that something is wrong, where no redirect can be trusted.
pub(super) fn error(status: StatusCode, what: &str) -> Response<Body> {
    let body = format!(
        "<h1>This sign-in cannot go on</h1><p>{}</p><p>Nothing has been allowed. Go back to the application and start again.</p>",
        escape_html(what),
    );
    html(status, "Sign-in failed", STYLE, &body, "; form-action 'none'")
}

/// Like [`error`], with a way back to the client for whoever wants it: `location` is a verified redirect URI with the error in it.
/// A link, since the user has not shown yet that they want anything to do with this client.
pub(super) fn error_with_way_back(what: &str, destination: &str, location: &str) -> Response<Body> {
    let body = format!(
        "<h1>This sign-in cannot go on</h1><p>The application's request cannot be granted: {}.</p>\
         <p>Nothing has been allowed. <a href=\"{}\" rel=\"noreferrer\">Go back to {}</a></p>",
        escape_html(what),
        escape_html(location),
        escape_html(destination),
    );
    html(
        StatusCode::BAD_REQUEST,
        "Sign-in failed",
        STYLE,
        &body,
        "; form-action 'none'",
    )
}

/// A page under a policy to which a page without a form adds that it has none. The consent page says nothing of forms: browsers
/// apply `form-action` to every redirect after the form, and where a client's redirect URI leads on to is not ours to know (a hosted
/// client's page that opens its application, for one). Its form is fixed, and every other text on it is escaped.
fn html(status: StatusCode, title: &str, style: &str, body: &str, form_policy: &str) -> Response<Body> {
    // Inside the element nothing but its end tag has a meaning; in CSS this is the same character. Browsers hash lines without
    // their carriage returns.
    let style = style.replace('<', "\\3c ").replace('\r', "");
    let document = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{}</title><style>{style}</style></head>\
         <body><main>{body}</main></body></html>",
        escape_html(title),
    );
    // The style is allowed by its hash, so that no other can be smuggled in.
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; frame-ancestors 'none'{form_policy}",
        STANDARD.encode(sha256(style.as_bytes())),
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

/// Text for element content and quoted attributes of HTML.
pub fn escape_html(text: &str) -> String {
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
            let escaped = escape_html(&text);
            prop_assert!(!escaped.contains(['<', '>', '"', '\'']));
            let plain = escaped.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
            prop_assert_eq!(plain.replace("&amp;", "&"), text);
        }
    }
}
