//! Holding a container against its plan: what was wanted, what the daemon says it did, and what the kernel does.

mod judge;
mod resources;
mod rights;
mod surroundings;
#[cfg(test)]
mod tests;

use judge::{Judge, Statements, daemon_only, said_of};

use super::evidence::Evidence;
use super::facts::DaemonFacts;
use super::plan::ContainerPlan;
use super::report::ContainerReport;
use super::walls::Control;

/// Judges every control. Looks at nothing but its arguments.
pub fn compare(plan: &ContainerPlan, daemon: &DaemonFacts, evidence: &Evidence) -> ContainerReport {
    let inspect = &evidence.inspect;
    let kernel = match plan.oci_runtime.as_deref().filter(|name| has_own_kernel(name)) {
        // What this host's kernel sees is the other kernel, not the container.
        Some(name) => Err(format!("it runs on a kernel of its own, of {name}")),
        None => evidence.kernel.as_ref().map_err(String::clone),
    };
    let judge = Judge {
        plan,
        facts: daemon,
        evidence,
        asked: inspect.host_config.clone().unwrap_or_default(),
        config: inspect.config.clone().unwrap_or_default(),
        kernel: kernel.as_ref().ok().copied(),
    };
    ContainerReport {
        hardening: plan.hardening,
        daemon: daemon.clone(),
        unseen: kernel.err(),
        findings: Control::ALL
            .into_iter()
            .map(|control| judge.judge(control).finding(control))
            .collect(),
    }
}

/// gVisor and Kata Containers, under the names that their documentations give them.
fn has_own_kernel(runtime: &str) -> bool {
    let name = runtime.strip_prefix("io.containerd.").unwrap_or(runtime);
    ["runsc", "gvisor", "kata"]
        .into_iter()
        .any(|known| name.starts_with(known))
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
            Control::Ipc => self.ipc(),
            Control::ProcessNamespace => self.process_namespace(),
            Control::HostName => self.namespace("uts", &["", "private"], self.asked.uts_mode.as_deref()),
            Control::CgroupNamespace => self.cgroup_namespace(),
            Control::UserNamespace => self.user_namespace(),
            Control::Restarts => self.restarts(),
            Control::OciRuntime => self.oci_runtime(),
        }
    }
}
