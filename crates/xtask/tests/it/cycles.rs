//! No two modules of a crate need each other.
//!
//! A module is a file. It needs another one if its code, its tests apart, names something of it by a path (`crate::a::B`,
//! `super::B`, `self::a::B`, or `a::B` for a child). A name that a module only passes on (`pub use`) counts for the module that defines
//! it, so that a facade needs nobody. What this does not see: names that come in by a glob or from a macro, and that `super` in a module
//! written inside a file means that file.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use crate::sources::{crates, rust_files, tokens};

/// A module's path from the crate root, which is the empty path.
type Module = Vec<String>;

/// Who needs whom, and by which path, as an example.
type Needs = BTreeMap<Module, BTreeMap<Module, Module>>;

#[test]
fn no_two_modules_of_a_crate_need_each_other() {
    let mut cycles = Vec::new();
    for package in crates() {
        let source = package.folder.join("src");
        let files = rust_files(&source);
        let modules = files.iter().map(|file| {
            let text = std::fs::read_to_string(file).expect("a readable source");
            (module_of(file.strip_prefix(&source).expect("below src")), text)
        });
        cycles.extend(
            cycles_of(&needs(modules))
                .into_iter()
                .map(|cycle| format!("{}: {cycle}", package.name)),
        );
    }
    assert!(
        cycles.is_empty(),
        "modules that need each other:\n{}",
        cycles.join("\n")
    );
}

fn module_of(file: &Path) -> Module {
    let mut path: Module = file
        .iter()
        .map(|part| part.to_string_lossy().trim_end_matches(".rs").to_owned())
        .collect();
    if path
        .last()
        .is_some_and(|last| last == "mod" || (path.len() == 1 && (last == "lib" || last == "main")))
    {
        path.pop();
    }
    path
}

fn needs(sources: impl Iterator<Item = (Module, String)>) -> Needs {
    let mut code: BTreeMap<Module, Vec<String>> = BTreeMap::new();
    for (module, source) in sources {
        // lib.rs and main.rs of one package share the root here; neither can reach into the other by a path.
        code.entry(module)
            .or_default()
            .extend(without_tests(tokens(&source)));
    }
    let mut facades: BTreeMap<Module, Module> = BTreeMap::new();
    let mut paths: Vec<(Module, Module)> = Vec::new();
    for (module, tokens) in &code {
        let mut at = 0;
        while at < tokens.len() {
            if tokens[at] == "use" {
                let end = (at..tokens.len())
                    .find(|&i| tokens[i] == ";")
                    .unwrap_or(tokens.len());
                let mut names = Vec::new();
                use_tree(&tokens[at + 1..end], &Vec::new(), &mut names);
                let public = at > 0 && (tokens[at - 1] == "pub" || tokens[at - 1] == ")");
                for (path, name) in names {
                    let Some(path) = absolute(module, &path, &code) else {
                        continue;
                    };
                    if public {
                        facades.insert([module.clone(), vec![name]].concat(), path);
                    } else {
                        paths.push((module.clone(), path));
                    }
                }
                at = end;
            } else if at == 0 || tokens[at - 1] != "::" {
                let mut path = vec![tokens[at].clone()];
                while tokens.get(at + 1).is_some_and(|next| next == "::")
                    && tokens.get(at + 2).is_some_and(|next| is_name(next))
                {
                    path.push(tokens[at + 2].clone());
                    at += 2;
                }
                if path.len() > 1 {
                    paths.extend(absolute(module, &path, &code).map(|path| (module.clone(), path)));
                }
            }
            at += 1;
        }
    }
    let mut needs = Needs::new();
    for (module, path) in paths {
        let target = defining_module(path.clone(), &facades, &code);
        if target != module {
            needs.entry(module).or_default().insert(target, path);
        }
    }
    needs
}

