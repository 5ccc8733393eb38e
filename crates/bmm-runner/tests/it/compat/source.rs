//! An integration's action as one module: what it imports from its own folder is put into it, what it imports from libraries comes
//! from `ctx.modules`. Works on lines, which is enough for the formatter of that repository: a statement at the top begins in column 0.

use std::fs;
use std::path::{Path, PathBuf};

/// The libraries that the harness brings along.
const BROUGHT: [&str; 2] = ["nango", "zod"];

pub(super) struct Action {
    /// TypeScript, one module with one default export.
    pub(super) module: String,
    /// Libraries that it imports and that are not there.
    pub(super) missing: Vec<String>,
}

impl Action {
    pub(super) fn read(file: &Path) -> Self {
        let mut flat = Flattened::default();
        let body = flat.body(file);
        let module = format!(
            "export default async (input: any, ctx: any) => {{\nconst library: any = ctx.modules;\n{}\n{body}\nreturn await library.nango.run(exported, input, ctx);\n}};\n",
            flat.modules.join("\n"),
        );
        Self {
            module,
            missing: flat.missing,
        }
    }
}

#[derive(Default)]
struct Flattened {
    /// Files that are in already; a module is `module0`, `module1`, …
    files: Vec<PathBuf>,
    modules: Vec<String>,
    missing: Vec<String>,
}

impl Flattened {
    /// The statements of a file without `import` and `export`; its default export is `exported`.
    fn body(&mut self, file: &Path) -> String {
        self.file(file).0
    }

    fn file(&mut self, file: &Path) -> (String, Vec<String>) {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let (mut body, mut exports) = (String::new(), Vec::new());
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line.starts_with("declare ") {
                // Types for the checker alone, which may not stand in a function.
                let is_block = line.ends_with('{');
                while is_block && lines.next().is_some_and(|line| line != "}") {}
                continue;
            }
            if line.starts_with("import ") || line.starts_with("export {") || line.starts_with("export *") {
                let mut statement = line.to_owned();
                while !statement.trim_end().ends_with(';') {
                    statement.push(' ');
                    statement.push_str(lines.next().expect("a statement ends"));
                }
                body.push_str(&self.import(file, &statement, &mut exports));
            } else if let Some(value) = line.strip_prefix("export default ") {
                body.push_str("const exported = ");
                body.push_str(value);
                exports.push("exported".to_owned());
            } else if let Some(declaration) = line.strip_prefix("export ") {
                exports.extend(declared(declaration).map(str::to_owned));
                body.push_str(declaration);
            } else {
                body.push_str(line);
            }
            body.push('\n');
        }
        (body, exports)
    }

    fn import(&mut self, file: &Path, statement: &str, exports: &mut Vec<String>) -> String {
        if statement.starts_with("import type ") || statement.starts_with("export type ") {
            return String::new();
        }
        let quoted: Vec<&str> = statement.split(['\'', '"']).collect();
        let names = statement.split_once(" from ").map_or("", |(names, _)| names);
        let names = names
            .trim_start_matches("import")
            .trim_start_matches("export")
            .trim();
        let Some(name) = quoted.get(1) else {
            // `export { a, b };`
            exports.extend(listed(statement).map(|(name, _)| name.to_owned()));
            return String::new();
        };
        let from = if name.starts_with('.') {
            self.module(
                &file
                    .with_file_name("")
                    .join(format!("{}.ts", name.trim_end_matches(".js"))),
            )
        } else {
            if !BROUGHT.contains(name) && !self.missing.iter().any(|missing| missing == name) {
                self.missing.push((*name).to_owned());
            }
            format!("library[{name:?}]")
        };
        let mut bound = String::new();
        if let Some(namespace) = names.strip_prefix("* as ") {
            bound.push_str(&format!("const {namespace} = {from};"));
        } else {
            let default = names
                .split('{')
                .next()
                .unwrap_or_default()
                .trim()
                .trim_end_matches(',');
            if !default.is_empty() && default != "*" {
                bound.push_str(&format!("const {default} = {from}.exported ?? {from};"));
            }
            for (name, alias) in listed(names) {
                bound.push_str(&format!("const {alias} = {from}.{name};"));
                if statement.starts_with("export") {
                    exports.push(alias.to_owned());
                }
            }
        }
        bound
    }

    /// The name of a module of the same repository, which is put in when first asked for.
    fn module(&mut self, file: &Path) -> String {
        let Ok(file) = file.canonicalize() else {
            self.missing
                .push(format!("{} (not in the repository)", file.display()));
            return "({} as any)".to_owned();
        };
        if let Some(at) = self.files.iter().position(|known| *known == file) {
            return format!("module{at}");
        }
        let name = format!("module{}", self.files.len());
        self.files.push(file.clone());
        let (body, exports) = self.file(&file);
        let exports = exports.join(", ");
        self.modules.push(format!(
            "const {name}: any = (() => {{\n{body}\nreturn {{ {exports} }};\n}})();"
        ));
        name
    }
}

/// The name of a declaration that leaves a value.
fn declared(declaration: &str) -> Option<&str> {
    let words = [
        "async ",
        "const ",
        "let ",
        "function ",
        "class ",
        "enum ",
        "function* ",
    ];
    let mut rest = declaration;
    while let Some(shorter) = words.iter().find_map(|word| rest.strip_prefix(word)) {
        rest = shorter;
    }
    if rest.len() == declaration.len() {
        return None;
    }
    rest.split(|character: char| !character.is_alphanumeric() && character != '_' && character != '$')
        .next()
}

/// `{ a, b as c, type D }`: the names and what they are called here.
fn listed(names: &str) -> impl Iterator<Item = (&str, &str)> {
    let inner = names.split_once('{').map_or("", |(_, rest)| rest);
    let inner = inner.split_once('}').map_or("", |(inner, _)| inner);
    inner
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty() && !name.starts_with("type "))
        .map(|name| name.split_once(" as ").unwrap_or((name, name)))
}
