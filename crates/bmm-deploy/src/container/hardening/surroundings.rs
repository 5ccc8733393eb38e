//! What it can see and reach: files, devices, networks, and whoever else there is.

use std::collections::{BTreeSet, HashMap};

use bollard::models::HostConfigCgroupnsModeEnum;

use super::judge::{Judge, Said, Statements, daemon_only, list, open_paths, said_of, statements};
use crate::container::kernel::Mounted;
use crate::container::plan::CONTROL_DIR;
use crate::container::walls::PODMAN_TMPFS;

impl Judge<'_> {
    pub(super) fn read_only_root(&self) -> Statements {
        let kernel = self.seen(|kernel| match kernel.mount("/") {
            Some(root) => said_of(Some(root.options.contains("ro"))),
            None => Said::Unknown,
        });
        statements("yes", said_of(self.asked.readonly_rootfs), kernel)
    }

    pub(super) fn tmp(&self) -> Statements {
        let wanted = self.plan.wanted.tmp_bytes.unwrap_or_default();
        let tmpfs = self.asked.tmpfs.as_ref().and_then(|tmpfs| tmpfs.get("/tmp"));
        let daemon = match tmpfs {
            Some(options) => {
                let has = |option: &str| options.split(',').any(|found| found == option);
                let size = options.split(',').find_map(|option| option.strip_prefix("size="));
                let sized = size
                    .and_then(|size| size.parse::<u64>().ok())
                    .is_some_and(|size| size <= wanted);
                Said::so(
                    ["noexec", "nosuid", "nodev"].into_iter().all(has) && sized,
                    options,
                )
            }
            None => Said::Weak("no tmpfs".to_owned()),
        };
        let kernel = self.seen(|kernel| {
            let Some(tmp) = kernel.mount("/tmp") else {
                return Said::Weak("part of the root".to_owned());
            };
            let size = tmp.super_options.get("size").map_or("", String::as_str);
            let kib = size.strip_suffix('k').and_then(|kib| kib.parse::<u64>().ok());
            let sized = kib.is_some_and(|kib| kib.saturating_mul(1024) <= wanted);
            let closed = ["noexec", "nosuid", "nodev"]
                .iter()
                .all(|option| tmp.options.contains(*option));
            let found = format!("{} {} size={size}", tmp.kind, list(&tmp.options));
            Said::so(tmp.kind == "tmpfs" && sized && closed, found)
        });
        statements(
            format!("tmpfs noexec nosuid nodev, {wanted} bytes"),
            daemon,
            kernel,
        )
    }

    pub(super) fn mounts(&self) -> Statements {
        let inspect = &self.evidence.inspect;
        let asked = &self.asked;
        let found: Vec<String> = inspect
            .mounts
            .iter()
            .flatten()
            .map(|mount| {
                let at = mount.destination.as_deref().unwrap_or_default();
                let from = mount.source.as_deref().unwrap_or_default();
                let how = if mount.rw == Some(false) { "ro" } else { "rw" };
                let shared = mount.propagation.as_deref().unwrap_or_default();
                format!("{from} at {at} {how} {shared}")
            })
            .collect();
        let only = format!("{} at {CONTROL_DIR} ro rprivate", self.plan.control_dir);
        // Podman tells the one mount as a bind, too.
        let others = asked
            .binds
            .as_ref()
            .is_some_and(|binds| !binds.is_empty() && !self.facts.podman)
            || asked.volumes_from.as_ref().is_some_and(|from| !from.is_empty());
        let daemon = Said::so(found == [only.as_str()] && !others, list(&found));
        let kernel = self.seen(|kernel| {
            let Some(control) = kernel.mount(CONTROL_DIR) else {
                return Said::Weak("no control directory".to_owned());
            };
            let more: Vec<&str> = kernel
                .mounts
                .iter()
                .filter(|mount| !self.is_usual(mount))
                .map(|mount| mount.at.as_str())
                .collect();
            let closed = control.options.contains("ro");
            let how = if closed { "ro" } else { "rw" };
            Said::so(
                closed && more.is_empty(),
                format!("{CONTROL_DIR} {how}, beside it {}", list(&more)),
            )
        });
        statements(only, daemon, kernel)
    }

    pub(super) fn masked_paths(&self) -> Statements {
        let wanted: BTreeSet<&str> = self.plan.wanted.masked_paths.iter().copied().collect();
        let told = self.asked.masked_paths.as_deref();
        let kernel = self.seen(|kernel| {
            let open = wanted
                .iter()
                .filter(|path| kernel.sensitive_paths.contains(**path) && kernel.mount(path).is_none());
            open_paths(
                open.copied()
                    .filter(|path| !self.facts.podman || PODMAN_MASKS.contains(path)),
            )
        });
        statements("hidden", self.path_list(&wanted, told), kernel)
    }

    pub(super) fn read_only_paths(&self) -> Statements {
        let wanted: BTreeSet<&str> = self.plan.wanted.read_only_paths.iter().copied().collect();
        let told = self.asked.readonly_paths.as_deref();
        let kernel = self.seen(|kernel| {
            let open = wanted.iter().filter(|path| {
                let closed = kernel
                    .mount(path)
                    .is_some_and(|mount| mount.options.contains("ro"));
                kernel.sensitive_paths.contains(**path) && !closed
            });
            open_paths(open.copied())
        });
        statements("read-only", self.path_list(&wanted, told), kernel)
    }

    /// Podman tells no paths.
    pub(super) fn path_list(&self, wanted: &BTreeSet<&str>, told: Option<&[String]>) -> Said {
        if self.facts.podman {
            return Said::Unknown;
        }
        let told: BTreeSet<&str> = told.unwrap_or_default().iter().map(String::as_str).collect();
        open_paths(wanted.difference(&told).copied())
    }

    pub(super) fn devices(&self) -> Statements {
        let asked = &self.asked;
        let mut found: Vec<&str> = asked
            .devices
            .iter()
            .flatten()
            .map(|device| device.path_on_host.as_deref().unwrap_or_default())
            .collect();
        found.extend(asked.device_cgroup_rules.iter().flatten().map(String::as_str));
        if asked
            .device_requests
            .as_ref()
            .is_some_and(|requests| !requests.is_empty())
        {
            found.push("requests");
        }
        daemon_only("none", Said::so(found.is_empty(), list(&found)))
    }

    pub(super) fn network(&self) -> Statements {
        let mode = self.asked.network_mode.as_deref().unwrap_or_default();
        let networks = self.evidence.inspect.network_settings.as_ref();
        let more: Vec<&str> = networks
            .and_then(|settings| settings.networks.as_ref())
            .map(HashMap::keys)
            .into_iter()
            .flatten()
            .map(String::as_str)
            .filter(|name| *name != "none")
            .collect();
        let daemon = Said::so(
            mode == "none" && more.is_empty(),
            format!("{mode} {}", list(&more)),
        );
        let kernel = self.seen(|kernel| {
            let Some(interfaces) = &kernel.interfaces else {
                return Said::Unknown;
            };
            let alone = interfaces.iter().all(|name| name == "lo");
            let shared = kernel.own_namespaces.get("net") == Some(&false);
            let whose = if shared { "ours" } else { "its own" };
            Said::so(alone && !shared, format!("{whose}, with {}", list(interfaces)))
        });
        statements("none", daemon, kernel)
    }

    pub(super) fn ports(&self) -> Statements {
        let bound = self.asked.port_bindings.as_ref().map_or(0, HashMap::len);
        let networks = self.evidence.inspect.network_settings.as_ref();
        let open = networks
            .and_then(|settings| settings.ports.as_ref())
            .map_or(0, HashMap::len);
        let all = self.asked.publish_all_ports == Some(true);
        daemon_only(
            "none",
            Said::so(bound == 0 && open == 0 && !all, format!("{}", bound.max(open))),
        )
    }

    pub(super) fn ipc(&self) -> Statements {
        let mode = self.asked.ipc_mode.as_deref();
        // Podman calls every namespace of a container's own so.
        let mode = mode.filter(|mode| !(self.facts.podman && *mode == "shareable"));
        self.namespace("ipc", &["none", "private"], mode)
    }

    pub(super) fn process_namespace(&self) -> Statements {
        let statements = self.namespace("pid", &["", "private"], self.asked.pid_mode.as_deref());
        let nested = self.seen(|kernel| match kernel.numbers("NSpid") {
            Some(pids) => Said::so(pids.last() == Some(&1), format!("process {}", list(&pids))),
            None => Said::Unknown,
        });
        Statements {
            kernel: nested,
            ..statements
        }
    }

    pub(super) fn cgroup_namespace(&self) -> Statements {
        let mode = match self.asked.cgroupns_mode {
            Some(HostConfigCgroupnsModeEnum::PRIVATE) => Some("private"),
            Some(HostConfigCgroupnsModeEnum::HOST) => Some("host"),
            _ => None,
        };
        self.namespace("cgroup", &["private"], mode)
    }

    pub(super) fn user_namespace(&self) -> Statements {
        let mode = self.asked.userns_mode.as_deref().unwrap_or_default();
        let daemon = Said::so(
            mode != "host",
            if mode.is_empty() { "the daemon's" } else { mode },
        );
        if !self.facts.rootless && !self.facts.userns_remap {
            return daemon_only("the daemon's, which has none", daemon);
        }
        let kernel = self.seen(|kernel| {
            let mapped = kernel.outside(0);
            let found = mapped.map_or("no root".to_owned(), |uid| format!("root is {uid}"));
            Said::so(mapped != Some(0), found)
        });
        statements("the daemon's", daemon, kernel)
    }

    pub(super) fn namespace(&self, name: &str, fine: &[&str], mode: Option<&str>) -> Statements {
        let daemon = match mode {
            Some(mode) => Said::so(
                fine.contains(&mode),
                if mode.is_empty() { "private" } else { mode },
            ),
            None if fine.contains(&"") => Said::Fine("private".to_owned()),
            None => Said::Unknown,
        };
        let kernel = self.seen(|kernel| match kernel.own_namespaces.get(name) {
            Some(own) => Said::so(*own, if *own { "its own" } else { "ours" }),
            None => Said::Unknown,
        });
        statements("its own", daemon, kernel)
    }
    /// Whether every container has this mount.
    fn is_usual(&self, mount: &Mounted) -> bool {
        let at = mount.at.as_str();
        let below = |folder: &str| {
            at.strip_prefix(folder)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        match at {
            "/" | "/tmp" | CONTROL_DIR | "/etc/hostname" | "/etc/hosts" | "/etc/resolv.conf" => true,
            "/run/.containerenv" | "/etc/passwd" | "/etc/group" => self.facts.podman,
            _ if PODMAN_TMPFS.contains(&at) => mount.kind == "tmpfs" && mount.options.contains("noexec"),
            // Shared memory files of another container could be there.
            "/dev/shm" => false,
            _ => ["/dev", "/proc", "/sys"].into_iter().any(below),
        }
    }
}

/// What Podman masks by itself; what else the plan names it does not take through this API.
const PODMAN_MASKS: &[&str] = &[
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];
