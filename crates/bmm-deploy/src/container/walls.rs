//! The controls around a container, as data: how they are wanted, and how to leave one out.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One control around a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Control {
    /// The image that was meant, by digest.
    Image,
    /// What the container starts is what was meant.
    Command,
    /// Not `--privileged`.
    Unprivileged,
    /// The root file system cannot be written.
    ReadOnlyRoot,
    /// No capability, and none to be had.
    Capabilities,
    /// No program gives more rights.
    NoNewPrivileges,
    /// Our own system-call filter.
    Seccomp,
    /// AppArmor or SELinux, where the host has them.
    MandatoryAccess,
    /// A user of its own, not root.
    User,
    /// A bounded number of processes and threads.
    Processes,
    /// Bounded memory.
    Memory,
    /// No swap on top.
    Swap,
    /// Bounded processor time.
    Cpu,
    /// The out-of-memory killer may end it.
    OomKiller,
    /// A sized `/tmp` where nothing can be executed.
    Tmp,
    /// A bounded number of open files.
    OpenFiles,
    /// A bounded number of processes of its user.
    UserProcesses,
    /// No core dumps.
    CoreDumps,
    /// A bounded log.
    Logs,
    /// A network namespace without an interface.
    Network,
    /// No port of the host.
    Ports,
    /// An IPC namespace of its own, without shared memory files.
    Ipc,
    /// It sees its own processes only.
    ProcessNamespace,
    /// A host name of its own.
    HostName,
    /// It sees its own control group only.
    CgroupNamespace,
    /// The daemon's user namespace, where it has one.
    UserNamespace,
    /// No device of the host.
    Devices,
    /// One directory of the host, read-only: the one of the control socket.
    Mounts,
    /// What of `/proc` and `/sys` tells about the host is hidden.
    MaskedPaths,
    /// What of `/proc` changes the host cannot be written.
    ReadOnlyPaths,
    /// Nothing is told by environment variables.
    Environment,
    /// The daemon does not start it again by itself.
    Restarts,
    /// The OCI runtime that was asked for.
    OciRuntime,
}

impl Control {
    /// All of them.
    pub const ALL: [Self; 33] = [
        Self::Image,
        Self::Command,
        Self::Unprivileged,
        Self::ReadOnlyRoot,
        Self::Capabilities,
        Self::NoNewPrivileges,
        Self::Seccomp,
        Self::MandatoryAccess,
        Self::User,
        Self::Processes,
        Self::Memory,
        Self::Swap,
        Self::Cpu,
        Self::OomKiller,
        Self::Tmp,
        Self::OpenFiles,
        Self::UserProcesses,
        Self::CoreDumps,
        Self::Logs,
        Self::Network,
        Self::Ports,
        Self::Ipc,
        Self::ProcessNamespace,
        Self::HostName,
        Self::CgroupNamespace,
        Self::UserNamespace,
        Self::Devices,
        Self::Mounts,
        Self::MaskedPaths,
        Self::ReadOnlyPaths,
        Self::Environment,
        Self::Restarts,
        Self::OciRuntime,
    ];
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Image => "pinned image",
            Self::Command => "command",
            Self::Unprivileged => "unprivileged",
            Self::ReadOnlyRoot => "read-only root",
            Self::Capabilities => "no capabilities",
            Self::NoNewPrivileges => "no new privileges",
            Self::Seccomp => "seccomp",
            Self::MandatoryAccess => "AppArmor or SELinux",
            Self::User => "user of its own",
            Self::Processes => "process limit",
            Self::Memory => "memory limit",
            Self::Swap => "no swap",
            Self::Cpu => "processor limit",
            Self::OomKiller => "out-of-memory killer",
            Self::Tmp => "sized noexec /tmp",
            Self::OpenFiles => "open files limit",
            Self::UserProcesses => "user's process limit",
            Self::CoreDumps => "no core dumps",
            Self::Logs => "bounded logs",
            Self::Network => "no network",
            Self::Ports => "no ports",
            Self::Ipc => "IPC namespace",
            Self::ProcessNamespace => "pid namespace",
            Self::HostName => "UTS namespace",
            Self::CgroupNamespace => "cgroup namespace",
            Self::UserNamespace => "user namespace",
            Self::Devices => "no devices",
            Self::Mounts => "one read-only mount",
            Self::MaskedPaths => "masked paths",
            Self::ReadOnlyPaths => "read-only paths",
            Self::Environment => "empty environment",
            Self::Restarts => "no restarts by the daemon",
            Self::OciRuntime => "OCI runtime",
        })
    }
}

