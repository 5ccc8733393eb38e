//! What a daemon says about itself and its host: not walls of ours, but good to know.

use std::fmt;

use bollard::models::{SystemInfo, SystemInfoCgroupVersionEnum, SystemVersion};
use serde::{Deserialize, Serialize};

use super::docker::{Docker, DockerError};
use super::uids::UidRange;

/// A daemon, as it describes itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonFacts {
    /// Podman behind the Docker API: it reads a seccomp profile from a file.
    pub podman: bool,
    /// The daemon's version.
    pub version: String,
    /// 1 or 2.
    pub cgroup_version: Option<u8>,
    /// It can filter system calls.
    pub seccomp: bool,
    /// It puts containers into an AppArmor profile.
    pub app_armor: bool,
    /// It labels containers for SELinux.
    pub selinux: bool,
    /// It does not run as root.
    pub rootless: bool,
    /// The users of its containers are mapped to others of the host.
    pub userns_remap: bool,
    /// Containers survive its restart.
    pub live_restore: bool,
    /// Swap can be limited.
    pub swap_limit: bool,
    /// OCI runtimes it knows.
    pub runtimes: Vec<String>,
    /// The one it takes unasked.
    pub default_runtime: String,
}

impl Docker {
    /// Asks the daemon about itself.
    pub async fn facts(&self) -> Result<DaemonFacts, DockerError> {
        let what = "tell about itself";
        let info = self.client().info().await;
        let version = self.client().version().await;
        Ok(DaemonFacts::from_answers(
            info.map_err(|error| DockerError::new(what, error))?,
            version.map_err(|error| DockerError::new(what, error))?,
        ))
    }
}

impl DaemonFacts {
    /// Where users for its containers come from.
    pub fn uids(&self) -> UidRange {
        if self.rootless || self.userns_remap {
            UidRange::MAPPED
        } else {
            UidRange::HOST
        }
    }

    fn from_answers(info: SystemInfo, version: SystemVersion) -> Self {
        let options = info.security_options.unwrap_or_default();
        let has = |name: &str| {
            options.iter().any(|option| {
                option
                    .split(',')
                    .any(|part| part.strip_prefix("name=").unwrap_or(part) == name)
            })
        };
        let mut runtimes: Vec<String> = info.runtimes.unwrap_or_default().into_keys().collect();
        runtimes.sort();
        Self {
            podman: version
                .components
                .unwrap_or_default()
                .iter()
                .any(|component| component.name.starts_with("Podman")),
            version: info.server_version.or(version.version).unwrap_or_default(),
            cgroup_version: match info.cgroup_version {
                Some(SystemInfoCgroupVersionEnum::_1) => Some(1),
                Some(SystemInfoCgroupVersionEnum::_2) => Some(2),
                _ => None,
            },
            seccomp: has("seccomp"),
            app_armor: has("apparmor"),
            selinux: has("selinux"),
            rootless: has("rootless"),
            userns_remap: has("userns"),
            live_restore: info.live_restore_enabled.unwrap_or_default(),
            swap_limit: info.swap_limit.unwrap_or_default(),
            runtimes,
            default_runtime: info.default_runtime.unwrap_or_default(),
        }
    }
}

impl fmt::Display for DaemonFacts {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.podman { "Podman" } else { "Docker" };
        write!(f, "{name} {}", self.version)?;
        match self.cgroup_version {
            Some(version) => write!(f, ", cgroup v{version}")?,
            None => write!(f, ", cgroup version unknown")?,
        }
        for (holds, words) in [
            (self.rootless, "rootless"),
            (self.userns_remap, "userns-remap"),
            (self.app_armor, "AppArmor"),
            (self.selinux, "SELinux"),
            (self.live_restore, "live-restore"),
            (self.swap_limit, "swap limit"),
        ] {
            write!(f, ", {}{words}", if holds { "" } else { "no " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_options_are_read_in_both_spellings() {
        let info = SystemInfo {
            security_options: Some(vec![
                "name=seccomp,profile=default".to_owned(),
                "name=userns".to_owned(),
                "apparmor".to_owned(),
            ]),
            cgroup_version: Some(SystemInfoCgroupVersionEnum::_2),
            server_version: Some("20.10.24".to_owned()),
            ..SystemInfo::default()
        };
        let facts = DaemonFacts::from_answers(info, SystemVersion::default());
        assert!(facts.seccomp && facts.userns_remap && facts.app_armor);
        assert!(!facts.selinux && !facts.rootless && !facts.podman);
        assert_eq!(facts.uids(), UidRange::MAPPED);
        assert_eq!(
            facts.to_string(),
            "Docker 20.10.24, cgroup v2, no rootless, userns-remap, AppArmor, no SELinux, no live-restore, no swap limit"
        );
    }
}
