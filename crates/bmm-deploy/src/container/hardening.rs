//! Holding a container against its plan: what was wanted, what the daemon says it did, and what the kernel does.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;

use bollard::models::{ContainerConfig, HostConfig, HostConfigCgroupnsModeEnum, RestartPolicyNameEnum};
use serde_json::Value;

use super::evidence::Evidence;
use super::facts::DaemonFacts;
use super::kernel::Kernel;
use super::plan::{CONTROL_DIR, ContainerPlan};
use super::report::{ContainerReport, Finding, Verdict};
use super::seccomp::SECCOMP_PROFILE;
use super::walls::{Control, LogBounds};

/// Judges every control. Looks at nothing but its arguments.
pub fn compare(plan: &ContainerPlan, daemon: &DaemonFacts, evidence: &Evidence) -> ContainerReport {
    let inspect = &evidence.inspect;
    let judge = Judge {
        plan,
        facts: daemon,
        evidence,
        asked: inspect.host_config.clone().unwrap_or_default(),
        config: inspect.config.clone().unwrap_or_default(),
        kernel: evidence.kernel.as_ref().ok(),
    };
    ContainerReport {
        hardening: plan.hardening,
        daemon: daemon.clone(),
        unseen: evidence.kernel.as_ref().err().cloned(),
        findings: Control::ALL
            .into_iter()
            .map(|control| judge.judge(control).finding(control))
            .collect(),
    }
}

struct Judge<'a> {
    plan: &'a ContainerPlan,
    facts: &'a DaemonFacts,
    evidence: &'a Evidence,
    /// What the daemon remembers to have been asked for.
    asked: HostConfig,
    config: ContainerConfig,
    kernel: Option<&'a Kernel>,
}

/// What is said about one control.
struct Statements {
    wanted: String,
    daemon: Said,
    kernel: Said,
}

/// What one of the two says.
enum Said {
    Fine(String),
    Weak(String),
    /// It would know, and does not tell.
    Unknown,
    /// It is none of its business.
    Nothing,
}

impl Said {
    fn so(fine: bool, found: impl Display) -> Self {
        let found = found.to_string();
        if fine {
            Self::Fine(found)
        } else {
            Self::Weak(found)
        }
    }

    /// A number that must not be larger. `None` = not limited.
    fn at_most<T: PartialOrd + Display>(found: Option<T>, wanted: T) -> Self {
        match found {
            Some(found) => Self::so(found <= wanted, found),
            None => Self::Weak("no limit".to_owned()),
        }
    }
}

impl Statements {
    fn finding(self, control: Control) -> Finding {
        use Said::{Fine, Nothing, Unknown, Weak};
        let verdict = match (&self.daemon, &self.kernel) {
            (Weak(_), _) | (_, Weak(_)) => Verdict::Weaker,
            (_, Unknown) | (Unknown, Nothing) => Verdict::Unknown,
            (_, Fine(_)) | (Fine(_) | Nothing, Nothing) => Verdict::Holds,
        };
        let words: Vec<String> = [("daemon", self.daemon), ("kernel", self.kernel)]
            .into_iter()
            .filter_map(|(who, said)| match said {
                Fine(found) | Weak(found) => Some(format!("{who}: {found}")),
                Unknown => Some(format!("{who}: ?")),
                Nothing => None,
            })
            .collect();
        Finding {
            control,
            verdict,
            wanted: self.wanted,
            found: words.join(", "),
        }
    }
}

