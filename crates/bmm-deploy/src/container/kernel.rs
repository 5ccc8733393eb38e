//! What the kernel says about a container's first process: `/proc/<pid>` and its control group, as plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::walls::{MASKED_PATHS, READ_ONLY_PATHS};

/// A process, as the kernel describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// Lines of `status`.
    pub(crate) status: BTreeMap<String, String>,
    /// Hard limits by their names in `limits`; `None` = unlimited.
    pub(crate) limits: BTreeMap<String, Option<u64>>,
    pub(crate) mounts: Vec<Mounted>,
    pub(crate) cgroup: CgroupLimits,
    /// By the names in `ns`: whether it is another than ours. Missing if it may not be read.
    pub(crate) own_namespaces: BTreeMap<String, bool>,
    /// Names of network interfaces.
    pub(crate) interfaces: Option<BTreeSet<String>>,
    /// First user inside, the same outside, and how many follow.
    pub(crate) uid_map: Vec<[u64; 3]>,
    pub(crate) oom_score_adj: Option<i64>,
    /// Which of the paths to mask or write-protect there are on this kernel.
    pub(crate) sensitive_paths: BTreeSet<&'static str>,
    /// Whether this host swaps at all.
    pub(crate) host_swaps: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mounted {
    pub(crate) at: String,
    pub(crate) kind: String,
    pub(crate) options: BTreeSet<String>,
    /// Those of the file system, not of the mount.
    pub(crate) super_options: BTreeMap<String, String>,
}

/// Limits as the kernel keeps them. `None` = there is no such limit, or it is not to be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CgroupLimits {
    pub(crate) memory: Option<u64>,
    /// Beyond memory.
    pub(crate) swap: Option<u64>,
    pub(crate) processes: Option<u64>,
    pub(crate) milli_cpus: Option<u64>,
}

impl Kernel {
    /// The process `pid`, if it is one of the container `id`: a daemon elsewhere numbers its processes differently, and
    /// others may have these numbers here.
    pub(crate) fn look(pid: i64, id: &str) -> Result<Self, String> {
        if pid <= 0 {
            return Err("the container does not run".to_owned());
        }
        let at = PathBuf::from(format!("/proc/{pid}"));
        let read = |name: &str| std::fs::read_to_string(at.join(name));
        let hidden = |error: io::Error| format!("its first process is not to be seen: {error}");
        let groups = read("cgroup").map_err(hidden)?;
        if !groups.contains(id) {
            return Err("its first process is not one of this host".to_owned());
        }
        let own_mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(hidden)?;
        let exists = |path: &&str| Path::new(path).symlink_metadata().is_ok();
        let seen = Self {
            status: fields(&read("status").map_err(hidden)?),
            limits: hard_limits(&read("limits").map_err(hidden)?),
            mounts: mounts(&read("mountinfo").map_err(hidden)?),
            cgroup: cgroup_limits(&cgroup_folders(&groups, &own_mounts)),
            own_namespaces: own_namespaces(&at),
            interfaces: read("net/dev").ok().map(|text| interfaces(&text)),
            uid_map: uid_map(&read("uid_map").map_err(hidden)?),
            oom_score_adj: read("oom_score_adj")
                .ok()
                .and_then(|text| text.trim().parse().ok()),
            sensitive_paths: MASKED_PATHS
                .iter()
                .chain(READ_ONLY_PATHS)
                .copied()
                .filter(exists)
                .collect(),
            host_swaps: std::fs::read_to_string("/proc/swaps").map_or(true, |text| text.lines().count() > 1),
        };
        // Its number may have become another's meanwhile.
        match read("cgroup") {
            Ok(now) if now == groups => Ok(seen),
            _ => Err("its first process has ended meanwhile".to_owned()),
        }
    }

    pub(crate) fn mount(&self, at: &str) -> Option<&Mounted> {
        // A later mount covers an earlier one.
        self.mounts.iter().rev().find(|mount| mount.at == at)
    }

    /// The user outside for `uid` inside.
    pub(crate) fn outside(&self, uid: u32) -> Option<u64> {
        let uid = u64::from(uid);
        self.uid_map.iter().find_map(|[inside, outside, count]| {
            let offset = uid.checked_sub(*inside)?;
            (offset < *count).then_some(outside + offset)
        })
    }

