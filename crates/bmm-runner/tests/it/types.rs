//! The types that authors get (`bmm.d.ts`), before the real TypeScript compiler.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Trial;

pub(crate) fn cases() -> Vec<Trial> {
    let parts = ["BMM_TEST_NODE", "BMM_TEST_NODE_MODULES"].map(std::env::var_os);
    let is_missing = parts.iter().any(Option::is_none);
    let trial = Trial::test(
        "types::the_types_for_authors_fit_the_engine_and_the_examples",
        move || {
            let [node, modules] = parts.map(|part| part.expect("not ignored"));
            the_types_for_authors_fit_the_engine_and_the_examples(&node, Path::new(&modules));
            Ok(())
        },
    );
    // needs Node 22: cargo xtask test
    vec![trial.with_ignored_flag(is_missing)]
}

fn the_types_for_authors_fit_the_engine_and_the_examples(node: &OsString, modules: &Path) {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("a folder");
    // Every global that the scanner lets code name has a type.
    let globals = folder.path().join("globals.ts");
    let named: String = bmm_spec::OFFERED_GLOBALS
        .iter()
        // Newer than the library that authors are told to compile with.
        .filter(|name| !["Float16Array", "Iterator"].contains(name))
        .map(|name| format!("void {name};\n"))
        .collect();
    std::fs::write(&globals, format!("export {{}};\n{named}")).expect("written");

    let mut files = vec![ours.join("bmm.d.ts"), ours.join("tests/types/uses.ts"), globals];
    let mut examples = below(&ours.join("../../examples/specs/src"))
        .into_iter()
        .flat_map(|folder| below(&folder));
    files.extend(examples.by_ref());
    assert!(files.len() > 10, "{files:?}");
    let compiled = Command::new(node)
        .arg(modules.join("typescript/lib/tsc.js"))
        .args([
            "--noEmit", "--strict", "--pretty", "false", "--target", "ES2024", "--lib", "ES2024", "--module",
            "ESNext",
        ])
        .args(["--moduleDetection", "force", "--typeRoots", "."])
        .args(&files)
        .current_dir(folder.path())
        .output()
        .expect("the compiler runs");
    let said = String::from_utf8_lossy(&compiled.stdout);
    assert!(
        compiled.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}
