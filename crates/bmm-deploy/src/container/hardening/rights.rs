//! What runs, and what it may do.

use bollard::models::RestartPolicyNameEnum;
use serde_json::Value;

use super::judge::{Judge, Said, Statements, daemon_only, list, said_of, statements};
use crate::container::seccomp::SECCOMP_PROFILE;

impl Judge<'_> {
    pub(super) fn image(&self) -> Statements {
        let wanted = self.plan.image.as_str();
        let found = self.evidence.inspect.image.as_deref();
        // Podman leaves out what digest it is.
        let is_it = |found: &str| found == wanted || Some(found) == wanted.strip_prefix("sha256:");
        daemon_only(
            wanted,
            found.map_or(Said::Unknown, |found| Said::so(is_it(found), found)),
        )
    }

    pub(super) fn command(&self) -> Statements {
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
    pub(super) fn environment(&self) -> Statements {
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

    pub(super) fn oci_runtime(&self) -> Statements {
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

    pub(super) fn restarts(&self) -> Statements {
        let policy = self.asked.restart_policy.as_ref().and_then(|policy| policy.name);
        let said = policy.map_or(Said::Unknown, |name| {
            let is_none = matches!(name, RestartPolicyNameEnum::NO | RestartPolicyNameEnum::EMPTY);
            Said::so(is_none, name)
        });
        daemon_only("no", said)
    }

    pub(super) fn capabilities(&self) -> Statements {
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

    pub(super) fn no_new_privileges(&self) -> Statements {
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

    pub(super) fn seccomp(&self) -> Statements {
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

    pub(super) fn mandatory_access(&self) -> Statements {
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

    pub(super) fn user(&self) -> Statements {
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
}
