//! `bmm image`: what containers are made of.

use std::process::ExitCode;

use crate::cli::ImageCommand;
use crate::containers::Containers;

pub(crate) async fn image(command: ImageCommand) -> anyhow::Result<ExitCode> {
    match command {
        ImageCommand::Build(args) => {
            let containers = Containers::prepare(&args.docker).await?;
            println!("{}", containers.image());
        }
        ImageCommand::Prune(args) => {
            let containers = Containers::prepare(&args.docker).await?;
            for image in containers.collect().await? {
                println!("{image}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
