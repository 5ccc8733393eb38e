//! `bmm import FILE`: an OpenAPI description as a spec. The spec goes to standard output or a new file, what was not converted
//! to standard error.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use bmm_spec::{ImportError, OpenApiImport, escape};

use crate::cli::{EXIT_UNUSABLE, ImportArgs};
use crate::commands::spec_file;

/// So many lines about what was not converted; the whole list of a large API would hide what matters.
const MAX_LINES: usize = 200;

pub(crate) fn import(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let bytes = spec_file::read(&args.file)?;
    let mut import = OpenApiImport::new(&bytes)
        .with_operations(&args.operations)
        .with_tags(&args.tags);
    if let Some(slug) = &args.slug {
        import = import.with_slug(slug.clone());
    }
    if let Some(server) = &args.server {
        import = import.with_server(server);
    }
    if let Some(bearer) = &args.bearer {
        import = import.with_bearer(bearer);
    }
    let imported = match import.run() {
        Ok(imported) => imported,
        Err(error) => {
            if let ImportError::Nothing { skipped, .. } = &error {
                tell_all(skipped);
            }
            for line in error.to_string().lines() {
                eprintln!("bmm: {}", escape(line));
            }
            return Ok(ExitCode::from(EXIT_UNUSABLE));
        }
    };
    let spec = imported.to_json();
    match &args.output {
        None => std::io::stdout()
            .write_all(spec.as_bytes())
            .context("cannot write the spec")?,
        Some(path) => {
            let file = OpenOptions::new().write(true).create_new(true).open(path);
            file.and_then(|mut file| file.write_all(spec.as_bytes()))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    tell_all(&imported.skipped);
    for finding in &imported.report.findings {
        eprintln!(
            "warning: {} {}: {}",
            finding.rule, finding.pointer, finding.message
        );
    }
    let spec = imported.spec.spec();
    let (tools, secrets) = (spec.tools.len(), spec.required_secrets.len());
    eprintln!(
        "{}: {tools} tools, {secrets} secrets, {} not converted",
        spec.slug,
        imported.skipped.len()
    );
    Ok(ExitCode::SUCCESS)
}

fn tell_all(skipped: &[bmm_spec::Skipped]) {
    for each in skipped.iter().take(MAX_LINES) {
        eprintln!("not converted: {each}");
    }
    if skipped.len() > MAX_LINES {
        eprintln!("not converted: and {} more", skipped.len() - MAX_LINES);
    }
}
