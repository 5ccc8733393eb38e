//! The Rust sources of the workspace, cut into words and marks: enough to find names and paths, without comments and literals.

use std::path::{Path, PathBuf};

/// A crate's folder below `crates/`, or `examples` or `benches`.
pub(crate) struct Crate {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
}

/// Every package of the workspace.
pub(crate) fn crates() -> Vec<Crate> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut folders: Vec<PathBuf> = entries(&root.join("crates"));
    folders.extend([root.join("examples"), root.join("benches")]);
    folders.retain(|folder| folder.join("Cargo.toml").exists());
    assert!(folders.len() > 3, "only {} packages found", folders.len());
    let name = |folder: &Path| {
        folder
            .file_name()
            .expect("a folder has a name")
            .to_string_lossy()
            .into_owned()
    };
    folders
        .into_iter()
        .map(|folder| Crate {
            name: name(&folder),
            folder,
        })
        .collect()
}

/// Every Rust file below a folder.
pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in entries(folder) {
        if entry.is_dir() {
            files.extend(rust_files(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            files.push(entry);
        }
    }
    files
}

/// Words (names, keywords, numbers), `::`, and every other mark by itself. Comments, strings and characters are left out.
pub(crate) fn tokens(source: &str) -> Vec<String> {
    let text: Vec<char> = source.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let here = text[at];
        if here.is_whitespace() {
            at += 1;
        } else if starts(&text, at, "//") {
            at = find(&text, at, "\n");
        } else if starts(&text, at, "/*") {
            at = after_block_comment(&text, at);
        } else if let Some(end) = after_literal(&text, at) {
            at = end;
        } else if here.is_alphanumeric() || here == '_' {
            let end = (at..text.len())
                .find(|&i| !is_word(text[i]))
                .unwrap_or(text.len());
            tokens.push(text[at..end].iter().collect());
            at = end;
        } else if starts(&text, at, "::") {
            tokens.push("::".to_owned());
            at += 2;
        } else {
            tokens.push(here.to_string());
            at += 1;
        }
    }
    tokens
}

fn after_block_comment(text: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at < text.len() {
        if starts(text, at, "/*") {
            depth += 1;
            at += 2;
        } else if starts(text, at, "*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// The place after a string or character that begins here, with whatever prefix; none for a lifetime.
fn after_literal(text: &[char], start: usize) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        let mark = start + prefix.len();
        starts(text, start, prefix)
            && text[mark.min(text.len())..]
                .first()
                .is_some_and(|c| matches!(c, '"' | '#' | '\''))
    })?;
    let mark = start + prefix.len();
    if prefix.contains('r') {
        let hashes = text[mark..].iter().take_while(|c| **c == '#').count();
        if text.get(mark + hashes) != Some(&'"') {
            return None; // a raw name such as r#type
        }
        let close = format!("\"{}", "#".repeat(hashes));
        return Some(find(text, mark + hashes + 1, &close) + close.len());
    }
    let quote = text[mark];
    if quote == '#' || (quote == '\'' && is_lifetime(text, mark)) {
        return None;
    }
    let mut at = mark + 1;
    while at < text.len() && text[at] != quote {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    Some(at + 1)
}

fn is_lifetime(text: &[char], quote: usize) -> bool {
    text.get(quote + 1).is_some_and(|c| is_word(*c)) && text.get(quote + 2) != Some(&'\'')
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn starts(text: &[char], at: usize, word: &str) -> bool {
    word.chars()
        .enumerate()
        .all(|(i, c)| text.get(at + i) == Some(&c))
}

fn find(text: &[char], from: usize, word: &str) -> usize {
    (from..text.len())
        .find(|&at| starts(text, at, word))
        .unwrap_or(text.len())
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut entries: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    entries.sort();
    entries
}

#[test]
fn comments_and_literals_are_not_tokens() {
    let source = r##"// unsafe
        /* unsafe /* nested */ unsafe */ let r#type: &'a str = "unsafe \" unsafe"; r#"unsafe"#; b'\''; 'u'; c::d"##;
    let expected = "let r # type : & ' a str = ; ; ; ; c :: d";
    assert_eq!(tokens(source).join(" "), expected);
}
