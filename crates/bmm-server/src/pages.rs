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
    pub(crate) lines: Vec<ClientLine>,
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
    main.push_str("</dd></dl><h3>Connect</h3>");
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
}
