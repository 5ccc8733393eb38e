//! The plan in the words of the Docker Engine API (1.41 and later; Podman's is the same).

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, DeviceMapping, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount,
    MountBindOptions, MountBindOptionsPropagationEnum, MountType, PortBinding, ResourcesUlimits,
    RestartPolicy, RestartPolicyNameEnum,
};

use super::plan::{CONTROL_DIR, ContainerPlan};
use super::seccomp::SECCOMP_PROFILE;
use super::walls::{PODMAN_TMPFS, Profile, Walls};

/// The host name inside: the same for all, since it is nobody's business.
const HOST_NAME: &str = "runner";

impl ContainerPlan {
    pub(crate) fn body(&self) -> ContainerCreateBody {
        let walls = &self.walls;
        ContainerCreateBody {
            hostname: (!walls.host_name).then(|| HOST_NAME.to_owned()),
            user: walls.user.map(|uid| format!("{uid}:{uid}")),
            attach_stdin: Some(false),
            attach_stdout: Some(false),
            attach_stderr: Some(false),
            tty: Some(false),
            open_stdin: Some(false),
            env: Some(walls.environment.clone()),
            entrypoint: Some(self.entrypoint.clone()),
            cmd: Some(self.arguments.clone()),
            image: Some(self.image.as_str().to_owned()),
            working_dir: Some("/".to_owned()),
            labels: Some(
                self.labels
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), value.clone()))
                    .collect(),
            ),
            stop_timeout: Some(self.stop_seconds.into()),
            exposed_ports: walls.ports.then(|| vec![PORT.to_owned()]),
            host_config: Some(self.host_config()),
            ..ContainerCreateBody::default()
        }
    }

    fn host_config(&self) -> HostConfig {
        let walls = &self.walls;
        let memory = walls.memory_bytes.and_then(|bytes| i64::try_from(bytes).ok());
        HostConfig {
            privileged: Some(walls.privileged),
            readonly_rootfs: Some(walls.read_only_root),
            cap_drop: walls.drops_all_capabilities.then(|| vec!["ALL".to_owned()]),
            security_opt: Some(self.security_options()),
            pids_limit: walls.processes.map(i64::from),
            memory,
            // The sum of both: equal means none. Left out, Docker allows as much swap as memory.
            memory_swap: memory.filter(|_| !walls.swap),
            nano_cpus: walls.milli_cpus.map(|milli| i64::from(milli) * 1_000_000),
            oom_kill_disable: Some(!walls.oom_killer),
            tmpfs: walls.tmp_bytes.map(|bytes| self.tmpfs(bytes)),
            ulimits: Some(ulimits(walls)),
            log_config: walls.logs.map(|logs| HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: Some(HashMap::from([
                    ("max-size".to_owned(), format!("{}m", logs.file_mib)),
                    ("max-file".to_owned(), logs.files.to_string()),
                ])),
            }),
            network_mode: Some(if walls.network { "host" } else { "none" }.to_owned()),
            port_bindings: walls.ports.then(|| {
                let anywhere = PortBinding {
                    host_ip: Some("127.0.0.1".to_owned()),
                    host_port: None,
                };
                HashMap::from([(PORT.to_owned(), Some(vec![anywhere]))])
            }),
            // `none` is private without /dev/shm, where files could be shared and filled.
            ipc_mode: Some(if walls.host_ipc { "host" } else { "none" }.to_owned()),
            pid_mode: walls.host_processes.then(|| "host".to_owned()),
            uts_mode: walls.host_name.then(|| "host".to_owned()),
            userns_mode: walls.host_users.then(|| "host".to_owned()),
            cgroupns_mode: Some(if walls.host_cgroups {
                HostConfigCgroupnsModeEnum::HOST
            } else {
                HostConfigCgroupnsModeEnum::PRIVATE
            }),
            devices: Some(
                walls
                    .devices
                    .iter()
                    .map(|path| DeviceMapping {
                        path_on_host: Some(path.clone()),
                        path_in_container: Some(path.clone()),
                        cgroup_permissions: Some("r".to_owned()),
                    })
                    .collect(),
            ),
            mounts: Some(self.mounts()),
            masked_paths: Some(walls.masked_paths.iter().map(ToString::to_string).collect()),
            readonly_paths: Some(walls.read_only_paths.iter().map(ToString::to_string).collect()),
            restart_policy: Some(RestartPolicy {
                name: Some(if walls.restarts {
                    RestartPolicyNameEnum::ALWAYS
                } else {
                    RestartPolicyNameEnum::NO
                }),
                maximum_retry_count: None,
            }),
            // Its end is looked at before it is removed.
            auto_remove: Some(false),
            // A runner reaps its children itself.
            init: Some(false),
            runtime: self.oci_runtime.clone(),
            ..HostConfig::default()
        }
    }

    fn tmpfs(&self, bytes: u64) -> HashMap<String, String> {
        let closed = "rw,noexec,nosuid,nodev";
        let mut tmpfs = HashMap::from([("/tmp".to_owned(), format!("{closed},size={bytes},mode=1777"))]);
        // Who reads the profile from a file is Podman.
        if self.seccomp_file.is_some() {
            let roots_alone = |at: &&str| ((*at).to_owned(), format!("{closed},size=65536,mode=0755"));
            tmpfs.extend(PODMAN_TMPFS.iter().map(roots_alone));
        }
        tmpfs
    }

    fn security_options(&self) -> Vec<String> {
        let walls = &self.walls;
        let mut options = Vec::new();
        if walls.no_new_privileges {
            options.push("no-new-privileges:true".to_owned());
        }
        match (walls.seccomp, &self.seccomp_file) {
            (Profile::Ours, Some(path)) => options.push(format!("seccomp={path}")),
            (Profile::Ours, None) => options.push(format!("seccomp={SECCOMP_PROFILE}")),
            (Profile::Daemons, _) => {}
            (Profile::None, _) => options.push("seccomp=unconfined".to_owned()),
        }
        if !walls.keeps_mandatory_access {
            options.push("apparmor=unconfined".to_owned());
            options.push("label=disable".to_owned());
        }
        options
    }

    /// As mounts and not as binds: a directory that is missing is an error, and not made. The API has no words for noexec and
    /// nosuid here; nothing in the directory is a file, and no-new-privileges makes nosuid moot.
    fn mounts(&self) -> Vec<Mount> {
        let bind = |source: &str, target: &str, writable: bool| Mount {
            typ: Some(MountType::BIND),
            source: Some(source.to_owned()),
            target: Some(target.to_owned()),
            read_only: Some(!writable),
            bind_options: Some(MountBindOptions {
                propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
                // What is mounted below it on the host stays outside.
                non_recursive: Some(true),
                ..MountBindOptions::default()
            }),
            ..Mount::default()
        };
        let control = bind(&self.control_dir, CONTROL_DIR, self.walls.control_writable);
        let more = self.walls.more_mounts.iter().map(|path| bind(path, path, true));
        std::iter::once(control).chain(more).collect()
    }
}

