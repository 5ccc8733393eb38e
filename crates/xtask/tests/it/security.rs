//! SECURITY.md and the feature table of bmm-oauth promise tests; here they are looked for.

use std::path::{Path, PathBuf};

use crate::sources::rust_files;

#[test]
fn every_test_that_security_md_names_exists() {
    assert_tests_exist("SECURITY.md", 50);
}

#[test]
fn every_test_that_the_feature_table_names_exists() {
    assert_tests_exist("crates/bmm-oauth/README.md", 25);
}

/// A cell that claims something names what backs it.
#[test]
fn every_feature_that_is_claimed_names_a_test() {
    let page = std::fs::read_to_string(root().join("crates/bmm-oauth/README.md")).expect("the page is there");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let claimed = |row: &&Vec<&str>| row.len() == 11 && row[0] != "feature" && !row[9].starts_with('–');
    let claimed: Vec<_> = rows.iter().filter(claimed).collect();
    assert!(claimed.len() > 20, "only {} features found", claimed.len());
    for row in claimed {
        assert!(tests_named(row[10]).count() > 0, "{:?} names no test", row[0]);
    }
}

fn assert_tests_exist(page: &str, at_least: usize) {
    let text = std::fs::read_to_string(root().join(page)).expect("the page is there");
    let sources: String = rust_files(&root().join("crates"))
        .into_iter()
        .map(|file| std::fs::read_to_string(file).expect("a readable source"))
        .collect();
    let named: Vec<&str> = tests_named(&text).collect();
    assert!(named.len() > at_least, "{page} names only {} tests", named.len());

    let defined =
        |name: &str| sources.contains(&format!("fn {name}(")) || sources.contains(&format!("\"{name}\""));
    let missing: Vec<&str> = named.into_iter().filter(|name| !defined(name)).collect();
    assert!(
        missing.is_empty(),
        "{page} names tests that do not exist: {missing:#?}"
    );
}

fn tests_named(text: &str) -> impl Iterator<Item = &str> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|text| is_test_name(text))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A claim has at least three words.
fn is_test_name(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    text.bytes().all(word) && text.matches('_').count() >= 2
}
