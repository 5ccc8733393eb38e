//! `unsafe` has one home.

use crate::sources::{crates, rust_files, tokens};

const HOME: &str = "bmm-cage";

#[test]
fn unsafe_code_is_in_bmm_cage_alone() {
    let mut found = Vec::new();
    for package in crates().into_iter().filter(|package| package.name != HOME) {
        for file in rust_files(&package.folder) {
            let tokens = tokens(&std::fs::read_to_string(&file).expect("a readable source"));
            let allows = |words: &[String]| {
                matches!(words[0].as_str(), "allow" | "expect" | "warn")
                    && words[1] == "("
                    && words[2] == "unsafe_code"
            };
            if tokens.iter().any(|token| token == "unsafe") || tokens.windows(3).any(allows) {
                found.push(file);
            }
        }
    }
    assert!(found.is_empty(), "unsafe outside {HOME}: {found:?}");
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
