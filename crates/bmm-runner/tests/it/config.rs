//! The configuration that a host hands over.

use bmm_runner::{ConfigError, RunnerConfig, Secrets};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::support::*;

pub(crate) fn cases() -> Vec<Trial> {
    vec![
        case("a_configuration_survives_the_way", round_trip),
        case("a_configuration_shows_no_secret", no_secret),
        case("another_version_or_an_unknown_field_is_refused", refused),
    ]
}

fn config() -> RunnerConfig {
    let spec = spec(json!([tool("echo")]), json!({}));
    RunnerConfig::new(spec, PUBLIC_URL.parse().unwrap(), ISSUER.parse().unwrap())
        .with_secrets(Secrets::from_iter([("API_KEY", "tell-nobody")]))
}

async fn round_trip() {
    let read = RunnerConfig::from_bytes(&config().to_bytes().unwrap()).unwrap();
    assert_eq!(read.public_url.as_str(), PUBLIC_URL);
    assert_eq!(read.spec.verify_digest(), Ok(()));
    assert_eq!(read.secrets.names().collect::<Vec<_>>(), ["API_KEY"]);
    assert!(read.scopes.contains("mcp:read"));
}

async fn no_secret() {
    let shown = format!("{:?}", config());
    assert!(
        !shown.contains("tell-nobody") && shown.contains("API_KEY"),
        "{shown}"
    );
    // A parser would quote the wrong value.
    let mut wrong: Value = serde_json::from_slice(&config().to_bytes().unwrap()).unwrap();
    wrong["limits"] = json!("tell-nobody");
    let error = RunnerConfig::from_bytes(wrong.to_string().as_bytes()).unwrap_err();
    assert!(
        matches!(error, ConfigError::Invalid { .. }) && !error.to_string().contains("tell-nobody"),
        "{error}"
    );
}

async fn refused() {
    let mut other: Value = serde_json::from_slice(&config().to_bytes().unwrap()).unwrap();
    other["version"] = json!(2);
    assert_eq!(
        RunnerConfig::from_bytes(other.to_string().as_bytes()).unwrap_err(),
        ConfigError::Version { found: 2 }
    );
    other["version"] = json!(1);
    other["more"] = json!(1);
    assert!(RunnerConfig::from_bytes(other.to_string().as_bytes()).is_err());
    assert_eq!(
        RunnerConfig::from_bytes(b"{").unwrap_err(),
        ConfigError::Unreadable
    );
}
