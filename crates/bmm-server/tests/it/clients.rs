//! Real clients go from a bare MCP URL to a call after a refresh. How each of them walks is in `tests/clients`.

use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use crate::bmm::{Place, Up};
use crate::node::{Drivers, executable, part, run};

const SLUG: &str = "demo";
const TOOL: &str = "text_stats";
const INPUT: &str = r#"{"text":"one two three"}"#;

/// What a driver saw.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    protocol: Option<String>,
    tools: Vec<String>,
    result: String,
    result_after_refresh: String,
    access_token_changed: bool,
    refresh_token_rotated: bool,
    consents: u32,
    /// Every request of the client: "METHOD path status".
    exchanges: Vec<String>,
}

impl Seen {
    fn by(driver: &mut Command) -> Self {
        let output = run(driver);
        serde_json::from_slice(&output.stdout).expect("a driver prints JSON")
    }

    fn assert_walked_to_a_refresh(&self, server: &Up) {
        assert!(
            self.tools.iter().any(|tool| tool == TOOL),
            "{TOOL} is not listed: {:?}",
            self.tools
        );
        let statistics: Value = serde_json::from_str(&self.result).expect("the tool's text is JSON");
        assert_eq!(statistics["words"], 3, "{statistics}");
        assert_eq!(self.result, self.result_after_refresh);
        assert_eq!(self.consents, 1, "a refresh asks nobody");
        assert!(
            self.access_token_changed,
            "the access token is the same after the refresh"
        );
        assert!(
            self.refresh_token_rotated,
            "the refresh token is the same after the refresh"
        );

        let url = server.mcp_url(SLUG);
        let mcp = server.path_of(&url);
        let steps = [
            format!("{mcp} 401"),
            format!("GET /.well-known/oauth-protected-resource{mcp} 200"),
            "GET /.well-known/oauth-authorization-server 200".to_owned(),
            "POST /oauth/register 201".to_owned(),
            "POST /oauth/token 200".to_owned(),
            format!("POST {mcp} 200"),
            "POST /oauth/token 200".to_owned(),
            format!("POST {mcp} 200"),
        ];
        let mut exchanges = self.exchanges.iter();
        for step in &steps {
            let taken = exchanges.any(|exchange| exchange.ends_with(step.as_str()));
            assert!(
                taken,
                "{step} is missing, or not in its place: {:#?}",
                self.exchanges
            );
        }
        let registrations = self
            .exchanges
            .iter()
            .filter(|exchange| exchange.contains("/oauth/register"))
            .count();
        assert_eq!(registrations, 1, "{:#?}", self.exchanges);
    }
}

#[test]
#[ignore = "needs Node 22: cargo xtask test"]
fn the_typescript_sdk_v1_walks_to_a_refresh() {
    let (place, drivers) = (Place::new(), Drivers::new());
    let server = place.up(&[]);
    let seen = Seen::by(&mut javascript(&drivers, "typescript-v1.js", &server));
    assert_eq!(seen.protocol.as_deref(), Some("2025-11-25"));
    seen.assert_walked_to_a_refresh(&server);
}

#[test]
#[ignore = "needs Node 22: cargo xtask test"]
fn the_typescript_sdk_v2_walks_to_a_refresh_in_the_stateless_era() {
    let (place, drivers) = (Place::new(), Drivers::new());
    let server = place.up(&[]);
    let seen = Seen::by(&mut javascript(&drivers, "typescript-v2.js", &server));
    assert_eq!(seen.protocol.as_deref(), Some("2026-07-28"));
    seen.assert_walked_to_a_refresh(&server);
}

#[test]
#[ignore = "needs Node 22: cargo xtask test"]
fn mcp_remote_walks_to_a_refresh() {
    let (place, drivers) = (Place::new(), Drivers::new());
    let server = place.up(&[]);
    let seen = Seen::by(&mut javascript(&drivers, "mcp-remote.js", &server));
    seen.assert_walked_to_a_refresh(&server);
}

#[test]
#[ignore = "needs Python 3.10 and Node 22: cargo xtask test"]
fn the_python_sdk_walks_to_a_refresh_in_the_stateless_era() {
    let (place, drivers) = (Place::new(), Drivers::new());
    let server = place.up(&[]);
    let mut python = Command::new(part("BMM_TEST_PYTHON"));
    python.arg(drivers.path("python_sdk.py")).args(arguments(&server));
    python.arg(executable()).arg(drivers.path("browser.js"));
    let seen = Seen::by(&mut python);
    assert_eq!(seen.protocol.as_deref(), Some("2026-07-28"));
    seen.assert_walked_to_a_refresh(&server);
}

fn javascript(drivers: &Drivers, driver: &str, server: &Up) -> Command {
    let mut node = drivers.node(driver);
    node.args(arguments(server));
    node
}

fn arguments(server: &Up) -> [String; 4] {
    [
        server.mcp_url(SLUG),
        server.sign_in_url().to_owned(),
        TOOL.to_owned(),
        INPUT.to_owned(),
    ]
}
