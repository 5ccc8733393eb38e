//! First processes of containers that do not do what they should. The slug says what they do instead.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bmm_cage::contained;
use bmm_deploy::{DeployError, Probe, ReadyIsEnough, Target};
use futures_util::future::BoxFuture;
use http::StatusCode;

use super::world::{World, docker_trials, limits, lines};
use crate::fake_runner::Config;

docker_trials!(
    a_container_that_connects_again_and_again_is_one_connection,
    a_container_that_never_connects_is_given_up_and_strangers_are_turned_away,
    a_container_that_exits_at_once_has_its_last_words_shown,
    a_container_that_floods_its_log_is_quoted_briefly,
    a_container_that_drips_is_given_up_in_time,
    a_container_that_says_ready_and_dies_is_not_routed,
);

/// To be called before anything else: in a container whose slug asks for it, this does not return.
pub(crate) fn play_if_asked() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("--knock") => knock(),
        Some(argument) if argument == contained::argument("runner") => {}
        _ => return,
    }
    // The directory on the host is named after the slug.
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let asked_for = |what: &str| mounts.contains(&format!("/{what}."));
    if asked_for("knocks") {
        for _ in 0..3 {
            // Goes on beside what this process will be.
            drop(
                std::process::Command::new("/proc/self/exe")
                    .arg("--knock")
                    .spawn(),
            );
        }
    } else if asked_for("silent") {
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    } else if asked_for("exits") {
        eprintln!("cannot go on\x1b[2J\nsince it is \x07late");
        std::process::exit(9);
    } else if asked_for("floods") {
        let line = [b'x'; 4096];
        for _ in 0..4096 {
            let _ = std::io::stderr().write_all(&line);
        }
        std::process::exit(9);
    } else if asked_for("orphans") {
        for _ in 0..3 {
            // They end at once, and nobody waits for them but the container's first process.
            drop(std::process::Command::new("/proc/self/exe").arg("--list").spawn());
        }
    } else if asked_for("drips") {
        let mut stream = connect().unwrap();
        let _ = stream.read(&mut [0; 1024]);
        // A message of 16 KiB, one byte at a time.
        let _ = stream.write_all(&(16_u32 * 1024).to_be_bytes());
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn connect() -> std::io::Result<UnixStream> {
    UnixStream::connect(Path::new(contained::DIRECTORY).join(contained::SOCKET))
}

fn knock() -> ! {
    let mut held = Vec::new();
    loop {
        held.extend(connect());
        std::thread::sleep(Duration::from_millis(1));
        held.truncate(8);
    }
}

async fn a_container_that_connects_again_and_again_is_one_connection() {
    let world = World::new().await;
    world.roll("knocks", &Config::new("1")).await.unwrap();
    assert_eq!(world.get("/knocks/revision").await.1, "1");
    let control = world.run_dir().join("knocks.1.d");
    assert_eq!(
        std::fs::read_dir(&control).unwrap().count(),
        0,
        "nothing to connect to is left"
    );
    world.deployer.shutdown().await;
    assert_eq!(world.left(), [""; 0]);
}

async fn a_container_that_never_connects_is_given_up_and_strangers_are_turned_away() {
    let mut limits = limits();
    limits.start_timeout = Duration::from_secs(4);
    let world = World::with(|runtime| runtime, Arc::new(ReadyIsEnough), limits).await;
    let path = world.run_dir().join("silent.1.d").join(contained::SOCKET);
    let stranger = tokio::task::spawn_blocking(move || {
        // Root of the host is not the container's user.
        let mut stream = loop {
            match UnixStream::connect(&path) {
                Ok(stream) => break stream,
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.read(&mut [0; 16])
    });
    let error = world.roll("silent", &Config::new("1")).await.unwrap_err();
    assert!(error.to_string().contains("in time"), "{error}");
    assert_eq!(stranger.await.unwrap().unwrap(), 0, "it was told nothing");
    assert_eq!(world.left(), [""; 0]);
}

async fn a_container_that_exits_at_once_has_its_last_words_shown() {
    let world = World::new().await;
    world.roll("demo", &Config::new("1")).await.unwrap();
    let error = world.roll("exits", &Config::new("1")).await.unwrap_err();
    assert!(matches!(error, DeployError::Start { .. }));
    let error = error.to_string();
    assert!(
        error.ends_with("exit code 9: cannot go on[2J | since it is late"),
        "{error}"
    );
    assert_eq!(world.get("/demo/revision").await.1, "1");
    world.deployer.shutdown().await;
    assert_eq!(world.left(), [""; 0]);
}

async fn a_container_that_floods_its_log_is_quoted_briefly() {
    let world = World::new().await;
    let error = world
        .roll("floods", &Config::new("1"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("xxx") && error.len() < 2048,
        "{} bytes",
        error.len()
    );
    assert_eq!(world.left(), [""; 0]);
    assert!(lines(&["ps", "--quiet", "--filter", "name=floods"]).is_empty());
}

async fn a_container_that_drips_is_given_up_in_time() {
    let mut limits = limits();
    limits.start_timeout = Duration::from_secs(4);
    let world = World::with(|runtime| runtime, Arc::new(ReadyIsEnough), limits).await;
    let begun = Instant::now();
    let error = world.roll("drips", &Config::new("1")).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(20), "{error}");
    assert_eq!(world.left(), [""; 0]);
}

async fn a_container_that_says_ready_and_dies_is_not_routed() {
    let world = World::with(|runtime| runtime, Arc::new(Undecided), limits()).await;
    let dies = Config {
        end_after_ms: Some(1),
        ..Config::new("1")
    };
    let error = world.roll("demo", &dies).await.unwrap_err().to_string();
    assert!(error.contains("the runner ended (exit code 3"), "{error}");
    assert_eq!(world.get("/demo/revision").await.0, StatusCode::NOT_FOUND);
    assert_eq!(world.left(), [""; 0]);
}

/// Never comes to a verdict.
struct Undecided;

impl Probe for Undecided {
    fn check<'a>(&'a self, _: &'a Target) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(std::future::pending())
    }
}
