//! How much it may use.

use std::collections::BTreeSet;

use super::judge::{Judge, Said, Statements, daemon_only, list, statements};
use crate::container::walls::LogBounds;

impl Judge<'_> {
    pub(super) fn processes(&self) -> Statements {
        let wanted = self.plan.wanted.processes.unwrap_or_default();
        let asked = self.asked.pids_limit.filter(|limit| *limit > 0);
        statements(
            wanted,
            Said::at_most(asked, i64::from(wanted)),
            self.seen(|kernel| Said::at_most(kernel.cgroup.processes, u64::from(wanted))),
        )
    }

    pub(super) fn memory(&self) -> Statements {
        let wanted = self.plan.wanted.memory_bytes.unwrap_or_default();
        let asked = self.asked.memory.and_then(|bytes| u64::try_from(bytes).ok());
        statements(
            wanted,
            Said::at_most(asked.filter(|bytes| *bytes > 0), wanted),
            self.seen(|kernel| Said::at_most(kernel.cgroup.memory, wanted)),
        )
    }

    /// Where the kernel does not count swap, only a host without swap will do.
    pub(super) fn swap(&self) -> Statements {
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

    pub(super) fn cpu(&self) -> Statements {
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
            .and_then(|(quota, period)| quota.saturating_mul(1000).checked_div(period));
        let asked = nano.or(quota).and_then(|milli| u64::try_from(milli).ok());
        statements(
            format!("{wanted}/1000"),
            Said::at_most(asked.filter(|milli| *milli > 0), wanted),
            self.seen(|kernel| Said::at_most(kernel.cgroup.milli_cpus, wanted)),
        )
    }

    pub(super) fn oom_killer(&self) -> Statements {
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

    pub(super) fn ulimit(&self, name: &str, kernels_name: &str, wanted: Option<u32>) -> Statements {
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

    pub(super) fn logs(&self) -> Statements {
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
}