impl Judge<'_> {
    fn judge(&self, control: Control) -> Statements {
        match control {
            Control::Image => self.image(),
            Control::Command => self.command(),
            Control::Environment => self.environment(),
            Control::Unprivileged => daemon_only("no", said_of(self.asked.privileged.map(|is| !is))),
            Control::Capabilities => self.capabilities(),
            Control::NoNewPrivileges => self.no_new_privileges(),
            Control::Seccomp => self.seccomp(),
            Control::MandatoryAccess => self.mandatory_access(),
            Control::User => self.user(),
            Control::Processes => self.processes(),
            Control::Memory => self.memory(),
            Control::Swap => self.swap(),
            Control::Cpu => self.cpu(),
            Control::OomKiller => self.oom_killer(),
            Control::OpenFiles => self.ulimit("nofile", "Max open files", self.plan.wanted.open_files),
            Control::UserProcesses => self.ulimit("nproc", "Max processes", self.plan.wanted.user_processes),
            Control::CoreDumps => self.ulimit("core", "Max core file size", Some(0)),
            Control::Logs => self.logs(),
            Control::ReadOnlyRoot => self.read_only_root(),
            Control::Tmp => self.tmp(),
            Control::Mounts => self.mounts(),
            Control::MaskedPaths => self.masked_paths(),
            Control::ReadOnlyPaths => self.read_only_paths(),
            Control::Devices => self.devices(),
            Control::Network => self.network(),
            Control::Ports => self.ports(),
            Control::Ipc => self.namespace("ipc", &["none", "private"], self.asked.ipc_mode.as_deref()),
            Control::ProcessNamespace => self.process_namespace(),
            Control::HostName => self.namespace("uts", &["", "private"], self.asked.uts_mode.as_deref()),
            Control::CgroupNamespace => self.cgroup_namespace(),
            Control::UserNamespace => self.user_namespace(),
            Control::Restarts => self.restarts(),
            Control::OciRuntime => self.oci_runtime(),
        }
    }

    // What runs.

    fn image(&self) -> Statements {
        let wanted = self.plan.image.as_str();
        let found = self.evidence.inspect.image.as_deref();
        // Podman leaves out what digest it is.
        let is_it = |found: &str| found == wanted || Some(found) == wanted.strip_prefix("sha256:");
        daemon_only(
            wanted,
            found.map_or(Said::Unknown, |found| Said::so(is_it(found), found)),
        )
    }

    fn command(&self) -> Statements {
        let wanted: Vec<&String> = self.plan.entrypoint.iter().chain(&self.plan.arguments).collect();
        let inspect = &self.evidence.inspect;
        let found: Option<Vec<&String>> = inspect.path.as_ref().map(|path| {
            std::iter::once(path)
                .chain(inspect.args.iter().flatten())
                .collect()
        });
        let said = found.map_or(Said::Unknown, |found| {
            Said::so(found == wanted, format!("{found:?}"))
        });
        daemon_only(format!("{wanted:?}"), said)
    }

    /// Variables that daemons set for everybody are fine; their values are not told, since others' could be secrets.
    fn environment(&self) -> Statements {
        let found: Vec<&str> = self
            .config
            .env
            .iter()
            .flatten()
            .map(|variable| {
                variable
                    .split_once('=')
                    .map_or(variable.as_str(), |(name, _)| name)
            })
            .filter(|name| !["PATH", "HOME", "HOSTNAME", "TERM", "container"].contains(name))
            .collect();
        daemon_only("nothing", Said::so(found.is_empty(), list(&found)))
    }

    fn oci_runtime(&self) -> Statements {
        let found = self.asked.runtime.as_deref();
        let Some(wanted) = self.plan.oci_runtime.as_deref() else {
            let said = Said::Fine(found.unwrap_or_default().to_owned());
            return daemon_only("the daemon's default", said);
        };
        daemon_only(
            wanted,
            found.map_or(Said::Unknown, |found| Said::so(found == wanted, found)),
        )
    }

    fn restarts(&self) -> Statements {
        let policy = self.asked.restart_policy.as_ref().and_then(|policy| policy.name);
        let said = policy.map_or(Said::Unknown, |name| {
            let is_none = matches!(name, RestartPolicyNameEnum::NO | RestartPolicyNameEnum::EMPTY);
            Said::so(is_none, name)
        });
        daemon_only("no", said)
    }

    // What it may do.

    fn capabilities(&self) -> Statements {
        let added = self.asked.cap_add.as_deref().unwrap_or_default();
        let dropped = self.asked.cap_drop.as_deref().unwrap_or_default();
        let all = dropped
            .iter()
            .any(|name| ["ALL", "CAP_ALL"].contains(&name.as_str()));
        let daemon = if !added.is_empty() || dropped.is_empty() {
            Said::Weak(format!("{} added, {} dropped", list(added), list(dropped)))
        } else if all {
            Said::Fine("ALL dropped".to_owned())
        } else {
            // Podman lists them one by one.
            Said::Unknown
        };
        let kernel = self.seen(|kernel| {
            let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
            let set = |name: &str| kernel.status.get(name).map_or("?", String::as_str);
            let none = sets
                .iter()
                .all(|name| u64::from_str_radix(set(name), 16) == Ok(0));
            let found: Vec<String> = sets.iter().map(|name| format!("{name} {}", set(name))).collect();
            if none {
                Said::Fine("none".to_owned())
            } else {
                Said::Weak(found.join(" "))
            }
        });
        statements("none, and none to be had", daemon, kernel)
    }

    fn no_new_privileges(&self) -> Statements {
        let is_set = self.security_options().any(|option| {
            [
                "no-new-privileges",
                "no-new-privileges:true",
                "no-new-privileges=true",
            ]
            .contains(&option)
        });
        let kernel = self.seen(|kernel| said_of(kernel.numbers("NoNewPrivs").map(|numbers| numbers == [1])));
        statements("yes", said_of(Some(is_set)), kernel)
    }

    fn seccomp(&self) -> Statements {
        let profile = self
            .security_options()
            .find_map(|option| option.strip_prefix("seccomp="));
        let daemon = match (profile, &self.plan.seccomp_file) {
            (None, _) => Said::Weak("its own profile, or none".to_owned()),
            (Some(found), Some(path)) if found == path => Said::Fine("our profile".to_owned()),
            (Some(found), _) => {
                let ours = serde_json::from_str::<Value>(SECCOMP_PROFILE).ok();
                let is_ours = ours.is_some() && serde_json::from_str(found).ok() == ours;
                Said::so(is_ours, if is_ours { "our profile" } else { "another profile" })
            }
        };
        let kernel = self.seen(|kernel| {
            let mode = kernel.numbers("Seccomp");
            let said = |mode: &[u64]| Said::so(mode == [2], format!("mode {}", list(mode)));
            mode.as_deref().map_or(Said::Unknown, said)
        });
        statements("our profile, mode 2", daemon, kernel)
    }

    fn mandatory_access(&self) -> Statements {
        let inspect = &self.evidence.inspect;
        let named = |name: &Option<String>| name.clone().unwrap_or_default();
        let (profile, label) = (named(&inspect.app_armor_profile), named(&inspect.process_label));
        let unwanted = self
            .security_options()
            .find(|option| ["apparmor=unconfined", "label=disable", "label:disable"].contains(option));
        let daemon = if let Some(unwanted) = unwanted {
            Said::Weak(unwanted.to_owned())
        } else if self.facts.app_armor {
            Said::so(
                !["", "unconfined"].contains(&profile.as_str()),
                format!("AppArmor {profile:?}"),
            )
        } else if self.facts.selinux {
            Said::so(!label.is_empty(), format!("SELinux {label:?}"))
        } else {
            Said::Fine("the host has neither".to_owned())
        };
        daemon_only("as the host has it", daemon)
    }

    fn user(&self) -> Statements {
        let uid = self.plan.uid;
        let asked = self.config.user.as_deref().unwrap_or_default();
        let daemon = Said::so(
            asked == format!("{uid}:{uid}"),
            if asked.is_empty() { "root" } else { asked },
        );
        let kernel = self.seen(|kernel| {
            let Some(outside) = kernel.outside(uid) else {
                return Said::Weak("the user is not mapped".to_owned());
            };
            let (Some(users), Some(groups), Some(more)) = (
                kernel.numbers("Uid"),
                kernel.numbers("Gid"),
                kernel.numbers("Groups"),
            ) else {
                return Said::Unknown;
            };
            let is_it = users.iter().all(|user| *user == outside);
            let are_its = groups.iter().chain(&more).all(|group| *group == outside);
            Said::so(
                is_it && are_its && outside != 0,
                format!("user {} group {} {}", list(&users), list(&groups), list(&more)),
            )
        });
        statements(format!("{uid}:{uid}"), daemon, kernel)
    }

    // What it may use.

    fn processes(&self) -> Statements {
        let wanted = self.plan.wanted.processes.unwrap_or_default();
        let asked = self.asked.pids_limit.filter(|limit| *limit > 0);
        statements(
            wanted,
            Said::at_most(asked, i64::from(wanted)),
            self.seen(|kernel| Said::at_most(kernel.cgroup.processes, u64::from(wanted))),
        )
    }

    fn memory(&self) -> Statements {
        let wanted = self.plan.wanted.memory_bytes.unwrap_or_default();
        let asked = self.asked.memory.and_then(|bytes| u64::try_from(bytes).ok());
        statements(
            wanted,
            Said::at_most(asked.filter(|bytes| *bytes > 0), wanted),
            self.seen(|kernel| Said::at_most(kernel.cgroup.memory, wanted)),
        )
    }

    /// Where the kernel does not count swap, only a host without swap will do.
    fn swap(&self) -> Statements {
        let memory = self
            .plan
            .wanted
            .memory_bytes
            .and_then(|bytes| i64::try_from(bytes).ok());
        let both = self.asked.memory_swap.unwrap_or_default();
        let kernel = self.seen(|kernel| match kernel.cgroup.swap {
            Some(swap) => Said::so(swap == 0, swap),
            None => Said::so(!kernel.host_swaps, "not counted; whether the host swaps decides"),
        });
        let daemon = match both {
            0 | -1 if matches!(kernel, Said::Fine(_)) => Said::Unknown,
            both => Said::so(Some(both) == memory, format!("{both} with memory")),
        };
        statements("none", daemon, kernel)
    }

    fn cpu(&self) -> Statements {
        let wanted = u64::from(self.plan.wanted.milli_cpus.unwrap_or_default());
        let nano = self
            .asked
            .nano_cpus
            .filter(|nano| *nano > 0)
            .map(|nano| nano / 1_000_000);
        let quota = self
            .asked
            .cpu_quota
            .zip(self.asked.cpu_period)
            .and_then(|(quota, period)| (quota * 1000).checked_div(period));
        let asked = nano.or(quota).and_then(|milli| u64::try_from(milli).ok());
        statements(
            format!("{wanted}/1000"),
            Said::at_most(asked.filter(|milli| *milli > 0), wanted),
            self.seen(|kernel| Said::at_most(kernel.cgroup.milli_cpus, wanted)),
        )
    }

    fn oom_killer(&self) -> Statements {
        let daemon = Said::so(
            self.asked.oom_kill_disable != Some(true),
            format!("disabled: {}", self.asked.oom_kill_disable.unwrap_or_default()),
        );
        let kernel = self.seen(|kernel| match kernel.oom_score_adj {
            Some(score) => Said::so(score >= 0, format!("score {score}")),
            None => Said::Unknown,
        });
        statements("may end it", daemon, kernel)
    }

    fn ulimit(&self, name: &str, kernels_name: &str, wanted: Option<u32>) -> Statements {
        let wanted = wanted.unwrap_or_default();
        let asked = self.asked.ulimits.iter().flatten().find(|limit| {
            // Podman writes RLIMIT_NOFILE.
            let known = limit.name.as_deref().unwrap_or_default().to_ascii_lowercase();
            known.trim_start_matches("rlimit_") == name
        });
        let asked = asked.and_then(|limit| limit.hard).filter(|hard| *hard >= 0);
        statements(
            wanted,
            Said::at_most(asked, i64::from(wanted)),
            self.seen(|kernel| match kernel.limits.get(kernels_name) {
                Some(limit) => Said::at_most(*limit, u64::from(wanted)),
                None => Said::Unknown,
            }),
        )
    }

    fn logs(&self) -> Statements {
        let Some(LogBounds { file_mib, files }) = self.plan.wanted.logs else {
            return daemon_only("anything", Said::Nothing);
        };
        let log = self.asked.log_config.clone().unwrap_or_default();
        let (kind, options) = (log.typ.unwrap_or_default(), log.config.unwrap_or_default());
        let is = |name: &str, value: String| options.get(name) == Some(&value);
        let bounded = is("max-size", format!("{file_mib}m")) && is("max-file", files.to_string());
        let daemon = if self.facts.podman {
            // It tells the bounds elsewhere.
            Said::Unknown
        } else {
            let found: BTreeSet<String> = options
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            Said::so(kind == "json-file" && bounded, format!("{kind} {}", list(&found)))
        };
        daemon_only(format!("{files} of {file_mib} MiB"), daemon)
    }

    // What it may see of files.

    fn read_only_root(&self) -> Statements {
        let kernel = self.seen(|kernel| match kernel.mount("/") {
            Some(root) => said_of(Some(root.options.contains("ro"))),
            None => Said::Unknown,
        });
        statements("yes", said_of(self.asked.readonly_rootfs), kernel)
    }

    fn tmp(&self) -> Statements {
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

    fn mounts(&self) -> Statements {
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
        let others = asked.binds.as_ref().is_some_and(|binds| !binds.is_empty())
            || asked.volumes_from.as_ref().is_some_and(|from| !from.is_empty());
        let daemon = Said::so(found == [only.as_str()] && !others, list(&found));
        let kernel = self.seen(|kernel| {
            let Some(control) = kernel.mount(CONTROL_DIR) else {
                return Said::Weak("no control directory".to_owned());
            };
            let more: Vec<&str> = kernel
                .mounts
                .iter()
                .filter(|mount| !is_usual(&mount.at))
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

    fn masked_paths(&self) -> Statements {
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

    fn read_only_paths(&self) -> Statements {
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
    fn path_list(&self, wanted: &BTreeSet<&str>, told: Option<&[String]>) -> Said {
        if self.facts.podman {
            return Said::Unknown;
        }
        let told: BTreeSet<&str> = told.unwrap_or_default().iter().map(String::as_str).collect();
        open_paths(wanted.difference(&told).copied())
    }

    fn devices(&self) -> Statements {
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

    // What it may see of the rest.

    fn network(&self) -> Statements {
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

    fn ports(&self) -> Statements {
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

    fn process_namespace(&self) -> Statements {
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

    fn cgroup_namespace(&self) -> Statements {
        let mode = match self.asked.cgroupns_mode {
            Some(HostConfigCgroupnsModeEnum::PRIVATE) => Some("private"),
            Some(HostConfigCgroupnsModeEnum::HOST) => Some("host"),
            _ => None,
        };
        self.namespace("cgroup", &["private"], mode)
    }

    fn user_namespace(&self) -> Statements {
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

    fn namespace(&self, name: &str, fine: &[&str], mode: Option<&str>) -> Statements {
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

    /// What the kernel says, if it could be asked.
    fn seen(&self, look: impl FnOnce(&Kernel) -> Said) -> Said {
        self.kernel.map_or(Said::Unknown, look)
    }

    fn security_options(&self) -> impl Iterator<Item = &str> {
        self.asked.security_opt.iter().flatten().map(String::as_str)
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

/// Whether every container has this mount.
fn is_usual(at: &str) -> bool {
    let below = |folder: &str| {
        at.strip_prefix(folder)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match at {
        "/" | "/tmp" | CONTROL_DIR => true,
        "/etc/hostname" | "/etc/hosts" | "/etc/resolv.conf" | "/run/.containerenv" => true,
        // Shared memory files of another container could be there.
        "/dev/shm" => false,
        _ => ["/dev", "/proc", "/sys"].into_iter().any(below),
    }
}

fn statements(wanted: impl Display, daemon: Said, kernel: Said) -> Statements {
    Statements {
        wanted: wanted.to_string(),
        daemon,
        kernel,
    }
}

/// Of what the kernel knows nothing.
fn daemon_only(wanted: impl Display, daemon: Said) -> Statements {
    statements(wanted, daemon, Said::Nothing)
}

fn said_of(holds: Option<bool>) -> Said {
    holds.map_or(Said::Unknown, |holds| {
        Said::so(holds, if holds { "yes" } else { "no" })
    })
}

fn open_paths<'a>(open: impl Iterator<Item = &'a str>) -> Said {
    let open: Vec<&str> = open.collect();
    if open.is_empty() {
        Said::Fine("yes".to_owned())
    } else {
        Said::Weak(format!("not {}", list(&open)))
    }
}

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() {
        "nothing".to_owned()
    } else {
        items.join(" ")
    }
}
