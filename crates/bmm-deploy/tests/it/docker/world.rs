//! A deployer over the daemon that `cargo xtask test` has started, and what is left on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bmm_deploy::container::{Docker, ImageId, label};
use bmm_deploy::{
    DeployError, DeployLimits, Deployer, Deployment, DockerRuntime, EgressProxy, Live, Probe, ReadyIsEnough,
    RouterService, Routes,
};
use bmm_net::Dialer;
use http::StatusCode;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::deploys::get;
use crate::fake_runner::Config;

pub(crate) struct World {
    pub(crate) deployer: Deployer,
    pub(crate) router: RouterService,
    pub(super) dir: TempDir,
    pub(super) instance: String,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|runtime| runtime, Arc::new(ReadyIsEnough), limits()).await
    }

    pub(super) async fn with(
        change: impl FnOnce(DockerRuntime) -> DockerRuntime,
        probe: Arc<dyn Probe>,
        limits: DeployLimits,
    ) -> Self {
        let docker = docker().await;
        let image = image(&docker).await;
        Self::over(docker, image, change, probe, limits).await
    }

    pub(super) async fn over(
        docker: Docker,
        image: ImageId,
        change: impl FnOnce(DockerRuntime) -> DockerRuntime,
        probe: Arc<dyn Probe>,
        limits: DeployLimits,
    ) -> Self {
        let dir = TempDir::new().unwrap();
        // The directory's name is as good as an ID.
        let name = dir.path().file_name().unwrap().to_str().unwrap();
        let instance = format!("test{}", name.replace(|c: char| !c.is_ascii_alphanumeric(), ""));
        let runtime = DockerRuntime::new(docker, image, &instance, dir.path().join("run"))
            .await
            .unwrap();
        let routes = Routes::new();
        let egress = EgressProxy::new(Dialer::new(), || Box::pin(async { "{\"keys\":[]}".into() }));
        Self {
            deployer: Deployer::with_limits(change(runtime), routes.clone(), egress, probe, limits),
            router: RouterService::new(routes),
            dir,
            instance,
        }
    }

    pub(crate) async fn roll(&self, slug: &str, config: &Config) -> Result<Live, DeployError> {
        self.deployer
            .roll(Deployment::new(slug, config.revision.clone(), config.bytes()))
            .await
    }

    pub(super) async fn get(&self, path: &str) -> (StatusCode, String) {
        get(&self.router, path).await
    }

    pub(super) fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// This world's containers, running and not.
    pub(super) fn containers(&self) -> Vec<String> {
        let filter = format!("label={}={}", label::INSTANCE, self.instance);
        lines(&["ps", "--all", "--format", "{{.Names}}", "--filter", &filter])
    }

    /// Whatever is left of this world on the daemon and in its directory.
    pub(crate) fn left(&self) -> Vec<String> {
        let mut left = self.containers();
        for entry in std::fs::read_dir(self.run_dir()).unwrap() {
            left.push(entry.unwrap().file_name().into_string().unwrap());
        }
        // For a daemon that reads it from a file: not a server's.
        left.retain(|name| name != "seccomp.json");
        left.sort();
        left
    }
}

/// A debug build in half a processor is slow to start.
pub(crate) fn limits() -> DeployLimits {
    let mut limits = DeployLimits::default();
    limits.start_timeout = Duration::from_secs(30);
    limits
}

pub(crate) fn socket() -> PathBuf {
    std::env::var_os("BMM_TEST_DOCKER")
        .expect("BMM_TEST_DOCKER: cargo xtask test")
        .into()
}

pub(crate) async fn docker() -> Docker {
    Docker::connect(socket()).await.unwrap()
}

/// This program as an image, made once.
pub(crate) async fn image(docker: &Docker) -> ImageId {
    static IMAGE: OnceCell<ImageId> = OnceCell::const_new();
    let made = IMAGE.get_or_init(async || {
        docker
            .build_image(&std::env::current_exe().unwrap())
            .await
            .unwrap()
    });
    made.await.clone()
}

/// The Docker command line: what somebody else than bmm does with the daemon.
pub(crate) fn lines(arguments: &[&str]) -> Vec<String> {
    let output = command(&socket(), arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn command(socket: &Path, arguments: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new("docker");
    command
        .arg(format!("--host=unix://{}", socket.display()))
        .args(arguments);
    command
}

/// Names each test after its function; each needs a daemon.
macro_rules! docker_trials {
    ($($test:ident),* $(,)?) => {
        pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
            vec![$(
                crate::trial(concat!(module_path!(), "::", stringify!($test)), $test)
                    .with_kind("needs Docker: cargo xtask test")
                    .with_ignored_flag(true)
            ),*]
        }
    };
}
pub(super) use docker_trials;
