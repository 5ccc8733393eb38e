//! The daemon that the tests were given, and containers in it that do not outlive their test.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use bmm_deploy::container::{ContainerLimits, ContainerSpec, Docker, Hardening, ImageId, SECCOMP_PROFILE};

/// A connection to it.
pub(crate) struct Daemon {
    pub(crate) docker: Docker,
}

impl Daemon {
    pub(crate) async fn given() -> Self {
        Self {
            docker: crate::docker::docker().await,
        }
    }

    /// The image of this test's own executable.
    pub(crate) async fn image(&self) -> ImageId {
        crate::docker::image(&self.docker).await
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
            crate::trial_within(
                concat!(module_path!(), "::", stringify!($test)),
                // A container for each control, on a machine that does something else beside it.
                std::time::Duration::from_secs(180),
                async || $test(super::daemon::Daemon::given().await).await,
            )
            .with_kind("needs Docker: cargo xtask test")
            .with_ignored_flag(std::env::var_os("BMM_TEST_DOCKER").is_none())
        ),*]
    };
}
pub(crate) use docker_trials;
