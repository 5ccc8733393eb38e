//! From a container's start to its end, and what happens in between.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bmm_deploy::container::ImageId;
use bmm_deploy::{DeployError, Phase, ReadyIsEnough};
use http::StatusCode;

use super::world::{World, docker, docker_trials, limits, lines};
use crate::eventually;
use crate::fake_runner::Config;

docker_trials!(
    a_server_in_a_container_serves_and_leaves_nothing,
    a_killed_container_is_back_and_the_call_in_between_succeeds,
    a_slow_call_is_finished_by_the_container_that_took_it,
    the_first_process_passes_the_wish_to_end_on,
    the_first_process_buries_orphans,
    a_missing_image_keeps_the_old_revision,
    a_name_that_is_taken_is_told_and_left_alone,
    what_an_earlier_life_has_left_under_the_name_goes,
    what_is_anothers_is_not_swept,
);

async fn a_server_in_a_container_serves_and_leaves_nothing() {
    let world = World::new().await;
    let live = world.roll("demo", &Config::new("1")).await.unwrap();
    assert_eq!(
        world.get("/demo/revision").await,
        (StatusCode::OK, "1".to_owned())
    );
    assert!(live.report.is_full(), "{}", live.report);
    assert!(live.report.holds("runner's own seccomp"), "{}", live.report);
    let (_, answer) = world.get("/demo/egress?GET+/jwks").await;
    assert!(answer.contains("{\"keys\":[]}"), "{answer}");
    assert!(std::path::Path::new(&format!("/proc/{}", live.pid)).exists());
    assert!(world.deployer.remove("demo").await.is_some());
    assert_eq!(world.left(), [""; 0]);
}

async fn a_killed_container_is_back_and_the_call_in_between_succeeds() {
    let world = World::new().await;
    world.roll("demo", &Config::new("1")).await.unwrap();
    for time in 1..=2 {
        let container = world
            .left()
            .into_iter()
            .find(|name| name.starts_with("bmm-"))
            .unwrap();
        lines(&["kill", &container]);
        let killed = Instant::now();
        assert_eq!(
            world.get("/demo/revision").await,
            (StatusCode::OK, "1".to_owned())
        );
        println!("back after {:?}", killed.elapsed());
        eventually(Duration::from_secs(5), "healthy again", async || {
            world
                .deployer
                .status()
                .iter()
                .all(|one| one.phase == Phase::Healthy && one.restarts == time)
        })
        .await;
    }
    world.deployer.shutdown().await;
    assert_eq!(world.left(), [""; 0]);
}

async fn a_slow_call_is_finished_by_the_container_that_took_it() {
    let world = World::new().await;
    world.roll("demo", &Config::new("1")).await.unwrap();
    let router = world.router.clone();
    let slow = tokio::spawn(async move { crate::deploys::get(&router, "/demo/slow?2000").await });
    assert_eq!(world.get("/demo/revision").await.1, "1");
    world.roll("demo", &Config::new("2")).await.unwrap();
    assert_eq!(world.get("/demo/revision").await.1, "2");
    assert_eq!(slow.await.unwrap(), (StatusCode::OK, "1".to_owned()));
    eventually(Duration::from_secs(10), "the old one is retired", async || {
        world.deployer.status().len() == 1
    })
    .await;
    assert_eq!(world.left().len(), 3, "{:?}", world.left());
    world.deployer.shutdown().await;
    assert_eq!(world.left(), [""; 0]);
}

async fn the_first_process_passes_the_wish_to_end_on() {
    let world = World::new().await;
    world.roll("demo", &Config::new("1")).await.unwrap();
    let container = world.containers().remove(0);
    // A first process that does nothing about it would not even notice.
    lines(&["kill", "--signal=TERM", &container]);
    eventually(Duration::from_secs(10), "it ended and is back", async || {
        let status = world.deployer.status();
        status
            .iter()
            .all(|one| one.phase == Phase::Healthy && one.restarts == 1)
    })
    .await;
    assert_eq!(world.get("/demo/revision").await.1, "1");
    world.deployer.shutdown().await;
    assert_eq!(world.left(), [""; 0]);
}

