//! From what is to run to the container it runs in. Nothing here talks to a daemon.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::image_id::ImageId;
use super::walls::{Control, LogBounds, MASKED_PATHS, Profile, READ_ONLY_PATHS, Walls};
use crate::routes::InvalidSlug;
use crate::site::is_slug;

/// Where a container finds the directory of its control socket.
pub const CONTROL_DIR: &str = "/run/bmm";

/// What a container starts: the executable of the runner image, in its role. Docker sets no `argv[0]`, so the role is the
/// first argument.
pub const ENTRYPOINT: [&str; 2] = ["/bmm", "bmm-cage:contained:runner"];

/// Labels of a container, and of an image.
pub mod label {
    /// Whose container it is: the host's instance ID.
    pub const INSTANCE: &str = "bmm.instance";
    /// The server.
    pub const SLUG: &str = "bmm.slug";
    /// The revision of it.
    pub const REVISION: &str = "bmm.revision";
    /// The seat it serves from.
    pub const SEAT: &str = "bmm.seat";
    /// Its user, for those who look for a free one.
    pub const UID: &str = "bmm.uid";
    /// What an image is for: `runner`.
    pub const IMAGE: &str = "bmm.image";
}

/// A runner that is to run in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSpec {
    /// What runs.
    pub image: ImageId,
    /// Whose container it is: letters, digits, `.`, `_` and `-`, at most 64.
    pub instance: String,
    /// The server.
    pub slug: String,
    /// The revision of it: at most 1,024 bytes.
    pub revision: String,
    /// The seat it serves from.
    pub seat: u64,
    /// User and group inside: one of a [`UidRange`](super::UidRange), and no other container's.
    pub uid: u32,
    /// The directory on the host, absolute, that holds the control socket and nothing else.
    pub control_dir: PathBuf,
    /// Its bounds.
    pub limits: ContainerLimits,
    /// Another OCI runtime than the daemon's default, by the name that the daemon knows it by (`runsc`). One with a kernel of
    /// its own is judged by the daemon's word alone. gVisor needs `--host-uds=open` for the control socket.
    pub oci_runtime: Option<String>,
    /// Where [`SECCOMP_PROFILE`](super::SECCOMP_PROFILE) has been written to, for a daemon that reads a file (Podman). Docker is
    /// sent the profile itself.
    pub seccomp_file: Option<PathBuf>,
    /// Whether walls are wanted.
    pub hardening: Hardening,
}

/// Whether walls are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hardening {
    /// All of them, or no start.
    #[default]
    Required,
    /// For development: a runner can write, debug and use what it likes. Its user, its control socket and its namespaces
    /// stay, since a runner cannot do without; the report says what is missing.
    Disabled,
}

/// Bounds of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerLimits {
    /// Memory, and memory with swap.
    pub memory_mib: u32,
    /// Thousandths of one processor.
    pub milli_cpus: u32,
    /// Processes and threads.
    pub processes: u32,
    /// Size of `/tmp`, which counts as memory.
    pub tmp_mib: u32,
    /// Open files of one process.
    pub open_files: u32,
    /// Size of one log file.
    pub log_file_mib: u32,
    /// Log files that are kept.
    pub log_files: u32,
    /// Time between being asked to stop and being killed.
    pub stop_seconds: u32,
}

impl Default for ContainerLimits {
    fn default() -> Self {
        Self {
            memory_mib: 512,
            milli_cpus: 500,
            processes: 100,
            tmp_mib: 16,
            open_files: 1024,
            log_file_mib: 1,
            log_files: 3,
            stop_seconds: 10,
        }
    }
}

/// Why no container can be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The slug cannot stand in a name.
    #[error(transparent)]
    Slug(#[from] InvalidSlug),
    /// The instance's ID cannot stand in a name.
    #[error(
        "an instance is 1 to 64 letters, digits, dots, underscores and hyphens, and starts with a letter or digit"
    )]
    Instance,
    /// The revision is no label.
    #[error("a revision is 1 to 1024 bytes without control characters")]
    Revision,
    /// Root, or beyond what daemons take.
    #[error("{0} is no user for a container: it must be 1 to 2147483647")]
    Uid(u32),
    /// Not a plain absolute path.
    #[error("{} is not an absolute path without dots in UTF-8", .0.display())]
    Path(PathBuf),
    /// A bound that is none.
    #[error("{0} must be at least {1}")]
    Limit(&'static str, u32),
    /// Not a runtime's name.
    #[error("an OCI runtime is 1 to 64 letters, digits, dots, underscores and hyphens")]
    OciRuntime,
}

/// A container, before there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContainerPlan {
    pub(crate) name: String,
    pub(crate) image: ImageId,
    pub(crate) hardening: Hardening,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) arguments: Vec<String>,
    pub(crate) labels: BTreeMap<&'static str, String>,
    pub(crate) control_dir: String,
    pub(crate) stop_seconds: u32,
    pub(crate) oci_runtime: Option<String>,
    pub(crate) seccomp_file: Option<String>,
    /// The user that is meant, whatever the walls say.
    pub(crate) uid: u32,
    /// As the daemon is asked for them.
    pub(crate) walls: Walls,
    /// As they are to be found, whatever was asked for.
    #[serde(skip)]
    pub(crate) wanted: Walls,
}

