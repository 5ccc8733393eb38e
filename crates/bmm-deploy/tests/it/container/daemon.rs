//! The daemon that the tests were given, and containers in it that do not outlive their test.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use bmm_deploy::container::{ContainerLimits, ContainerSpec, Docker, Hardening, ImageId, SECCOMP_PROFILE};
use tokio::sync::OnceCell;

/// A connection to it.
pub(crate) struct Daemon {
    pub(crate) docker: Docker,
}

impl Daemon {
    pub(crate) async fn given() -> Self {
        let socket = std::env::var_os("BMM_TEST_DOCKER").expect("BMM_TEST_DOCKER: cargo xtask test sets it");
        let docker = Docker::connect(Path::new(&socket)).await.unwrap();
        Self { docker }
    }

    /// The image of this test's own executable, which is made once.
    pub(crate) async fn image(&self) -> ImageId {
        static IMAGE: OnceCell<ImageId> = OnceCell::const_new();
        let made = IMAGE.get_or_init(async || {
            let executable = std::env::current_exe().unwrap();
            self.docker.build_image(&executable).await.unwrap()
        });
        made.await.clone()
    }

    /// A container of this test's own executable, with a seat and user of its own.
    pub(crate) async fn spec(&self, control_dir: &Path) -> ContainerSpec {
        static SEATS: AtomicU64 = AtomicU64::new(1);
        let seat = SEATS.fetch_add(1, Ordering::Relaxed);
        let instance = format!("it{}", std::process::id());
        let facts = self.docker.facts().await.unwrap();
        let uids = facts.uids();
        let profile = control_dir.join("seccomp.json");
        if facts.podman {
            std::fs::write(&profile, SECCOMP_PROFILE).unwrap();
        }
        ContainerSpec {
            image: self.image().await,
            slug: "probe".to_owned(),
            revision: "r1".to_owned(),
            seat,
            uid: uids.uid(&instance, seat, &Default::default()).unwrap(),
            instance,
            control_dir: control_dir.to_owned(),
            limits: ContainerLimits::default(),
            oci_runtime: None,
            seccomp_file: facts.podman.then_some(profile),
            hardening: Hardening::Required,
        }
    }
}

/// Names each test after its function, and gives it the daemon.
macro_rules! docker_trials {
    ($($test:ident),* $(,)?) => {
        vec![$(
            crate::trial(concat!(module_path!(), "::", stringify!($test)), async || {
                $test(super::daemon::Daemon::given().await).await
            })
            .with_kind("needs Docker: cargo xtask test")
            .with_ignored_flag(std::env::var_os("BMM_TEST_DOCKER").is_none())
        ),*]
    };
}
pub(crate) use docker_trials;
