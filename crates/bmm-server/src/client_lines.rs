//! Ready-to-paste lines that connect the common MCP clients to a server.

use serde_json::json;

/// One client and what its user pastes where.
pub(crate) struct ClientLine {
    pub(crate) client: &'static str,
    pub(crate) place: &'static str,
    pub(crate) text: String,
}

/// The lines for one server. `example` is a call that works, tool and input.
pub(crate) fn client_lines(slug: &str, mcp_url: &str, example: Option<(&str, &str)>) -> Vec<ClientLine> {
    let (url, name) = (quote(mcp_url), quote(slug));
    let call = match example {
        Some((tool, input)) => format!("{} call {url} {} {}", own_command(), quote(tool), quote(input)),
        None => format!("{} call {url}", own_command()),
    };
    let config = |entry: serde_json::Value| {
        let mut servers = serde_json::Map::new();
        servers.insert(slug.to_owned(), entry);
        json!({ "mcpServers": servers }).to_string()
    };
    let line = |client, place, text| ClientLine { client, place, text };
    vec![
        line("bmm", "terminal", call),
        line(
            "Claude Code",
            "terminal",
            format!("claude mcp add --transport http {name} {url}"),
        ),
        line("Cursor", "~/.cursor/mcp.json", config(json!({ "url": mcp_url }))),
        line(
            "VS Code",
            "terminal",
            format!(
                "code --add-mcp {}",
                quote(&json!({ "name": slug, "type": "http", "url": mcp_url }).to_string())
            ),
        ),
        line(
            "Claude Desktop (mcp-remote)",
            "claude_desktop_config.json",
            config(json!({ "command": "npx", "args": ["-y", "mcp-remote", mcp_url] })),
        ),
        line(
            "Codex",
            "terminal",
            format!("codex mcp add {name} --url {url} && codex mcp login {name}"),
        ),
    ]
}

/// How to start this program again from where it was started: `bmm`, or `target/release/bmm` under `cargo run`.
pub(crate) fn own_command() -> String {
    let path = std::env::args().next().filter(|path| path.contains('/'));
    quote(path.as_deref().unwrap_or("bmm"))
}

/// A word of a POSIX shell, quoted if it needs to be.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_shell_as_they_are() {
        assert_eq!(
            quote("http://127.0.0.1:4000/demo/mcp"),
            "http://127.0.0.1:4000/demo/mcp"
        );
        assert_eq!(quote(r#"{"a":"it's"}"#), r#"'{"a":"it'\''s"}'"#);
        assert_eq!(quote(""), "''");
        assert_eq!(quote("$(x)"), "'$(x)'");
    }
}