    pub(crate) fn numbers(&self, name: &str) -> Option<Vec<u64>> {
        let text = self.status.get(name)?;
        text.split_whitespace()
            .map(|number| number.parse().ok())
            .collect()
    }
}

/// `Name:<tab>value` lines.
fn fields(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

/// Columns of fixed width: name, soft limit, hard limit, unit.
fn hard_limits(text: &str) -> BTreeMap<String, Option<u64>> {
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let (name, rest) = (line.get(..26)?.trim(), line.get(26..)?);
            let hard = rest.split_whitespace().nth(1)?;
            Some((name.to_owned(), hard.parse().ok()))
        })
        .collect()
}

/// See proc(5): `id parent major:minor root at options [tags] - kind source super-options`.
fn mounts(text: &str) -> Vec<Mounted> {
    let mount = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(4);
        let (at, options) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let (kind, super_options) = (right.next()?, right.nth(1)?);
        Some(Mounted {
            at: at.to_owned(),
            kind: kind.to_owned(),
            options: options.split(',').map(str::to_owned).collect(),
            super_options: super_options
                .split(',')
                .map(|option| option.split_once('=').unwrap_or((option, "")))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        })
    };
    text.lines().filter_map(mount).collect()
}

/// Interfaces are named before a colon, after two lines of headings.
fn interfaces(text: &str) -> BTreeSet<String> {
    text.lines()
        .skip(2)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim().to_owned())
        .collect()
}

fn uid_map(text: &str) -> Vec<[u64; 3]> {
    text.lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
            Some([numbers.next()??, numbers.next()??, numbers.next()??])
        })
        .collect()
}

fn own_namespaces(process: &Path) -> BTreeMap<String, bool> {
    let link = |process: &Path, name: &str| std::fs::read_link(process.join("ns").join(name)).ok();
    ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"]
        .into_iter()
        .filter_map(|name| {
            let (theirs, ours) = (link(process, name)?, link(Path::new("/proc/self"), name)?);
            Some((name.to_owned(), theirs != ours))
        })
        .collect()
}

/// Where the limits of a process are: by controller in version 1, all in one (named by nothing) in version 2.
fn cgroup_folders(groups: &str, own_mounts: &str) -> BTreeMap<String, PathBuf> {
    let mut folders = BTreeMap::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        for controller in controllers.split(',') {
            let hierarchy = own_mounts.lines().find_map(|line| {
                let mounted = mounts(line).pop()?;
                let is_it = if controller.is_empty() {
                    mounted.kind == "cgroup2"
                } else {
                    mounted.kind == "cgroup" && mounted.super_options.contains_key(controller)
                };
                let root = line.split(' ').nth(3)?;
                is_it.then(|| (mounted.at, root.to_owned()))
            });
            if let Some((at, root)) = hierarchy {
                let below = path.strip_prefix(root.trim_end_matches('/')).unwrap_or(path);
                let folder = Path::new(&at).join(below.trim_start_matches('/'));
                folders.insert(controller.to_owned(), folder);
            }
        }
    }
    folders
}

fn cgroup_limits(folders: &BTreeMap<String, PathBuf>) -> CgroupLimits {
    let read = |controller: &str, name: &str| {
        let text = std::fs::read_to_string(folders.get(controller)?.join(name)).ok()?;
        Some(text.trim().to_owned())
    };
    let number = |controller: &str, name: &str| read(controller, name)?.parse::<u64>().ok();
    let memory = number("memory", "memory.limit_in_bytes").or_else(|| number("", "memory.max"));
    let with_swap = number("memory", "memory.memsw.limit_in_bytes");
    let quota = number("cpu", "cpu.cfs_quota_us").zip(number("cpu", "cpu.cfs_period_us"));
    CgroupLimits {
        memory,
        swap: with_swap
            .zip(memory)
            .map(|(both, memory)| both.saturating_sub(memory))
            .or_else(|| number("", "memory.swap.max")),
        processes: number("pids", "pids.max").or_else(|| number("", "pids.max")),
        milli_cpus: quota
            .or_else(|| cpu_max(&read("", "cpu.max")?))
            .and_then(|(quota, period)| (quota.saturating_mul(1000)).checked_div(period)),
    }
}

