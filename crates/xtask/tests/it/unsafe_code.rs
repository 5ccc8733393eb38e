//! `unsafe` has one home, and one guest.

use std::path::Path;

use crate::sources::{crates, rust_files, tokens};

const HOME: &str = "bmm-cage";
/// Loads bytecode, which the engine believes; ARCHITECTURE.md says why it may.
const GUEST: &str = "crates/bmm-runner/src/engine/bytecode.rs";

#[test]
fn unsafe_code_is_in_bmm_cage_alone_but_for_one_block() {
    let mut found = Vec::new();
    let mut of_the_guest = None;
    for package in crates().into_iter().filter(|package| package.name != HOME) {
        for file in rust_files(&package.folder) {
            let counts = counts(&file);
            if file.ends_with(GUEST) {
                of_the_guest = Some(counts);
            } else if counts != (0, 0) {
                found.push(file);
            }
        }
    }
    assert!(found.is_empty(), "unsafe outside {HOME}: {found:?}");
    assert_eq!(
        of_the_guest,
        Some((1, 1)),
        "{GUEST} has one unsafe block and one permission for it"
    );
}

/// How often a file says `unsafe`, and how often it lifts the lint.
fn counts(file: &Path) -> (usize, usize) {
    let tokens = tokens(&std::fs::read_to_string(file).expect("a readable source"));
    let lifts = |words: &&[String]| {
        matches!(words[0].as_str(), "allow" | "expect" | "warn")
            && words[1] == "("
            && words[2] == "unsafe_code"
    };
    (
        tokens.iter().filter(|token| *token == "unsafe").count(),
        tokens.windows(3).filter(lifts).count(),
    )
}

#[test]
fn every_package_takes_the_lints_of_the_workspace() {
    for package in crates() {
        let manifest =
            std::fs::read_to_string(package.folder.join("Cargo.toml")).expect("a readable manifest");
        let takes = manifest
            .split("[lints]")
            .nth(1)
            .is_some_and(|rest| rest.trim_start().starts_with("workspace = true"));
        assert!(takes, "{} has no [lints] workspace = true", package.name);
    }
}
