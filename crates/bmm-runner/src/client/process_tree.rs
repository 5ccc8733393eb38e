//! Ends a program together with everything it has started, however far it has gone to get away.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid};

/// How long the end may take before what is left is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// The processes that were started since [`ProcessTree::watch`]; all of them end when this is dropped.
pub(super) struct ProcessTree {
    /// Children from before: not ours to end.
    before: BTreeSet<i32>,
}

impl ProcessTree {
    /// From here on, orphans fall to this process.
    pub(super) fn watch() -> io::Result<Self> {
        set_child_subreaper(Some(getpid()))?;
        let own = getpid().as_raw_nonzero().get();
        Ok(Self {
            before: children().remove(&own).unwrap_or_default().into_iter().collect(),
        })
    }

    /// Every descendant that is not one from before, or of one.
    fn members(&self) -> Vec<i32> {
        let children = children();
        let own = getpid().as_raw_nonzero().get();
        let mut members = Vec::new();
        let mut next = vec![own];
        while let Some(parent) = next.pop() {
            for child in children.get(&parent).into_iter().flatten() {
                if !self.before.contains(child) {
                    members.push(*child);
                    next.push(*child);
                }
            }
        }
        members
    }
}

impl Drop for ProcessTree {
    fn drop(&mut self) {
        let begun = Instant::now();
        loop {
            let members = self.members();
            if members.is_empty() {
                break;
            }
            // Nobody may start another while the rest is being ended.
            for signal in [Signal::STOP, Signal::KILL] {
                for pid in members.iter().filter_map(|pid| Pid::from_raw(*pid)) {
                    let _ = kill_process(pid, signal);
                }
            }
            for pid in members.iter().filter_map(|pid| Pid::from_raw(*pid)) {
                // Not a child of this process, or not ended yet: the next turn sees.
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
            }
            if begun.elapsed() > PATIENCE {
                tracing::warn!(left = members.len(), "some of the program's processes do not end");
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = set_child_subreaper(None);
    }
}

/// The children of every process, by `/proc`.
fn children() -> BTreeMap<i32, Vec<i32>> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        // `pid (name) state ppid …`; the name may hold anything, parentheses too.
        let parent = fs::read_to_string(format!("/proc/{pid}/stat"))
            .ok()
            .and_then(|stat| {
                let (_, fields) = stat.rsplit_once(')')?;
                fields.split_whitespace().nth(1)?.parse::<i32>().ok()
            });
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    children
}
