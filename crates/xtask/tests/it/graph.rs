//! Who may depend on whom. ARCHITECTURE.md draws the same picture; the two change together.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// Every library and binary of ours, and which of ours it may depend on.
const EDGES: &[(&str, &[&str])] = &[
    ("bmm-vault", &[]),
    ("bmm-net", &[]),
    ("bmm-cage", &[]),
    ("bmm-spec", &["bmm-net"]),
    ("bmm-oauth", &["bmm-net", "bmm-vault"]),
    ("bmm-deploy", &["bmm-net", "bmm-cage"]),
    ("bmm-runner", &["bmm-spec", "bmm-oauth", "bmm-net", "bmm-cage"]),
    ("bmm-server", LIBRARIES),
    ("bmm-examples", LIBRARIES),
    ("bmm-benches", LIBRARIES),
    ("xtask", &[]),
];

const LIBRARIES: &[&str] = &[
    "bmm-vault",
    "bmm-net",
    "bmm-cage",
    "bmm-spec",
    "bmm-oauth",
    "bmm-deploy",
    "bmm-runner",
];

/// Edges that exist only while a feature of the dependent crate is on.
const OPTIONAL: &[(&str, &str)] = &[
    ("bmm-oauth", "bmm-vault"),
    ("bmm-oauth", "axum"),
    ("bmm-oauth", "sqlx"),
    ("bmm-vault", "cryptoki"),
    ("bmm-vault", "sqlx"),
];

/// Features of ours that a crate of ours must not turn on: (dependent, dependency, feature).
const WITHOUT: &[(&str, &str, &str)] = &[
    ("bmm-spec", "bmm-net", "dial"),
    ("bmm-oauth", "bmm-net", "dial"),
    ("bmm-runner", "bmm-oauth", "server"),
];

/// Heavy dependencies: a name (`*` stands for any ending) and the crates that may have it, development dependencies included.
const OWNERS: &[(&str, &[&str])] = &[
    ("bollard", &["bmm-deploy"]),
    ("rmcp", &["bmm-runner"]),
    ("rquickjs*", &["bmm-runner"]),
    ("oxc*", &["bmm-spec"]),
    ("aes-gcm", &["bmm-vault"]),
    ("cryptoki", &["bmm-vault"]),
    ("jsonwebtoken", &["bmm-oauth"]),
    ("seccompiler", &["bmm-cage"]),
    ("landlock", &["bmm-cage"]),
    ("libc", &["bmm-cage"]),
    ("nix", &["bmm-cage"]),
    ("sqlx*", &["bmm-oauth", "bmm-vault", "bmm-server"]),
];

/// Development dependencies on a heavy crate, where a test plays the other side: (package, dependency).
const TEST_PEERS: &[(&str, &str)] = &[("bmm-server", "rmcp")];

#[test]
fn every_edge_between_our_crates_is_one_of_the_design() {
    for package in packages() {
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == package.name) else {
            panic!(
                "{} is new: say in EDGES and in ARCHITECTURE.md what it may depend on",
                package.name
            );
        };
        for edge in package.edges.iter().filter(|edge| edge.is_ours) {
            assert!(
                allowed.contains(&edge.to.as_str()),
                "{} must not depend on {}",
                package.name,
                edge.to
            );
        }
    }
}

#[test]
fn optional_edges_and_features_stay_off_by_default() {
    for package in packages() {
        for edge in package.edges.iter().filter(|edge| !edge.is_dev) {
            let optional = OPTIONAL.contains(&(&package.name, &edge.to));
            assert!(
                !optional || edge.is_optional,
                "{}: {} belongs behind a feature",
                package.name,
                edge.to
            );
            for (_, _, feature) in WITHOUT
                .iter()
                .filter(|(from, to, _)| (*from, *to) == (&package.name, &edge.to))
            {
                let on = edge.features.iter().any(|on| on == feature);
                assert!(!on, "{} must not turn on {}/{feature}", package.name, edge.to);
            }
        }
    }
}

#[test]
fn a_heavy_dependency_has_one_owner() {
    for package in packages() {
        for edge in &package.edges {
            let owners = OWNERS
                .iter()
                .find(|(pattern, _)| match pattern.strip_suffix('*') {
                    Some(prefix) => edge.to.starts_with(prefix),
                    None => edge.to == *pattern,
                });
            let Some((_, owners)) = owners else { continue };
            let peer = edge.is_dev && TEST_PEERS.contains(&(&package.name, &edge.to));
            let owner = owners.contains(&package.name.as_str());
            assert!(
                owner || peer,
                "{} depends on {}, which belongs to {owners:?}",
                package.name,
                edge.to
            );
        }
    }
}

struct Package {
    name: String,
    edges: Vec<Edge>,
}

struct Edge {
    to: String,
    is_ours: bool,
    is_dev: bool,
    is_optional: bool,
    features: Vec<String>,
}

fn packages() -> Vec<Package> {
    let packages = metadata();
    let packages = packages["packages"]
        .as_array()
        .expect("cargo metadata lists packages");
    assert!(
        packages.len() >= EDGES.len(),
        "cargo metadata lists {} packages",
        packages.len()
    );
    packages.iter().map(package).collect()
}

fn package(value: &Value) -> Package {
    let edges = value["dependencies"]
        .as_array()
        .expect("a package lists its dependencies");
    Package {
        name: text(&value["name"]),
        edges: edges.iter().map(edge).collect(),
    }
}

fn edge(value: &Value) -> Edge {
    let features = value["features"]
        .as_array()
        .expect("a dependency lists its features");
    Edge {
        to: text(&value["name"]),
        is_ours: value["path"].is_string(),
        is_dev: value["kind"] == "dev",
        is_optional: value["optional"] == true,
        features: features.iter().map(text).collect(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

fn metadata() -> Value {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(root)
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}
