//! `bmm scan`: what the scanner thinks of a spec, of a running server, of listed tools or of bare code, as an exit code and a report.

mod outcome;
mod render;
mod server;

use std::process::ExitCode;

use anyhow::Context as _;
use bmm_spec::Suppressions;

use self::outcome::{File, Outcome};
use crate::cli::{EXIT_UNUSABLE, ScanArgs};

/// Exit codes: 0 pass, 1 warnings, 2 blocked, 64 whatever could not be judged.
pub(crate) async fn scan(args: ScanArgs) -> ExitCode {
    let done = async {
        let suppressions = args.suppress.as_deref().map(File::read).transpose()?;
        let accepted = suppressions.as_ref().map(accepted).transpose()?;
        let outcome = judge(&args, accepted.as_ref()).await?;
        render::print(&outcome, suppressions.as_ref(), args.format);
        anyhow::Ok(outcome.exit_code())
    };
    ExitCode::from(done.await.unwrap_or_else(|error| {
        eprintln!("bmm: {error:#}");
        EXIT_UNUSABLE
    }))
}

fn accepted(file: &File) -> anyhow::Result<Suppressions> {
    Suppressions::parse(&file.bytes).with_context(|| format!("{} is no suppression file", file.name))
}

async fn judge(args: &ScanArgs, accepted: Option<&Suppressions>) -> anyhow::Result<Outcome> {
    let target = &args.target;
    if let Some(path) = &target.file {
        return Ok(Outcome::of_spec(File::read(path)?, accepted));
    }
    if let Some(path) = &target.tools {
        return Ok(Outcome::of_tools(File::read(path)?, accepted));
    }
    if !target.code.is_empty() {
        let files = target.code.iter().map(|path| File::read(path));
        return Ok(Outcome::of_code(files.collect::<Result<_, _>>()?, accepted));
    }
    let listed = File {
        name: match &target.url {
            Some(url) => url.clone(),
            None => args
                .command
                .first()
                .map(|program| program.display().to_string())
                .unwrap_or_default(),
        },
        bytes: serde_json::to_vec(&server::list(args).await?)?,
        on_disk: false,
    };
    Ok(Outcome::of_tools(listed, accepted))
}
