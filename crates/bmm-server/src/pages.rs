//! The HTML of the dashboard and the sign-in page: plain documents without scripts.

use std::fmt::{self, Display, Write as _};

use crate::client_lines::ClientLine;

/// A server on the dashboard.
pub(crate) struct ServerCard {
    pub(crate) slug: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) mcp_url: String,
    pub(crate) revision: i64,
    pub(crate) running: bool,
    pub(crate) tools: Vec<String>,
    pub(crate) secrets: Vec<SecretField>,
    pub(crate) lines: Vec<ClientLine>,
}

impl ServerCard {
    /// The names of the secrets that it needs and does not have.
    pub(crate) fn missing_secrets(&self) -> Vec<&str> {
        let missing = self.secrets.iter().filter(|secret| !secret.is_set);
        missing.map(|secret| secret.name.as_str()).collect()
    }
}

/// A secret that a server needs. Its value does not come near a page.
pub(crate) struct SecretField {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) how_to_get_url: Option<String>,
    pub(crate) is_set: bool,
}

/// The stylesheet of all pages.
pub(crate) const STYLE: &str = include_str!("pages.css");

/// The list of servers and how to connect to them.
pub(crate) fn dashboard(display_name: &str, servers: &[ServerCard]) -> String {
    let mut main = String::new();
    let _ = write!(
        main,
        "<header><h1>Your MCP servers</h1><form method=\"post\" action=\"/logout\">Signed in as {} \
         <button>Sign out</button></form></header>",
        Escaped(display_name)
    );
    if servers.is_empty() {
        main.push_str("<p>No server yet. Start one with <code>bmm up SPEC.json</code>.</p>");
    }
    for server in servers {
        card(&mut main, server);
    }
    page("Dashboard", &main)
}

/// The page of somebody who is not signed in. `problem` says why a link did not do.
pub(crate) fn sign_in(return_to: &str, problem: Option<&str>) -> String {
    let mut main = String::from("<h1>Sign in</h1>");
    if let Some(problem) = problem {
        let _ = write!(
            main,
            "<p role=\"alert\" class=\"problem\">{}</p>",
            Escaped(problem)
        );
    }
    let _ = write!(
        main,
        "<p>Open the sign-in link that <code>bmm up</code> printed in this browser, or paste it here. A link works once, for ten \
         minutes; <code>bmm login-link</code> prints a new one.</p>\
         <form method=\"post\" action=\"/login\"><input type=\"hidden\" name=\"return_to\" value=\"{}\">\
         <label for=\"link\">Sign-in link</label>\
         <input id=\"link\" name=\"link\" autocomplete=\"off\" spellcheck=\"false\" required autofocus>\
         <button>Sign in</button></form>",
        Escaped(return_to)
    );
    page("Sign in", &main)
}

/// A page that only says something.
pub(crate) fn message(title: &str, text: &str) -> String {
    page(
        title,
        &format!("<h1>{}</h1><p>{}</p>", Escaped(title), Escaped(text)),
    )
}

fn card(main: &mut String, server: &ServerCard) {
    let id = Escaped(&server.slug);
    let state = if server.running {
        "running"
    } else {
        "not running; see the log"
    };
    let _ = write!(
        main,
        "<section aria-labelledby=\"{id}\"><h2 id=\"{id}\">{}</h2><p>{}</p><dl><dt>MCP URL</dt><dd><code>{}</code></dd>\
         <dt>State</dt><dd>{state}</dd><dt>Tools</dt><dd>",
        Escaped(&server.name),
        Escaped(&server.description),
        Escaped(&server.mcp_url)
    );
    for (index, tool) in server.tools.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let _ = write!(main, "{comma}<code>{}</code>", Escaped(tool));
    }
    main.push_str("</dd></dl>");
    secrets(main, server);
    main.push_str("<h3>Connect</h3>");
    for line in &server.lines {
        let _ = write!(
            main,
            "<details><summary>{}</summary><p>{}</p><pre tabindex=\"0\">{}</pre></details>",
            Escaped(line.client),
            Escaped(line.place),
            Escaped(&line.text)
        );
    }
    main.push_str("</section>");
}