async fn the_first_process_buries_orphans() {
    let world = World::new().await;
    let live = world.roll("orphans", &Config::new("1")).await.unwrap();
    assert_eq!(world.get("/orphans/revision").await.1, "1");
    let zombies = || {
        let path = format!("/proc/{0}/task/{0}/children", live.pid);
        let children = std::fs::read_to_string(path).unwrap();
        let states = children.split_ascii_whitespace().map(|pid| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.contains("State:\tZ")
        });
        let states: Vec<bool> = states.collect();
        assert!(!states.is_empty(), "the runner at least");
        states.into_iter().filter(|is_zombie| *is_zombie).count()
    };
    eventually(Duration::from_secs(10), "buried", async || zombies() == 0).await;
    world.deployer.shutdown().await;
    assert_eq!(world.left(), [""; 0]);
}

async fn a_missing_image_keeps_the_old_revision() {
    let missing: ImageId = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let world = World::over(
        docker().await,
        missing,
        |runtime| runtime,
        Arc::new(ReadyIsEnough),
        limits(),
    )
    .await;
    let error = world.roll("demo", &Config::new("1")).await.unwrap_err();
    assert!(error.to_string().contains("No such image"), "{error}");
    assert_eq!(world.left(), [""; 0]);
}

async fn a_name_that_is_taken_is_told_and_left_alone() {
    let world = World::new().await;
    world.roll("demo", &Config::new("1")).await.unwrap();
    let image = super::world::image(&docker().await).await.to_string();
    let foreign = format!("bmm-{}-demo-2", world.instance);
    lines(&["create", "--name", &foreign, "--network=none", &image, "/bmm"]);
    let error = world.roll("demo", &Config::new("2")).await.unwrap_err();
    assert!(matches!(error, DeployError::Start { .. }), "{error}");
    assert!(error.to_string().contains("already in use"), "{error}");
    assert_eq!(world.get("/demo/revision").await.1, "1");
    world.deployer.shutdown().await;
    assert_eq!(world.left(), [""; 0]);
    assert_eq!(lines(&["rm", &foreign]), [foreign]);
}

async fn what_an_earlier_life_has_left_under_the_name_goes() {
    let world = World::new().await;
    // The first sweep is over once this serves.
    world.roll("first", &Config::new("1")).await.unwrap();
    let image = super::world::image(&docker().await).await.to_string();
    let name = format!("bmm-{}-demo-2", world.instance);
    let instance = format!("bmm.instance={}", world.instance);
    let left = lines(&[
        "create",
        "--name",
        &name,
        "--label",
        &instance,
        "--network=none",
        &image,
        "/bmm",
    ]);
    world.roll("demo", &Config::new("1")).await.unwrap();
    assert_eq!(world.get("/demo/revision").await.1, "1");
    let there = lines(&[
        "ps",
        "--all",
        "--no-trunc",
        "--quiet",
        "--filter",
        &format!("name={name}"),
    ]);
    assert!(there.len() == 1 && there != left, "{there:?}");
    world.deployer.shutdown().await;
    assert_eq!(world.left(), [""; 0]);
}

async fn what_is_anothers_is_not_swept() {
    let mut often = limits();
    often.sweep_every = Duration::from_millis(100);
    let (one, other) = (
        World::with(|runtime| runtime, Arc::new(ReadyIsEnough), often.clone()).await,
        World::with(|runtime| runtime, Arc::new(ReadyIsEnough), often).await,
    );
    one.roll("demo", &Config::new("1")).await.unwrap();
    other.roll("demo", &Config::new("2")).await.unwrap();
    // An orphan of each shows that both have swept since.
    let image = super::world::image(&docker().await).await.to_string();
    for world in [&one, &other] {
        let instance = format!("bmm.instance={}", world.instance);
        lines(&["create", "--label", &instance, "--network=none", &image, "/bmm"]);
    }
    eventually(Duration::from_secs(20), "both have swept", async || {
        one.containers().len() == 1 && other.containers().len() == 1
    })
    .await;
    assert_eq!(
        (
            one.get("/demo/revision").await.1,
            other.get("/demo/revision").await.1
        ),
        ("1".into(), "2".into())
    );
    one.deployer.shutdown().await;
    assert_eq!((one.left().len(), other.containers().len()), (0, 1));
    other.deployer.shutdown().await;
    assert_eq!(other.left(), [""; 0]);
}