/// The walls of one container. `None` and `false` leave a thing to the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Walls {
    /// User and group.
    pub(crate) user: Option<u32>,
    pub(crate) privileged: bool,
    pub(crate) read_only_root: bool,
    pub(crate) drops_all_capabilities: bool,
    pub(crate) no_new_privileges: bool,
    pub(crate) seccomp: Profile,
    pub(crate) keeps_mandatory_access: bool,
    pub(crate) processes: Option<u32>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) swap: bool,
    pub(crate) milli_cpus: Option<u32>,
    pub(crate) oom_killer: bool,
    pub(crate) tmp_bytes: Option<u64>,
    pub(crate) open_files: Option<u32>,
    pub(crate) user_processes: Option<u32>,
    pub(crate) core_dumps: bool,
    pub(crate) logs: Option<LogBounds>,
    pub(crate) network: bool,
    pub(crate) ports: bool,
    pub(crate) host_ipc: bool,
    pub(crate) host_processes: bool,
    pub(crate) host_name: bool,
    pub(crate) host_cgroups: bool,
    pub(crate) host_users: bool,
    pub(crate) devices: Vec<String>,
    /// Directories of the host beside the control socket's, at the same path.
    pub(crate) more_mounts: Vec<String>,
    pub(crate) control_writable: bool,
    pub(crate) masked_paths: Vec<&'static str>,
    pub(crate) read_only_paths: Vec<&'static str>,
    pub(crate) environment: Vec<String>,
    pub(crate) restarts: bool,
}

/// A system-call filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Profile {
    Ours,
    Daemons,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct LogBounds {
    pub(crate) file_mib: u32,
    pub(crate) files: u32,
}

/// Where Podman puts files in memory beside a read-only root, to be written and executed, unless something is there already.
pub(crate) const PODMAN_TMPFS: &[&str] = &["/run", "/var/tmp"];

/// What newer daemons mask, so that older ones do too, and what tells about the host beside it.
pub(crate) const MASKED_PATHS: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/modules",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
    "/proc/zoneinfo",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel",
];

pub(crate) const READ_ONLY_PATHS: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

impl Walls {
    /// The same with one control left to the daemon, or opened where the daemon would close it itself.
    pub(crate) fn without(mut self, control: Control) -> Self {
        match control {
            // Not walls of the container's own: see [`ContainerPlan`](super::ContainerPlan).
            Control::Image | Control::Command | Control::OciRuntime => {}
            Control::Unprivileged => self.privileged = true,
            Control::ReadOnlyRoot => self.read_only_root = false,
            Control::Capabilities => self.drops_all_capabilities = false,
            Control::NoNewPrivileges => self.no_new_privileges = false,
            Control::Seccomp => self.seccomp = Profile::None,
            Control::MandatoryAccess => self.keeps_mandatory_access = false,
            Control::User => self.user = None,
            Control::Processes => self.processes = None,
            Control::Memory => self.memory_bytes = None,
            Control::Swap => self.swap = true,
            Control::Cpu => self.milli_cpus = None,
            Control::OomKiller => self.oom_killer = false,
            Control::Tmp => self.tmp_bytes = None,
            Control::OpenFiles => self.open_files = None,
            Control::UserProcesses => self.user_processes = None,
            Control::CoreDumps => self.core_dumps = true,
            Control::Logs => self.logs = None,
            Control::Network => self.network = true,
            Control::Ports => self.ports = true,
            Control::Ipc => self.host_ipc = true,
            Control::ProcessNamespace => self.host_processes = true,
            Control::HostName => self.host_name = true,
            Control::CgroupNamespace => self.host_cgroups = true,
            Control::UserNamespace => self.host_users = true,
            Control::Devices => self.devices = vec!["/dev/kmsg".to_owned()],
            Control::Mounts => self.control_writable = true,
            Control::MaskedPaths => self.masked_paths = Vec::new(),
            Control::ReadOnlyPaths => self.read_only_paths = Vec::new(),
            Control::Environment => self.environment = vec!["BMM_SECRET=told by environment".to_owned()],
            Control::Restarts => self.restarts = true,
        }
        self
    }
}