fn secrets(main: &mut String, server: &ServerCard) {
    if server.secrets.is_empty() {
        return;
    }
    main.push_str("<h3>Secrets</h3>");
    let missing = server.missing_secrets();
    if !missing.is_empty() {
        let _ = write!(
            main,
            "<p class=\"problem\">Not set: {}. A tool that uses it fails until it is set here.</p>",
            Escaped(&missing.join(", "))
        );
    }
    let slug = Escaped(&server.slug);
    for secret in &server.secrets {
        let name = Escaped(&secret.name);
        let state = if secret.is_set { "set" } else { "not set" };
        let _ = write!(
            main,
            "<form method=\"post\" action=\"/dashboard/{slug}/secrets/{name}\">\
             <label for=\"{slug}-{name}\"><code>{name}</code> ({state})</label><p id=\"{slug}-{name}-about\">{}",
            Escaped(&secret.description)
        );
        // Nothing else may become a link: `javascript:` is a URL as well.
        if let Some(url) = secret
            .how_to_get_url
            .as_deref()
            .filter(|url| url.starts_with("https://"))
        {
            let _ = write!(
                main,
                " <a href=\"{}\" rel=\"noreferrer\">Where to get it</a>",
                Escaped(url)
            );
        }
        let _ = write!(
            main,
            "</p><input id=\"{slug}-{name}\" name=\"value\" type=\"password\" autocomplete=\"off\" required \
             aria-describedby=\"{slug}-{name}-about\"><button>Save</button></form>"
        );
    }
}

fn page(title: &str, main: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{} · bmm</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <link rel=\"stylesheet\" href=\"/assets/bmm.css\"></head><body><main>{main}</main></body></html>",
        Escaped(title)
    )
}

/// Text that cannot become markup, in an element or in a quoted attribute.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "\"'><script>alert(1)</script>&";

    #[test]
    fn hostile_text_stays_text() {
        let card = ServerCard {
            slug: HOSTILE.to_owned(),
            name: HOSTILE.to_owned(),
            description: HOSTILE.to_owned(),
            mcp_url: HOSTILE.to_owned(),
            revision: 1,
            running: true,
            tools: vec![HOSTILE.to_owned()],
            secrets: vec![SecretField {
                name: HOSTILE.to_owned(),
                description: HOSTILE.to_owned(),
                how_to_get_url: Some(format!("https://{HOSTILE}")),
                is_set: false,
            }],
            lines: vec![ClientLine {
                client: "c",
                place: "p",
                text: HOSTILE.to_owned(),
            }],
        };
        for html in [
            dashboard(HOSTILE, &[card]),
            sign_in(HOSTILE, Some(HOSTILE)),
            message(HOSTILE, HOSTILE),
        ] {
            assert!(!html.contains("<script"), "{html}");
            assert!(!html.contains("\"'>"), "{html}");
        }
    }

    #[test]
    fn only_https_becomes_a_link() {
        for (url, is_link) in [
            ("https://example.com/keys", true),
            ("javascript:alert(1)", false),
            ("http://example.com/", false),
        ] {
            let mut main = String::new();
            let card = ServerCard {
                slug: "a".to_owned(),
                name: "A".to_owned(),
                description: "A.".to_owned(),
                mcp_url: "https://example.com/a/mcp".to_owned(),
                revision: 1,
                running: true,
                tools: Vec::new(),
                secrets: vec![SecretField {
                    name: "KEY".to_owned(),
                    description: "A key.".to_owned(),
                    how_to_get_url: Some(url.to_owned()),
                    is_set: true,
                }],
                lines: Vec::new(),
            };
            secrets(&mut main, &card);
            assert_eq!(main.contains("<a href"), is_link, "{main}");
        }
    }
}
