//! The runner image: what is in it, and what a daemon makes of it.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use bmm_deploy::container::{ContainerSpec, RunnerImage};
use libtest_mimic::Trial;
use serde_json::Value;

use super::daemon::{Daemon, docker_trials};

/// A small executable that is there.
const SMALL: &str = "/bin/sh";

crate::trials!(
    the_same_files_give_the_same_image,
    an_image_holds_an_executable_and_its_libraries_and_nothing_else,
    an_image_that_cannot_be_made_names_the_file,
);

pub(super) fn docker() -> Vec<Trial> {
    docker_trials!(an_image_is_taken_once_and_known_by_its_digest_until_nobody_needs_it)
}

type Files = BTreeMap<String, (tar::Header, Vec<u8>)>;

fn files(archive: &[u8]) -> Files {
    tar::Archive::new(Cursor::new(archive))
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let path = entry
                .path()
                .unwrap()
                .to_str()
                .unwrap()
                .trim_end_matches('/')
                .to_owned();
            (path, (entry.header().clone(), content))
        })
        .collect()
}

fn archive(image: &RunnerImage) -> Vec<u8> {
    let mut archive = Vec::new();
    image.write(&mut archive).unwrap();
    archive
}

async fn the_same_files_give_the_same_image() {
    let (one, other) = (
        RunnerImage::of(Path::new(SMALL)).unwrap(),
        RunnerImage::of(Path::new(SMALL)).unwrap(),
    );
    assert_eq!(one.id(), other.id());
    assert!(archive(&one) == archive(&other), "byte for byte");
    let another = RunnerImage::of(Path::new("/bin/true")).unwrap();
    assert_ne!(one.id(), another.id());
    assert_ne!(one.tag(), another.tag());
}

async fn an_image_holds_an_executable_and_its_libraries_and_nothing_else() {
    let image = RunnerImage::of(Path::new(SMALL)).unwrap();
    let outer = files(&archive(&image));
    let blob = |digest: &str| {
        outer[&format!("blobs/sha256/{}", digest.trim_start_matches("sha256:"))]
            .1
            .as_slice()
    };
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();

    // One configuration, by both ways of reading the archive.
    let docker = json(&outer["manifest.json"].1);
    let index = json(&outer["index.json"].1);
    assert_eq!(index["manifests"][0]["digest"], image.manifest_id().as_str());
    let manifest = json(blob(image.manifest_id().as_str()));
    assert_eq!(manifest["config"]["digest"], image.id().as_str());
    let config_path = docker[0]["Config"].as_str().unwrap();
    assert_eq!(outer[config_path].1, blob(image.id().as_str()));
    let config = json(&outer[config_path].1);
    assert_eq!(
        config["config"]["Entrypoint"],
        serde_json::json!(["/bmm", "bmm-cage:contained:runner"])
    );
    assert_eq!(config["config"].get("Env"), None);

    let layer = files(blob(manifest["layers"][0]["digest"].as_str().unwrap()));
    assert_eq!(layer["bmm"].1, std::fs::read(SMALL).unwrap());
    for (path, (header, content)) in &layer {
        let (mode, kind) = (header.mode().unwrap(), header.entry_type());
        assert_eq!(
            (
                header.mtime().unwrap(),
                header.uid().unwrap(),
                header.gid().unwrap()
            ),
            (0, 0, 0),
            "{path}"
        );
        assert!(kind.is_file() || kind.is_dir(), "{path} is no file");
        assert!(mode & 0o6222 == 0 || kind.is_dir(), "{path} {mode:o}");
        assert!(mode & 0o002 == 0 || path == "tmp", "{path} {mode:o}");
        let is_code = content.starts_with(b"\x7fELF");
        assert!(
            kind.is_dir() || is_code || path == "etc/passwd",
            "{path} is not needed"
        );
    }
    assert!(layer.contains_key("run/bmm") && layer.contains_key("tmp"));
}

async fn an_image_that_cannot_be_made_names_the_file() {
    let error = RunnerImage::of(Path::new("/nowhere/bmm")).unwrap_err();
    assert_eq!(error.to_string(), "cannot make an image of /nowhere/bmm");
    RunnerImage::of(Path::new("/etc/passwd")).unwrap_err();
    RunnerImage::of(Path::new("/")).unwrap_err();
}

async fn an_image_is_taken_once_and_known_by_its_digest_until_nobody_needs_it(daemon: Daemon) {
    let docker = &daemon.docker;
    let ours = daemon.image().await;

    // What is there is found by its digest, and not sent again: this one could not even be written.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small");
    std::fs::copy(SMALL, &path).unwrap();
    let small = Arc::new(RunnerImage::of(&path).unwrap());
    let id = docker.load_image(Arc::clone(&small)).await.unwrap();
    assert!([small.id(), small.manifest_id()].contains(&&id));
    std::fs::write(&path, "changed").unwrap();
    assert!(small.write(std::io::sink()).is_err(), "it is no more what it was");
    assert_eq!(docker.load_image(small).await.unwrap(), id);

    // A container, even one that never ran, keeps its image.
    let control = tempfile::tempdir().unwrap();
    let spec = ContainerSpec {
        image: id.clone(),
        ..daemon.spec(control.path()).await
    };
    let container = docker.create(&spec.plan().unwrap()).await.unwrap();
    // Others are collected too: those of earlier runs.
    let collected = docker.collect_images(&ours).await.unwrap();
    assert!(!collected.contains(&id) && !collected.contains(&ours));
    docker.remove(&container).await.unwrap();
    assert_eq!(docker.collect_images(&ours).await.unwrap(), [id]);
    assert_eq!(docker.collect_images(&ours).await.unwrap(), [], "ours is kept");

    let error = docker.create(&spec.plan().unwrap()).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
}