impl ContainerSpec {
    /// The container for it.
    pub fn plan(&self) -> Result<ContainerPlan, PlanError> {
        self.check()?;
        let wanted = Walls::required(self.uid, &self.limits);
        let walls = match self.hardening {
            Hardening::Required => wanted.clone(),
            Hardening::Disabled => Walls::disabled(self.uid),
        };
        Ok(ContainerPlan {
            name: format!("bmm-{}-{}-{}", self.instance, self.slug, self.seat),
            image: self.image.clone(),
            hardening: self.hardening,
            entrypoint: ENTRYPOINT.map(str::to_owned).to_vec(),
            arguments: Vec::new(),
            labels: BTreeMap::from([
                (label::INSTANCE, self.instance.clone()),
                (label::SLUG, self.slug.clone()),
                (label::REVISION, self.revision.clone()),
                (label::SEAT, self.seat.to_string()),
                (label::UID, self.uid.to_string()),
            ]),
            control_dir: plain_path(&self.control_dir)?,
            stop_seconds: self.limits.stop_seconds,
            oci_runtime: self.oci_runtime.clone(),
            seccomp_file: self.seccomp_file.as_deref().map(plain_path).transpose()?,
            uid: self.uid,
            walls,
            wanted,
        })
    }

    fn check(&self) -> Result<(), PlanError> {
        if !is_slug(&self.slug) {
            return Err(InvalidSlug.into());
        }
        if !is_name(&self.instance) {
            return Err(PlanError::Instance);
        }
        if !(1..=1024).contains(&self.revision.len()) || self.revision.contains(char::is_control) {
            return Err(PlanError::Revision);
        }
        if self.uid == 0 || self.uid >= 1 << 31 {
            return Err(PlanError::Uid(self.uid));
        }
        if !self.oci_runtime.as_deref().is_none_or(is_name) {
            return Err(PlanError::OciRuntime);
        }
        let limits = &self.limits;
        for (name, limit, least) in [
            // Docker takes no less.
            ("memory_mib", limits.memory_mib, 6),
            ("milli_cpus", limits.milli_cpus, 10),
            ("processes", limits.processes, 1),
            ("tmp_mib", limits.tmp_mib, 1),
            ("open_files", limits.open_files, 16),
            ("log_file_mib", limits.log_file_mib, 1),
            ("log_files", limits.log_files, 1),
        ] {
            if limit < least {
                return Err(PlanError::Limit(name, least));
            }
        }
        Ok(())
    }
}

impl ContainerPlan {
    /// The container's name: of instance, slug and seat, so a daemon takes it once.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// User and group inside.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Arguments after the [`ENTRYPOINT`].
    pub fn with_arguments(mut self, arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.arguments = arguments.into_iter().map(Into::into).collect();
        self
    }

    /// The same, asked for without one control: to see that its absence is noticed.
    pub fn insecure_without(mut self, control: Control) -> Self {
        self.walls = self.walls.without(control);
        self
    }
}

impl Walls {
    fn required(uid: u32, limits: &ContainerLimits) -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            user: Some(uid),
            privileged: false,
            read_only_root: true,
            drops_all_capabilities: true,
            no_new_privileges: true,
            seccomp: Profile::Ours,
            keeps_mandatory_access: true,
            processes: Some(limits.processes),
            memory_bytes: Some(u64::from(limits.memory_mib) * MIB),
            swap: false,
            milli_cpus: Some(limits.milli_cpus),
            oom_killer: true,
            tmp_bytes: Some(u64::from(limits.tmp_mib) * MIB),
            open_files: Some(limits.open_files),
            user_processes: Some(limits.processes),
            core_dumps: false,
            logs: Some(LogBounds {
                file_mib: limits.log_file_mib,
                files: limits.log_files,
            }),
            network: false,
            ports: false,
            host_ipc: false,
            host_processes: false,
            host_name: false,
            host_cgroups: false,
            host_users: false,
            devices: Vec::new(),
            more_mounts: Vec::new(),
            control_writable: false,
            masked_paths: MASKED_PATHS.to_vec(),
            read_only_paths: READ_ONLY_PATHS.to_vec(),
            environment: Vec::new(),
            restarts: false,
        }
    }

    /// See [`Hardening::Disabled`].
    fn disabled(uid: u32) -> Self {
        Self {
            read_only_root: false,
            drops_all_capabilities: false,
            no_new_privileges: false,
            seccomp: Profile::Daemons,
            processes: None,
            memory_bytes: None,
            milli_cpus: None,
            tmp_bytes: None,
            open_files: None,
            user_processes: None,
            core_dumps: true,
            logs: None,
            ..Self::required(uid, &ContainerLimits::default())
        }
    }
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// No relative path (the daemon runs elsewhere), and none that means another.
fn plain_path(path: &Path) -> Result<String, PlanError> {
    let is_plain = path.is_absolute()
        && path
            .components()
            .all(|component| matches!(component, Component::RootDir | Component::Normal(_)));
    match path.to_str() {
        Some(text) if is_plain && !text.contains(char::is_control) => Ok(text.to_owned()),
        _ => Err(PlanError::Path(path.to_owned())),
    }
}
