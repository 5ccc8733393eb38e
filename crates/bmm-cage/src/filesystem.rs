//! Landlock: no file at all, or those that this executable needs to start again.

use std::collections::BTreeSet;
use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};

/// What may be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Files {
    /// Nothing.
    None,
    /// The executable, its loader and libraries (read and execute), random numbers, and `/dev/null`.
    OwnExecutable,
}

/// What the kernel took of the rules.
#[derive(Debug)]
pub(crate) struct Enforced {
    pub(crate) files: Result<(), String>,
    pub(crate) scopes: Result<(), String>,
}

/// Closes the file system for this thread and all it starts.
pub(crate) fn enforce(files: Files) -> io::Result<Enforced> {
    enforce_up_to(files, ABI::V7)
}

/// [`enforce`] as a kernel with the Landlock of `newest` would do it.
fn enforce_up_to(files: Files, newest: ABI) -> io::Result<Enforced> {
    let scopes = Scope::from_all(newest);
    let net = AccessNet::from_all(newest);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(newest))
        .map_err(io::Error::other)?;
    if !net.is_empty() {
        ruleset = ruleset.handle_access(net).map_err(io::Error::other)?;
    }
    if !scopes.is_empty() {
        ruleset = ruleset.scope(scopes).map_err(io::Error::other)?;
    }
    let mut ruleset = ruleset.create().map_err(io::Error::other)?;
    if files == Files::OwnExecutable {
        ruleset = allow_own_executable(ruleset)?;
    }
    let status = ruleset.restrict_self().map_err(io::Error::other)?;
    let abi = match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi.min(newest),
        _ => ABI::Unsupported,
    };
    let held = status.ruleset != RulesetStatus::NotEnforced;
    Ok(Enforced {
        files: if held {
            Ok(())
        } else {
            Err("this kernel has no Landlock, or it is switched off".to_owned())
        },
        scopes: if held && !Scope::from_all(abi).is_empty() {
            Ok(())
        } else {
            Err("needs Landlock ABI 6 (Linux 6.12)".to_owned())
        },
    })
}

fn allow_own_executable(mut ruleset: RulesetCreated) -> io::Result<RulesetCreated> {
    let run: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::Execute;
    // Through the link: the executable may have been replaced (by a build) since it was started.
    ruleset = allow(ruleset, "/proc/self/exe", run)?;
    for path in mapped_files()? {
        ruleset = allow(ruleset, &path, run)?;
    }
    ruleset = allow(ruleset, "/etc/ld.so.cache", AccessFs::ReadFile.into())?;
    // A static executable cannot look getrandom(2) up in a library, so some of its parts read these instead.
    for path in ["/dev/random", "/dev/urandom"] {
        ruleset = allow(ruleset, path, AccessFs::ReadFile.into())?;
    }
    allow(ruleset, "/dev/null", AccessFs::ReadFile | AccessFs::WriteFile)
}

/// Adds a rule; a path that is not there needs none.
fn allow(ruleset: RulesetCreated, path: &str, access: BitFlags<AccessFs>) -> io::Result<RulesetCreated> {
    match PathFd::new(path) {
        Ok(file) => ruleset
            .add_rule(PathBeneath::new(file, access))
            .map_err(io::Error::other),
        Err(_) => Ok(ruleset),
    }
}

/// The files that this process has mapped: its executable, the loader and the libraries.
pub(crate) fn mapped_files() -> io::Result<BTreeSet<String>> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    Ok(maps
        .lines()
        .filter_map(|line| line.find('/').and_then(|at| line.get(at..)))
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Landlock is for a thread, so one that ends can try it.
    fn on_a_thread<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(test).join().expect("the thread ends well")
    }

    #[test]
    fn an_older_kernel_closes_files_and_says_what_it_cannot_close() {
        let (enforced, opened) = on_a_thread(|| {
            let enforced = enforce_up_to(Files::None, ABI::V3).expect("no error");
            (enforced, std::fs::File::open("/etc/passwd"))
        });
        assert!(enforced.scopes.is_err(), "ABI 3 (Linux 6.2) has no scopes");
        assert_eq!(enforced.files.is_ok(), opened.is_err(), "the report is true");
    }

    #[test]
    fn random_numbers_are_there_for_an_executable_without_libraries() {
        let opened = on_a_thread(|| {
            enforce(Files::OwnExecutable).expect("no error");
            ["/dev/random", "/dev/urandom"].map(|path| std::fs::File::open(path).is_ok())
        });
        assert_eq!(opened, [true, true]);
    }

    #[test]
    fn the_own_executable_stays_open_and_nothing_else() {
        let (enforced, own, other) = on_a_thread(|| {
            let enforced = enforce(Files::OwnExecutable).expect("no error");
            (
                enforced,
                std::fs::File::open("/proc/self/exe"),
                std::fs::File::open("/etc/passwd"),
            )
        });
        assert!(own.is_ok());
        assert_eq!(enforced.files.is_ok(), other.is_err(), "the report is true");
    }
}
