//! The system-call profile of a container: what an ordinary program needs, and less than Docker allows by default.
//!
//! A runner puts itself into the narrower filter of `bmm-cage`; this one is around it, and around a program of the user's
//! that runs behind it.

/// The profile, in the form that Docker and Podman read: an allow-list; what is not on it does not exist (`ENOSYS`;
/// Docker before 23 says `EPERM`).
/// Beyond Docker's own it leaves out every socket family but `AF_UNIX`, io_uring, ptrace and reading other processes,
/// System V IPC and message queues, splicing, file handles, memory files, the 32-bit system calls, and changing users.
pub const SECCOMP_PROFILE: &str = include_str!("seccomp.json");

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;

    /// How often each call is named, and with how many conditions.
    fn allowed() -> BTreeMap<String, Vec<usize>> {
        let profile: Value = serde_json::from_str(SECCOMP_PROFILE).expect("is JSON");
        let mut allowed: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for rule in profile["syscalls"].as_array().expect("a list") {
            if rule["action"] != "SCMP_ACT_ALLOW" {
                continue;
            }
            assert!(
                rule.get("includes").is_none() && rule.get("excludes").is_none(),
                "no exceptions"
            );
            for name in rule["names"].as_array().expect("a list") {
                let conditions = rule["args"].as_array().map_or(0, Vec::len);
                let name = name.as_str().expect("a name").to_owned();
                allowed.entry(name).or_default().push(conditions);
            }
        }
        allowed
    }

    #[test]
    fn the_profile_refuses_what_it_does_not_name() {
        let profile: Value = serde_json::from_str(SECCOMP_PROFILE).expect("is JSON");
        assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
        for map in profile["archMap"].as_array().expect("a list") {
            assert_eq!(map["subArchitectures"], serde_json::json!([]), "no 32-bit calls");
        }
    }

    #[test]
    fn the_profile_names_no_call_that_leads_out() {
        let allowed = allowed();
        for forbidden in [
            "acct",
            "add_key",
            "adjtimex",
            "bpf",
            "chroot",
            "clock_settime",
            "clone3",
            "delete_module",
            "execveat",
            "fanotify_init",
            "finit_module",
            "fsconfig",
            "fsmount",
            "fsopen",
            "init_module",
            "io_setup",
            "io_uring_enter",
            "io_uring_register",
            "io_uring_setup",
            "ioperm",
            "iopl",
            "kcmp",
            "kexec_file_load",
            "kexec_load",
            "keyctl",
            "lookup_dcookie",
            "mbind",
            "memfd_create",
            "memfd_secret",
            "mknod",
            "mknodat",
            "modify_ldt",
            "mount",
            "mount_setattr",
            "move_mount",
            "move_pages",
            "mq_open",
            "msgget",
            "name_to_handle_at",
            "open_by_handle_at",
            "open_tree",
            "perf_event_open",
            "pidfd_getfd",
            "pivot_root",
            "process_madvise",
            "process_vm_readv",
            "process_vm_writev",
            "ptrace",
            "quotactl",
            "reboot",
            "remap_file_pages",
            "request_key",
            "semget",
            "set_mempolicy",
            "setgid",
            "setgroups",
            "sethostname",
            "setns",
            "setuid",
            "shmget",
            "socketcall",
            "splice",
            "swapon",
            "syslog",
            "tee",
            "umount2",
            "unshare",
            "userfaultfd",
            "uselib",
            "vmsplice",
        ] {
            assert!(!allowed.contains_key(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn a_call_with_conditions_is_not_allowed_without_them() {
        let allowed = allowed();
        for (name, rules) in &allowed {
            assert!(
                rules.len() == 1 || rules.iter().all(|conditions| *conditions > 0),
                "{name}"
            );
        }
        for conditional in ["clone", "personality", "socket", "socketpair"] {
            assert!(
                allowed[conditional].iter().all(|conditions| *conditions == 1),
                "{conditional}"
            );
        }
    }
}
