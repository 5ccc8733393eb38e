//! Containers as what runs the servers: a daemon, and this program on it as an image.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bmm_deploy::DockerRuntime;
use bmm_deploy::container::{Docker, ImageId};
use sha2::{Digest as _, Sha256};

use crate::cli::DockerArg;
use crate::data_dir::DataDir;
use crate::db::Db;

/// The setting that tells this instance from others that use the same daemon.
const INSTANCE: &str = "docker_instance";

/// A daemon that has the image of this program.
pub(crate) struct Containers {
    docker: Docker,
    image: ImageId,
}

impl Containers {
    /// Finds the daemon and brings it the image, unless it is there.
    pub(crate) async fn prepare(args: &DockerArg) -> anyhow::Result<Self> {
        let docker = Docker::connect(&args.docker_socket).await?;
        // Through the link: the file may have been replaced (by a build) since this process was started. By number: the
        // loader, which is asked for the libraries, is another process.
        let own = || PathBuf::from(format!("/proc/{}/exe", std::process::id()));
        let executable = args.docker_runner.clone().unwrap_or_else(own);
        let image = docker.build_image(&executable).await?;
        Ok(Self { docker, image })
    }

    pub(crate) fn image(&self) -> &ImageId {
        &self.image
    }

    /// What runs the servers of this data directory.
    pub(crate) async fn runtime(&self, db: &Db, dir: &DataDir) -> anyhow::Result<DockerRuntime> {
        let instance = instance(db, dir.path()).await?;
        Ok(DockerRuntime::new(self.docker.clone(), self.image.clone(), instance, dir.run()).await?)
    }

    /// Removes the images that other versions of this program have left.
    pub(crate) async fn collect(&self) -> anyhow::Result<Vec<ImageId>> {
        Ok(self.docker.collect_images(&self.image).await?)
    }
}

/// Stays the same from start to start, and is another in a copy of the data directory: whose containers they are decides who
/// removes them.
async fn instance(db: &Db, data_dir: &Path) -> anyhow::Result<String> {
    let random = match db.setting(INSTANCE).await? {
        Some(random) => random,
        None => {
            let mut random = [0; 16];
            getrandom::fill(&mut random).context("no random numbers")?;
            let random = URL_SAFE_NO_PAD.encode(random);
            db.set_setting(INSTANCE, &random).await?;
            random
        }
    };
    let place = std::fs::canonicalize(data_dir).context("the data directory")?;
    let digest = Sha256::new()
        .chain_update(&random)
        .chain_update([0])
        .chain_update(place.as_os_str().as_encoded_bytes())
        .finalize();
    Ok(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}
