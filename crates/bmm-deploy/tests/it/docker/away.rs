//! A daemon that goes away and comes back, that has no room, and one that does not build the walls.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bmm_deploy::container::{Control, Docker};
use bmm_deploy::{DeployError, DeployLimits, Phase, ReadyIsEnough};
use http::StatusCode;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::world::{World, docker, docker_trials, image, limits, socket};
use crate::eventually;
use crate::fake_runner::Config;

docker_trials!(
    a_daemon_that_is_away_keeps_the_old_revision_and_takes_the_new_one_later,
    a_container_that_ends_while_the_daemon_is_away_is_back_with_it,
    a_server_that_is_removed_while_the_daemon_is_away_is_swept_later,
    a_daemon_without_room_keeps_the_old_revision,
    a_container_with_a_wall_less_is_told_nothing_and_ended,
    without_hardening_it_runs_and_says_what_is_missing,
);

/// Stands before the real daemon.
struct Front {
    dir: TempDir,
    /// `None` = gone.
    serving: Mutex<Option<tokio::task::AbortHandle>>,
}

/// What the front does with a new connection.
#[derive(Clone, Copy)]
enum Mood {
    Honest,
    /// Makes no container.
    Full,
}

impl Front {
    fn new() -> Self {
        let front = Self {
            dir: TempDir::new().unwrap(),
            serving: Mutex::new(None),
        };
        front.come(Mood::Honest);
        front
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    fn come(&self, mood: Mood) {
        self.go();
        let listener = UnixListener::bind(self.socket()).unwrap();
        let task = tokio::spawn(async move {
            // Ends with this task.
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                connections.spawn(forward(client, mood));
            }
        });
        *self.serving.lock().unwrap() = Some(task.abort_handle());
    }

    fn go(&self) {
        if let Some(task) = self.serving.lock().unwrap().take() {
            task.abort();
            std::fs::remove_file(self.socket()).unwrap();
        }
    }
}

async fn forward(mut client: UnixStream, mood: Mood) {
    let mut daemon = UnixStream::connect(socket()).await.unwrap();
    if let Mood::Full = mood {
        let mut head = vec![0; 4096];
        let read = client.read(&mut head).await.unwrap_or(0);
        head.truncate(read);
        if String::from_utf8_lossy(&head).contains("/containers/create") {
            let body = r#"{"message":"write /var/lib/docker/tmp: no space left on device"}"#;
            let answer = format!(
                "HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = client.write_all(answer.as_bytes()).await;
            return;
        }
        let _ = daemon.write_all(&head).await;
    }
    let _ = copy_bidirectional(&mut client, &mut daemon).await;
}

async fn world(front: &Front, limits: DeployLimits) -> World {
    let image = image(&docker().await).await;
    let through = Docker::connect(front.socket()).await.unwrap();
    World::over(through, image, |runtime| runtime, Arc::new(ReadyIsEnough), limits).await
}

async fn a_daemon_that_is_away_keeps_the_old_revision_and_takes_the_new_one_later() {
    let front = Front::new();
    let world = world(&front, limits()).await;
    world.roll("demo", &Config::new("1")).await.unwrap();
    front.go();
    let error = world.roll("demo", &Config::new("2")).await.unwrap_err();
    assert!(matches!(error, DeployError::Start { .. }), "{error}");
    let error = error.to_string();
    assert!(error.contains("the daemon cannot make the container"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert_eq!(
        world.get("/demo/revision").await,
        (StatusCode::OK, "1".to_owned())
    );
    front.come(Mood::Honest);
    world.roll("demo", &Config::new("2")).await.unwrap();
    assert_eq!(world.get("/demo/revision").await.1, "2");
    world.deployer.shutdown().await;
    assert_eq!(world.left(), [""; 0]);
}

async fn a_container_that_ends_while_the_daemon_is_away_is_back_with_it() {
    let front = Front::new();
    let world = world(&front, limits()).await;
    let live = world.roll("demo", &Config::new("1")).await.unwrap();
    front.go();
    crate::deploys::kill(live.pid);
    eventually(Duration::from_secs(20), "its end is noticed", async || {
        world
            .deployer
            .status()
            .iter()
            .all(|one| one.phase != Phase::Healthy)
    })
    .await;
    front.come(Mood::Honest);
    eventually(Duration::from_secs(30), "back", async || {
        world.get("/demo/revision").await.1 == "1"
    })
    .await;
    assert_eq!(world.containers().len(), 1, "{:?}", world.left());
    world.deployer.shutdown().await;
    assert_eq!(world.left(), [""; 0]);
}

async fn a_server_that_is_removed_while_the_daemon_is_away_is_swept_later() {
    let front = Front::new();
    let mut limits = limits();
    limits.sweep_every = Duration::from_millis(500);
    let world = world(&front, limits).await;
    world.roll("demo", &Config::new("1")).await.unwrap();
    front.go();
    assert!(world.deployer.remove("demo").await.is_some());
    assert_eq!(world.get("/demo/revision").await.0, StatusCode::NOT_FOUND);
    assert_eq!(world.containers().len(), 1, "nobody could remove it");
    front.come(Mood::Honest);
    eventually(Duration::from_secs(20), "swept", async || world.left().is_empty()).await;
}

async fn a_daemon_without_room_keeps_the_old_revision() {
    let front = Front::new();
    let world = world(&front, limits()).await;
    world.roll("demo", &Config::new("1")).await.unwrap();
    front.come(Mood::Full);
    let error = world
        .roll("demo", &Config::new("2"))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("no space left on device"), "{error}");
    assert_eq!(world.get("/demo/revision").await.1, "1");
    assert_eq!(world.containers().len(), 1, "{:?}", world.left());
    front.come(Mood::Honest);
    world.deployer.shutdown().await;
    assert_eq!(world.left(), [""; 0]);
}

async fn a_container_with_a_wall_less_is_told_nothing_and_ended() {
    let weak = World::with(
        |runtime| runtime.insecure_without(Control::Processes),
        Arc::new(ReadyIsEnough),
        limits(),
    )
    .await;
    let error = weak
        .roll("demo", &Config::new("1"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("weaker than it must be: process limit (wanted"),
        "{error}"
    );
    assert_eq!(weak.left(), [""; 0]);
}

async fn without_hardening_it_runs_and_says_what_is_missing() {
    let open = World::with(
        |runtime| runtime.insecure_disable_hardening(),
        Arc::new(ReadyIsEnough),
        limits(),
    )
    .await;
    let live = open.roll("demo", &Config::new("1")).await.unwrap();
    assert_eq!(open.get("/demo/revision").await.1, "1");
    assert!(!live.report.is_full());
    for missing in ["read-only root", "no capabilities", "process limit"] {
        assert!(!live.report.holds(missing), "{}", live.report);
    }
    assert!(live.report.holds("no network"), "{}", live.report);
    open.deployer.shutdown().await;
    assert_eq!(open.left(), [""; 0]);
}