/// Leaves out what stands under `#[cfg(test)]`.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    let mark = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at..].iter().take(mark.len()).eq(mark) {
            let mut depth = 0;
            while at < tokens.len() {
                depth += i32::from(tokens[at] == "{") - i32::from(tokens[at] == "}");
                at += 1;
                if depth == 0 && matches!(tokens[at - 1].as_str(), "}" | ";") {
                    break;
                }
            }
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// The paths of a `use` item, each with the name it gives.
fn use_tree(tokens: &[String], prefix: &Module, found: &mut Vec<(Module, String)>) {
    let mut path = prefix.clone();
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "::" => {}
            "{" => {
                let mut depth = 0;
                let mut start = at + 1;
                for i in at..tokens.len() {
                    depth += i32::from(tokens[i] == "{") - i32::from(tokens[i] == "}");
                    if (depth == 1 && tokens[i] == ",") || depth == 0 {
                        // Nothing stands after a trailing comma.
                        if start < i {
                            use_tree(&tokens[start..i], &path, found);
                        }
                        start = i + 1;
                    }
                    if depth == 0 {
                        break;
                    }
                }
                return;
            }
            "as" => {
                found.push((path, tokens.get(at + 1).cloned().unwrap_or_default()));
                return;
            }
            "self" if !path.is_empty() => {}
            name => path.push(name.to_owned()),
        }
        at += 1;
    }
    if let Some(name) = path.last().cloned() {
        found.push((path, name));
    }
}

/// The path from the crate root, if it leads into this crate.
fn absolute(module: &Module, path: &[String], code: &BTreeMap<Module, Vec<String>>) -> Option<Module> {
    let (first, rest) = path.split_first()?;
    let mut absolute = match first.as_str() {
        "crate" => Vec::new(),
        "self" => module.clone(),
        "super" => {
            let (_, parent) = module.split_last()?;
            parent.to_vec()
        }
        child => {
            let child = [module.clone(), vec![child.to_owned()]].concat();
            if !code.contains_key(&child) {
                return None;
            }
            child
        }
    };
    for part in rest {
        if part == "super" {
            absolute.pop()?;
        } else {
            absolute.push(part.clone());
        }
    }
    Some(absolute)
}

/// The module whose file defines what a path names.
fn defining_module(
    mut path: Module,
    facades: &BTreeMap<Module, Module>,
    code: &BTreeMap<Module, Vec<String>>,
) -> Module {
    // Bounded, in case two facades pass a name to each other.
    for _ in 0..8 {
        let Some(length) = (1..=path.len()).find(|&length| facades.contains_key(&path[..length])) else {
            break;
        };
        path = [facades[&path[..length]].clone(), path[length..].to_vec()].concat();
    }
    while !path.is_empty() && !code.contains_key(&path) {
        path.pop();
    }
    path
}

/// One shortest cycle for each module that is on one, written out once: each module with the path by which it needs the next.
fn cycles_of(needs: &Needs) -> BTreeSet<String> {
    let mut cycles = BTreeSet::new();
    for start in needs.keys() {
        let mut ways = VecDeque::from([vec![start.clone()]]);
        let mut seen = BTreeSet::new();
        'search: while let Some(way) = ways.pop_front() {
            let next = way
                .last()
                .and_then(|last| needs.get(last))
                .into_iter()
                .flat_map(BTreeMap::keys);
            for module in next {
                if module == start {
                    // Every module on the cycle finds it; the first one reports.
                    if way.iter().min() == Some(start) {
                        cycles.insert(written(&way, needs));
                    }
                    break 'search;
                }
                if seen.insert(module.clone()) {
                    ways.push_back([way.clone(), vec![module.clone()]].concat());
                }
            }
        }
    }
    cycles
}

fn written(cycle: &[Module], needs: &Needs) -> String {
    let next = cycle.iter().cycle().skip(1);
    let steps = cycle.iter().zip(next).map(|(module, next)| {
        let path = needs[module][next].join("::");
        format!("{} ({path})", module.join("::"))
    });
    steps.collect::<Vec<String>>().join(" -> ")
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

#[test]
fn cycles_are_found_and_facades_are_not_blamed() {
    let module = |path: &str| {
        path.split("::")
            .filter(|part| !part.is_empty())
            .map(String::from)
            .collect::<Module>()
    };
    let needs = needs(
        [
            ("", "mod a; mod b; mod c; pub use a::{A, deep::D as E};"),
            (
                "a",
                "mod deep; use crate::b::{self, B as Other}; #[cfg(test)] mod tests { use crate::c::C; }",
            ),
            ("a::deep", "fn f() { crate::c::g() } // crate::b"),
            ("b", "use super::{E, std}; use std::fmt;"),
            ("c", "fn g() { let a: crate::A; }"),
        ]
        .into_iter()
        .map(|(path, source)| (module(path), source.to_owned())),
    );
    let found: Vec<String> = cycles_of(&needs).into_iter().collect();
    assert_eq!(found, ["a (b::B) -> b (E) -> a::deep (c::g) -> c (A)"]);
}
