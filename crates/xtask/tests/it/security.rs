//! SECURITY.md promises tests; here they are looked for.

use std::path::Path;

use crate::sources::rust_files;

#[test]
fn every_test_that_security_md_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("SECURITY.md")).expect("SECURITY.md is there");
    let sources: String = rust_files(&root.join("crates"))
        .into_iter()
        .map(|file| std::fs::read_to_string(file).expect("a readable source"))
        .collect();
    let named: Vec<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|text| is_test_name(text))
        .collect();
    assert!(named.len() > 50, "SECURITY.md names only {} tests", named.len());

    let defined =
        |name: &str| sources.contains(&format!("fn {name}(")) || sources.contains(&format!("\"{name}\""));
    let missing: Vec<&str> = named.into_iter().filter(|name| !defined(name)).collect();
    assert!(
        missing.is_empty(),
        "SECURITY.md names tests that do not exist: {missing:#?}"
    );
}

/// A claim has at least three words.
fn is_test_name(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    text.bytes().all(word) && text.matches('_').count() >= 2
}