/// A port to open where one is wanted open.
const PORT: &str = "8080/tcp";

fn ulimits(walls: &Walls) -> Vec<ResourcesUlimits> {
    [
        ("nofile", walls.open_files),
        ("nproc", walls.user_processes),
        ("core", (!walls.core_dumps).then_some(0)),
    ]
    .into_iter()
    .filter_map(|(name, limit)| {
        let limit = i64::from(limit?);
        Some(ResourcesUlimits {
            name: Some(name.to_owned()),
            soft: Some(limit),
            hard: Some(limit),
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::plan::{ContainerLimits, ContainerSpec, Hardening};
    use super::*;

    fn spec() -> ContainerSpec {
        ContainerSpec {
            image: format!("sha256:{}", "0".repeat(64)).parse().expect("is one"),
            instance: "test".to_owned(),
            slug: "weather".to_owned(),
            revision: "r 1".to_owned(),
            seat: 7,
            uid: 1_879_048_199,
            control_dir: "/run/bmm/control/7".into(),
            limits: ContainerLimits::default(),
            oci_runtime: None,
            seccomp_file: None,
            hardening: Hardening::Required,
        }
    }

    fn body(spec: &ContainerSpec) -> serde_json::Value {
        let mut body = serde_json::to_value(spec.plan().expect("is fine").body()).expect("is JSON");
        for option in body["HostConfig"]["SecurityOpt"].as_array_mut().expect("a list") {
            if *option == format!("seccomp={SECCOMP_PROFILE}") {
                *option = "seccomp=<our profile>".into();
            }
        }
        body
    }

    #[test]
    fn every_wall_is_asked_for() {
        insta::with_settings!({ sort_maps => true }, {
            insta::assert_json_snapshot!(body(&spec()));
        });
    }

    #[test]
    fn without_hardening_the_daemon_decides_but_for_the_way_in() {
        let spec = ContainerSpec {
            hardening: Hardening::Disabled,
            ..spec()
        };
        insta::with_settings!({ sort_maps => true }, {
            insta::assert_json_snapshot!(body(&spec));
        });
    }

    #[test]
    fn a_daemon_that_reads_files_is_told_where_the_profile_is() {
        let spec = ContainerSpec {
            seccomp_file: Some("/run/bmm/seccomp.json".into()),
            oci_runtime: Some("runsc".to_owned()),
            ..spec()
        };
        let body = body(&spec);
        assert_eq!(
            body["HostConfig"]["SecurityOpt"][1],
            "seccomp=/run/bmm/seccomp.json"
        );
        assert_eq!(body["HostConfig"]["Runtime"], "runsc");
    }
}