/// `quota period`, or `max period`.
fn cpu_max(text: &str) -> Option<(u64, u64)> {
    let (quota, period) = text.split_once(' ')?;
    Some((quota.parse().ok()?, period.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_about_this_process_is_read() {
        let pid = std::process::id();
        let own_group = std::fs::read_to_string("/proc/self/cgroup").expect("is there");
        // Every process is in some group, so anything that stands there will do as its container.
        let kernel = Kernel::look(pid.into(), own_group.trim()).expect("is there");
        assert_eq!(kernel.numbers("Tgid"), Some(vec![pid.into()]));
        assert!(
            kernel.limits.contains_key("Max open files"),
            "{:?}",
            kernel.limits
        );
        assert!(kernel.mount("/proc").is_some_and(|mount| mount.kind == "proc"));
        assert!(kernel.own_namespaces.values().all(|own| !own), "they are ours");
        assert!(kernel.interfaces.is_some_and(|names| names.contains("lo")));
        assert_eq!(Kernel::look(0, ""), Err("the container does not run".to_owned()));
        assert!(
            Kernel::look(pid.into(), "0123456789abcdef").is_err(),
            "no container of this host"
        );
    }

    #[test]
    fn groups_of_version_1_are_one_folder_a_controller() {
        let groups = "12:pids:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/\n";
        let own = "\
30 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
31 25 0:27 / /sys/fs/cgroup/pids rw,relatime shared:10 - cgroup cgroup rw,pids
32 25 0:28 / /sys/fs/cgroup/unified rw,relatime shared:11 - cgroup2 cgroup2 rw
";
        let folders = cgroup_folders(groups, own);
        assert_eq!(folders["pids"], Path::new("/sys/fs/cgroup/pids/docker/abc"));
        assert_eq!(folders["cpu"], Path::new("/sys/fs/cgroup/cpu,cpuacct/docker/abc"));
        assert_eq!(folders[""], Path::new("/sys/fs/cgroup/unified/"));
    }

    #[test]
    fn groups_of_version_2_are_one_folder() {
        let groups = "0::/system.slice/docker-abc.scope\n";
        let own = "30 25 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw,nsdelegate\n";
        let folders = cgroup_folders(groups, own);
        let folder = tempfile::tempdir().expect("can be made");
        assert_eq!(
            folders[""],
            Path::new("/sys/fs/cgroup/system.slice/docker-abc.scope")
        );

        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("can be written");
        let folders = BTreeMap::from([(String::new(), folder.path().to_owned())]);
        let unlimited = CgroupLimits::default();
        assert_eq!(cgroup_limits(&folders), unlimited, "nothing is there");
        for name in ["memory.max", "memory.swap.max", "pids.max"] {
            write(name, "max\n");
        }
        write("cpu.max", "max 100000\n");
        assert_eq!(cgroup_limits(&folders), unlimited);
        write("memory.max", "536870912\n");
        write("memory.swap.max", "0\n");
        write("pids.max", "100\n");
        write("cpu.max", "50000 100000\n");
        let limits = CgroupLimits {
            memory: Some(536_870_912),
            swap: Some(0),
            processes: Some(100),
            milli_cpus: Some(500),
        };
        assert_eq!(cgroup_limits(&folders), limits);
    }

    #[test]
    fn mapped_users_are_found() {
        let kernel = Kernel {
            uid_map: uid_map("         0       1000          1\n         1     100000      65536\n"),
            ..Kernel::default()
        };
        assert_eq!(kernel.outside(0), Some(1000));
        assert_eq!(kernel.outside(20_000), Some(119_999));
        assert_eq!(kernel.outside(70_000), None);
    }

    #[test]
    fn a_mount_is_what_was_mounted_last() {
        let kernel = Kernel {
            mounts: mounts(
                "1 0 0:1 / /tmp rw,relatime - ext4 /dev/vda rw\n\
                 2 1 0:2 / /tmp rw,nosuid,nodev,noexec - tmpfs tmpfs rw,size=16384k,inode64\n",
            ),
            ..Kernel::default()
        };
        let tmp = kernel.mount("/tmp").expect("is there");
        assert_eq!(
            (tmp.kind.as_str(), tmp.super_options["size"].as_str()),
            ("tmpfs", "16384k")
        );
        assert!(tmp.options.contains("noexec"));
    }
}
