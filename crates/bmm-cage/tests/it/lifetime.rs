//! Who dies with whom. Each scene is a host process of its own, so that it can be killed with -9.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use bmm_cage::{Cage, Caged, End, Launcher, Profile};
use libtest_mimic::Trial;

use crate::probe::{Probe, scene};

pub(crate) fn trials() -> Vec<Trial> {
    fn trial(name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
        Trial::test(format!("it::lifetime::{name}"), move || {
            test();
            Ok(())
        })
    }
    vec![
        trial("no_descendant_survives_kill_9_of_the_host", || {
            nothing_survives("survivors", |host| {
                host.kill().expect("killed");
                host.wait().expect("reaped");
            })
        }),
        trial("no_descendant_survives_where_namespaces_are_refused", || {
            nothing_survives("refused-namespaces", |host| {
                host.kill().expect("killed");
                host.wait().expect("reaped");
            })
        }),
        trial("no_descendant_survives_a_dropped_child", || {
            nothing_survives("dropped", |host| {
                // `wait` closes its stdin, which is what it waits for.
                host.wait().expect("ends by itself");
            })
        }),
        trial("a_worker_that_spins_ends_with_its_host", || {
            nothing_survives("spinning", |host| {
                host.kill().expect("killed");
                host.wait().expect("reaped");
            })
        }),
        trial("a_child_outlives_the_thread_that_launched_it", || {
            scene_is_happy("short-lived-thread")
        }),
        trial("the_end_of_a_child_is_told", || scene_is_happy("ends")),
    ]
}

/// Plays one scene in a process of its own.
pub(crate) fn play(scene: &str, launcher: &Launcher) {
    match scene {
        "survivors" | "refused-namespaces" => {
            let mut runner = survivors(launcher);
            println!("ready {}", runner.caged.report());
            // Its channel stays open and it is not waited for: only the lifeline can end it.
            let _ = runner.ask("spawn 0");
            std::thread::park();
        }
        "dropped" => {
            let runner = survivors(launcher);
            println!("ready {}", runner.caged.report());
            let _ = std::io::stdin().read_line(&mut String::new());
            drop(runner);
        }
        "spinning" => {
            let worker = launcher
                .launch("deaf", &Cage::new(Profile::Worker))
                .expect("starts");
            println!("ready {}", worker.report());
            std::thread::park();
        }
        "short-lived-thread" => {
            let again = launcher.clone();
            let mut worker = std::thread::spawn(move || Probe::start(&again, Profile::Worker))
                .join()
                .expect("the thread ends well");
            assert_eq!(worker.ask("environment").as_deref(), Some("0"));
            println!("ready");
        }
        "ends" => {
            for profile in [Profile::Worker, Profile::Runner] {
                let mut probe = Probe::start(launcher, profile);
                assert_eq!(probe.ask("abort"), None);
                // The first process of a pid namespace ignores its own SIGABRT; abort() then ends it by a fault.
                let end = wait(&mut probe.caged);
                assert!(
                    matches!(end, End::Killed(libc::SIGABRT | libc::SIGSEGV)),
                    "{profile:?}: {end:?}"
                );
                let mut probe = Probe::start(launcher, profile);
                assert_eq!(probe.ask("panic"), None);
                assert_eq!(wait(&mut probe.caged), End::Exited(101), "{profile:?}");
                let mut probe = Probe::start(launcher, profile);
                assert!(probe.caged.cpu_time().is_some());
                probe.caged.kill();
                assert_eq!(wait(&mut probe.caged), End::Killed(libc::SIGKILL), "{profile:?}");
            }
            println!("ready");
        }
        other => panic!("there is no scene {other}"),
    }
}

/// A runner with children that do all they can to stay.
fn survivors(launcher: &Launcher) -> Probe {
    let mut runner = Probe::start(launcher, Profile::Runner);
    assert_eq!(runner.ask("spawn 3").as_deref(), Some("3"));
    runner
}

/// Waits for the end of a child, as an async caller does.
pub(crate) fn wait(caged: &mut Caged) -> End {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(20), caged.wait())
            .await
            .expect("it ends")
            .expect("told")
    })
}

fn start(name: &str) -> Child {
    let mut host = scene(name)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the scene starts");
    let mut line = String::new();
    BufReader::new(host.stdout.take().expect("piped"))
        .read_line(&mut line)
        .expect("it tells");
    assert!(line.starts_with("ready"), "{name}: {line:?}");
    host
}

fn scene_is_happy(name: &str) {
    let status = start(name).wait().expect("it ends");
    assert!(status.success(), "{name}: {status}");
}

fn nothing_survives(name: &str, end: fn(&mut Child)) {
    let mut host = start(name);
    let family = descendants(host.id());
    assert!(!family.is_empty(), "{name}: no descendants were seen");
    end(&mut host);
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let left: Vec<_> = family.iter().filter(|process| is_alive(process)).collect();
        if left.is_empty() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{name}: survivors: {left:?} of {family:?}"
        );
        std::thread::yield_now();
    }
}

/// A process and when it started, since numbers are used again.
type Process = (u32, String);

fn descendants(of: u32) -> Vec<Process> {
    let all: Vec<(u32, u32, String)> = std::fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| stat(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .collect();
    let mut family = vec![of];
    let mut found = Vec::new();
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        for (pid, _, started) in all.iter().filter(|(_, its_parent, _)| *its_parent == parent) {
            family.push(*pid);
            found.push((*pid, started.clone()));
        }
        next += 1;
    }
    found
}

/// Number, parent and start time; `None` for what is gone or only waits to be reaped.
fn stat(pid: u32) -> Option<(u32, u32, String)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 2..)?.split(' ').collect();
    (fields[0] != "Z" && fields[0] != "X").then_some(())?;
    Some((pid, fields[1].parse().ok()?, fields[19].to_owned()))
}

fn is_alive((pid, started): &Process) -> bool {
    stat(*pid).is_some_and(|(_, _, now)| now == *started)
}
