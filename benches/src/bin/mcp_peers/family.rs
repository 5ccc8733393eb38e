//! What a process and all its descendants use.

use std::collections::BTreeMap;
use std::path::Path;

/// Memory in MiB: what is resident, shared pages counted in each process, and with shared pages divided by those who share them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    pub(crate) resident: f64,
    pub(crate) proportional: f64,
}

/// The memory of `root` and all its descendants.
pub(crate) fn memory(root: u32) -> anyhow::Result<Memory> {
    let mut total = Memory::default();
    for pid in family(root)? {
        let folder = format!("/proc/{pid}");
        let (resident, proportional) = (
            field(Path::new(&folder).join("status").as_path(), "VmRSS:"),
            field(Path::new(&folder).join("smaps_rollup").as_path(), "Pss:"),
        );
        total.resident += resident.unwrap_or(0.0) / 1024.0;
        total.proportional += proportional.unwrap_or(0.0) / 1024.0;
    }
    Ok(total)
}

/// Processor time in seconds of `root`, and of all its descendants, those that have ended included.
pub(crate) fn cpu_seconds(root: u32) -> anyhow::Result<(f64, f64)> {
    let (mut own, mut others) = (0.0, 0.0);
    for pid in family(root)? {
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        // After the name, which may hold anything: state, ppid, …; utime, stime, cutime, cstime are the fields 14 to 17.
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let ticks: Vec<f64> = after_name
            .split(' ')
            .skip(11)
            .take(4)
            .filter_map(|ticks| ticks.parse().ok())
            .collect();
        if let [user, system, ended_user, ended_system] = ticks[..] {
            if pid == root {
                own = (user + system) / TICKS;
            } else {
                others += (user + system) / TICKS;
            }
            others += (ended_user + ended_system) / TICKS;
        }
    }
    Ok((own, others))
}

/// Of the kernel's clock in `/proc/PID/stat`, on all its architectures.
const TICKS: f64 = 100.0;

fn family(root: u32) -> anyhow::Result<Vec<u32>> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(parent) = field(&entry.path().join("status"), "PPid:") {
            children.entry(parent as u32).or_default().push(pid);
        }
    }
    let (mut waiting, mut found) = (vec![root], Vec::new());
    while let Some(pid) = waiting.pop() {
        found.push(pid);
        waiting.extend(children.remove(&pid).unwrap_or_default());
    }
    Ok(found)
}

fn field(file: &Path, name: &str) -> Option<f64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
