//! A browser for scripts, as small as a consent page allows: one origin, its cookies, redirects and one form.

use std::collections::BTreeMap;
use std::time::Duration;

use http::header::{COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use url::{Origin, Url};

use super::error::ClientError;

const MAX_REDIRECTS: usize = 10;
const MAX_PAGE_BYTES: usize = 1024 * 1024;
const MAX_COOKIES: usize = 32;

/// Signs in with a link, asks for authorization, consents; returns the URL of the redirect to `redirect_uri`, which is
/// not requested.
pub(super) async fn sign_in(
    sign_in_url: &str,
    authorize_url: &str,
    redirect_uri: &str,
) -> Result<String, ClientError> {
    let sign_in_url =
        Url::parse(sign_in_url).map_err(|_| ClientError::sign_in("the sign-in link is not a URL"))?;
    let mut browser = Browser::new(sign_in_url.origin(), redirect_uri)?;
    match browser.follow(Request::get(sign_in_url)).await? {
        Arrived::Page { status, .. } if status < 400 => {}
        Arrived::Page { .. } => {
            return Err(ClientError::sign_in(
                "the sign-in link was not accepted; it may have been used already",
            ));
        }
        Arrived::Callback(_) => {
            return Err(ClientError::sign_in(
                "the sign-in link leads to the client itself",
            ));
        }
    }
    let authorize_url = Url::parse(authorize_url)
        .map_err(|_| ClientError::sign_in("the authorization address is not a URL"))?;
    let (page, at) = match browser.follow(Request::get(authorize_url)).await? {
        // Consent was given before.
        Arrived::Callback(url) => return Ok(url),
        Arrived::Page { status, body, at } if status < 400 => (body, at),
        Arrived::Page { status, .. } => {
            return Err(ClientError::sign_in(format!(
                "the authorization page answered {status}"
            )));
        }
    };
    let form = Form::approving(&page)
        .ok_or_else(|| ClientError::sign_in("there is no consent form on the authorization page"))?;
    let action = at
        .join(&form.action)
        .map_err(|_| ClientError::sign_in("the consent form leads nowhere"))?;
    match browser
        .follow(Request {
            url: action,
            form: Some(form.fields),
        })
        .await?
    {
        Arrived::Callback(url) => Ok(url),
        Arrived::Page { status, .. } => Err(ClientError::sign_in(format!(
            "the consent was answered with {status} and no redirect"
        ))),
    }
}

struct Request {
    url: Url,
    /// The fields of a form, to be posted.
    form: Option<Vec<(String, String)>>,
}

impl Request {
    fn get(url: Url) -> Self {
        Self { url, form: None }
    }
}

enum Arrived {
    Page { status: u16, body: String, at: Url },
    Callback(String),
}

struct Browser {
    http: reqwest::Client,
    origin: Origin,
    redirect_uri: String,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    fn new(origin: Origin, redirect_uri: &str) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(30))
            .build()
            .map_err(|_| ClientError::sign_in("no HTTP client"))?;
        Ok(Self {
            http,
            origin,
            redirect_uri: redirect_uri.to_owned(),
            cookies: BTreeMap::new(),
        })
    }

    async fn follow(&mut self, mut request: Request) -> Result<Arrived, ClientError> {
        for _ in 0..MAX_REDIRECTS {
            // The session's cookie must not be seen anywhere else.
            if request.url.origin() != self.origin {
                return Err(ClientError::sign_in(format!(
                    "the sign-in leads to {}, which is not where the link came from",
                    request.url.origin().ascii_serialization()
                )));
            }
            let response = self.send(&request).await?;
            self.keep_cookies(response.headers());
            let status = response.status();
            let location = response
                .headers()
                .get(LOCATION)
                .and_then(|location| location.to_str().ok());
            if !status.is_redirection() || location.is_none() {
                let at = request.url;
                return Ok(Arrived::Page {
                    status: status.as_u16(),
                    body: page(response).await?,
                    at,
                });
            }
            let next = request
                .url
                .join(location.unwrap_or_default())
                .map_err(|_| ClientError::sign_in("a redirect leads nowhere"))?;
            if is_callback(&next, &self.redirect_uri) {
                return Ok(Arrived::Callback(next.into()));
            }
            let form = if matches!(status.as_u16(), 307 | 308) {
                request.form
            } else {
                None
            };
            request = Request { url: next, form };
        }
        Err(ClientError::sign_in("the sign-in redirects without end"))
    }

    async fn send(&self, request: &Request) -> Result<reqwest::Response, ClientError> {
        let mut builder = match &request.form {
            Some(fields) => {
                let body = url::form_urlencoded::Serializer::new(String::new())
                    .extend_pairs(fields)
                    .finish();
                self.http
                    .post(request.url.clone())
                    .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .header(ORIGIN, self.origin.ascii_serialization())
                    .body(body)
            }
            None => self.http.get(request.url.clone()),
        };
        if !self.cookies.is_empty() {
            let cookies: Vec<_> = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            builder = builder.header(COOKIE, cookies.join("; "));
        }
        // The error would name the URL, and the URL may be a credential.
        builder
            .send()
            .await
            .map_err(|error| ClientError::sign_in(error.without_url()))
    }

    /// One origin, a few seconds: of a cookie's attributes only its end matters.
    fn keep_cookies(&mut self, headers: &http::HeaderMap) {
        for cookie in headers
            .get_all(SET_COOKIE)
            .iter()
            .filter_map(|cookie| cookie.to_str().ok())
        {
            let mut parts = cookie.split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
                continue;
            };
            let ended = parts.any(|attribute| attribute.eq_ignore_ascii_case("max-age=0"));
            if ended {
                self.cookies.remove(name);
            } else if self.cookies.len() < MAX_COOKIES || self.cookies.contains_key(name) {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

async fn page(mut response: reqwest::Response) -> Result<String, ClientError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| ClientError::sign_in(error.without_url()))?
    {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_PAGE_BYTES {
            return Err(ClientError::sign_in("a page of the sign-in is too large"));
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn is_callback(url: &Url, redirect_uri: &str) -> bool {
    Url::parse(redirect_uri)
        .is_ok_and(|expected| url.origin() == expected.origin() && url.path() == expected.path())
}

/// A form as pressing its approving button submits it.
#[derive(Debug, PartialEq)]
struct Form {
    action: String,
    fields: Vec<(String, String)>,
}

impl Form {
    /// The first posted form with a button that approves.
    fn approving(html: &str) -> Option<Self> {
        let mut rest = html;
        while let Some((_, from)) = split_tag(rest, "form") {
            let (attributes, after) = attributes(from);
            let inside = after.split("</form").next().unwrap_or_default();
            rest = after;
            let method = attributes.get("method").map(|method| method.to_ascii_lowercase());
            if method.as_deref() != Some("post") {
                continue;
            }
            let action = attributes.get("action").cloned().unwrap_or_default();
            if let Some(fields) = fields(inside) {
                return Some(Self { action, fields });
            }
        }
        None
    }
}

/// Hidden fields, ticked boxes and the approving button; nothing if there is no such button.
fn fields(form: &str) -> Option<Vec<(String, String)>> {
    let mut fields = Vec::new();
    let mut rest = form;
    while let Some((_, from)) = split_tag(rest, "input") {
        let (input, after) = attributes(from);
        rest = after;
        let kind = input.get("type").map(String::as_str).unwrap_or("text");
        let sent = match kind {
            "hidden" | "text" => true,
            "checkbox" | "radio" => input.contains_key("checked"),
            _ => false,
        };
        if let (true, Some(name)) = (sent, input.get("name")) {
            let default = if kind == "checkbox" { "on" } else { "" };
            let value = input.get("value").cloned().unwrap_or_else(|| default.to_owned());
            fields.push((name.clone(), value));
        }
    }
    let mut rest = form;
    while let Some((_, from)) = split_tag(rest, "button") {
        let (button, after) = attributes(from);
        let text = after
            .split("</button")
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        rest = after;
        let value = button.get("value").cloned().unwrap_or_default();
        let says = |word| value.eq_ignore_ascii_case(word) || text.contains(word);
        if says("approve") || says("allow") {
            if let Some(name) = button.get("name") {
                fields.push((name.clone(), value));
            }
            return Some(fields);
        }
    }
    None
}

fn split_tag<'a>(html: &'a str, tag: &str) -> Option<(&'a str, &'a str)> {
    let open = format!("<{tag}");
    html.match_indices(&open)
        .map(|(at, _)| (html.get(..at), html.get(at + open.len()..)))
        .find_map(|(before, after)| {
            let (before, after) = (before?, after?);
            after
                .starts_with(|c: char| c.is_whitespace() || c == '>' || c == '/')
                .then_some((before, after))
        })
}

/// The attributes of a tag whose name has just ended, and what follows the tag.
fn attributes(mut rest: &str) -> (BTreeMap<String, String>, &str) {
    let mut found = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        if rest.is_empty() {
            return (found, rest);
        }
        if let Some(after) = rest.strip_prefix('>') {
            return (found, after);
        }
        let end = rest
            .find(|c: char| c.is_whitespace() || matches!(c, '=' | '>' | '/'))
            .unwrap_or(rest.len());
        let (name, after) = rest.split_at(end.max(1).min(rest.len()));
        rest = after;
        let mut value = String::new();
        if let Some(after) = rest.trim_start().strip_prefix('=') {
            let after = after.trim_start();
            let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''));
            let (raw, left) = match quote {
                Some(quote) => {
                    let inside = after.get(1..).unwrap_or_default();
                    inside.split_once(quote).unwrap_or((inside, ""))
                }
                None => {
                    let end = after
                        .find(|c: char| c.is_whitespace() || c == '>')
                        .unwrap_or(after.len());
                    after.split_at(end)
                }
            };
            value = unescaped(raw);
            rest = left;
        }
        found.insert(name.to_ascii_lowercase(), value);
    }
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, from)) = rest.split_once('&') {
        out.push_str(before);
        let entity = from.split_once(';').filter(|(name, _)| name.len() <= 8);
        let decoded = entity.and_then(|(name, after)| {
            let c = match name {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                _ => {
                    let number = name.strip_prefix('#')?;
                    let code = match number.strip_prefix(['x', 'X']) {
                        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                        None => number.parse().ok()?,
                    };
                    char::from_u32(code)?
                }
            };
            Some((c, after))
        });
        match decoded {
            Some((c, after)) => {
                out.push(c);
                rest = after;
            }
            None => {
                out.push('&');
                rest = from;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_with_the_approving_button_is_submitted() {
        let page = r#"<form method="get" action="/search"><input name=q></form>
            <form method="post" action="/oauth/consent?a=1&amp;b=2">
              <input type="hidden" name="csrf" value="a&quot;b&#x27;c">
              <input type=checkbox name=scope value=mcp:read checked><input type=checkbox name=scope value=more>
              <button name="decision" value="deny">Deny</button>
              <button name="decision" value="approve">Allow access</button></form>"#;
        let form = Form::approving(page).unwrap();
        assert_eq!(form.action, "/oauth/consent?a=1&b=2");
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            form.fields,
            [
                pair("csrf", "a\"b'c"),
                pair("scope", "mcp:read"),
                pair("decision", "approve")
            ]
        );
    }

    #[test]
    fn a_page_without_a_consent_form_has_none() {
        assert_eq!(
            Form::approving("<form method=post action=/x><button>Deny</button></form>"),
            None
        );
        assert_eq!(Form::approving("<p>hello"), None);
    }

    #[test]
    fn broken_html_ends() {
        for html in [
            "<form",
            "<form method=post <<<",
            "<form method='post",
            "<form =",
            "<form a=\"",
            "<form></form><form /",
        ] {
            let _ = Form::approving(html);
        }
    }
}
