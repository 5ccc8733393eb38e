//! `bmm keys`, `bmm backup`, `bmm restore`, and starts whose keys are not what they should be.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Output;

use serde_json::{Value, json};

use crate::bmm::{Place, Up, free_address, run, said, stderr_lines};
use crate::secrets::{FIRST, sealing_spec, secret};

/// A stopped data directory with one server and its secret.
struct Stopped {
    place: Place,
}

impl Stopped {
    fn new() -> Self {
        let place = Place::new();
        let spec = place.spec("sealing.json", &sealing_spec("sealing"));
        assert_eq!(place.up(&[&spec]).stop().0, Some(0));
        said(&secret(&place, "sealing", "SIGNING_KEY", FIRST.0));
        Self { place }
    }

    fn kek(&self) -> PathBuf {
        PathBuf::from(self.place.data()).join("kek")
    }

    fn bmm(&self, verb: &[&str]) -> Output {
        bmm(&self.place, verb)
    }

    fn status(&self) -> Value {
        serde_json::from_str(&said(&self.bmm(&["keys", "status", "--json"]))).expect("JSON")
    }

    /// The server answers with its secret.
    fn works(&self) {
        works(&self.place);
    }

    /// The one line with which a start is refused.
    fn refusal(&self) -> String {
        let output = self.bmm(&["up", "--listen", "127.0.0.1:0"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        stderr_lines(&output).join("\n")
    }
}

fn bmm(place: &Place, verb: &[&str]) -> Output {
    let data = place.data();
    let mut args = verb.to_vec();
    args.extend(["--data-dir", &data]);
    run(&args)
}

fn works(place: &Place) {
    let up = place.up(&[]);
    assert_eq!(mac(place, &up), FIRST.1);
    assert_eq!(up.stop().0, Some(0));
}

fn mac(place: &Place, up: &Up) -> String {
    let link = said(&bmm(place, &["login-link"]));
    let credentials = place.path("credentials.json");
    said(&up.call(
        &credentials,
        "sealing",
        "mac",
        &json!({ "text": "data" }),
        Some(&link),
    ))
}

fn states(status: &Value) -> Vec<&str> {
    let keys = status["keys"].as_array().expect("keys");
    keys.iter()
        .map(|key| key["state"].as_str().expect("a state"))
        .collect()
}

#[test]
fn a_rotation_of_a_stopped_server_is_done_at_once() {
    let stopped = Stopped::new();
    let before = stopped.status();
    assert_eq!(states(&before), ["active"]);
    assert_eq!(before["keys"][0]["rows"], 2, "the secret and the signing keys");

    said(&stopped.bmm(&["keys", "rotate"]));
    let after = stopped.status();
    assert_eq!(states(&after), ["retired", "active"]);
    assert_eq!(
        (&after["keys"][0]["rows"], &after["keys"][1]["rows"]),
        (&json!(0), &json!(2))
    );
    stopped.works();
}

#[test]
fn a_rotation_beside_a_running_server_is_left_to_it() {
    let stopped = Stopped::new();
    let up = stopped.place.up(&[]);
    let told = said(&stopped.bmm(&["keys", "rotate"]));
    assert!(told.contains("key 2") && told.contains("running"), "{told}");
    assert_eq!(states(&stopped.status()), ["active", "staged"]);
    // Asking again makes no third key.
    said(&stopped.bmm(&["keys", "rotate"]));
    assert_eq!(states(&stopped.status()), ["active", "staged"]);
    assert_eq!(mac(&stopped.place, &up), FIRST.1);
}

#[test]
fn a_rewrap_changes_the_key_file_and_no_value() {
    let stopped = Stopped::new();
    let old = fs::read(stopped.kek()).expect("a key");
    let told = said(&stopped.bmm(&["keys", "rewrap"]));
    assert_ne!(fs::read(stopped.kek()).expect("a key"), old);
    assert_eq!(
        fs::metadata(stopped.kek())
            .expect("metadata")
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    assert_eq!(states(&stopped.status()), ["active"]);
    stopped.works();

    let kept = fs::read_dir(stopped.place.data())
        .expect("lists")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("kek-"))
        })
        .expect("the old key is kept");
    assert!(told.contains(&kept.display().to_string()), "{told}");
    assert_eq!(fs::read(&kept).expect("a key"), old);

    fs::copy(&kept, stopped.kek()).expect("copies");
    let line = stopped.refusal();
    assert!(line.contains("not the key-encryption key"), "{line}");
}

#[test]
fn a_rewrap_that_was_stopped_half_way_is_finished_by_the_next_start() {
    let stopped = Stopped::new();
    let kek = stopped.kek();
    let old = fs::read(&kek).expect("a key");

    // Before the keys were wrapped anew: the fresh key means nothing yet.
    fs::write(kek.with_extension("next"), [9; 32]).expect("writes");
    fs::set_permissions(kek.with_extension("next"), fs::Permissions::from_mode(0o600)).expect("sets");
    stopped.works();
    said(&stopped.bmm(&["keys", "rewrap"]));
    assert_eq!(fs::read(&kek).expect("a key"), [9; 32]);

    // After that, and before the file took its place.
    fs::rename(&kek, kek.with_extension("next")).expect("renames");
    fs::write(&kek, &old).expect("writes");
    fs::set_permissions(&kek, fs::Permissions::from_mode(0o600)).expect("sets");
    stopped.works();
    assert_eq!(fs::read(&kek).expect("a key"), [9; 32]);
    assert!(!kek.with_extension("next").exists());
}

#[test]
fn a_running_server_takes_over_a_new_key_file() {
    let stopped = Stopped::new();
    let up = stopped.place.up(&[]);
    said(&stopped.bmm(&["keys", "rewrap"]));
    assert_eq!(mac(&stopped.place, &up), FIRST.1);
    assert_eq!(up.stop().0, Some(0));
    stopped.works();
}

#[test]
fn a_missing_key_file_is_never_replaced() {
    let stopped = Stopped::new();
    fs::remove_file(stopped.kek()).expect("removes");
    let line = stopped.refusal();
    assert!(
        line.contains("kek is missing") && line.contains("put it back"),
        "{line}"
    );
    assert!(!stopped.kek().exists());
    for verb in [&["keys", "status"][..], &["keys", "rotate"], &["keys", "rewrap"]] {
        assert_eq!(stopped.bmm(verb).status.code(), Some(1), "{verb:?}");
    }
    assert!(!stopped.kek().exists());
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let stopped = Stopped::new();
    fs::set_permissions(stopped.kek(), fs::Permissions::from_mode(0o640)).expect("sets");
    let line = stopped.refusal();
    assert!(line.contains("kek") && line.contains("chmod 600"), "{line}");
}

#[test]
fn a_backup_of_a_running_server_comes_back_with_its_key() {
    let stopped = Stopped::new();
    let address = free_address();
    let up = stopped.place.up_at(address, &[]);
    let cookie = up.session(up.sign_in_url());
    assert_eq!(mac(&stopped.place, &up), FIRST.1);
    let backup = stopped
        .place
        .path("backup.db")
        .to_str()
        .expect("UTF-8")
        .to_owned();
    let told = said(&stopped.bmm(&["backup", &backup]));
    assert!(told.contains("everything but the key-encryption key"), "{told}");
    assert_eq!(
        fs::metadata(&backup).expect("metadata").permissions().mode() & 0o777,
        0o600
    );
    let bytes = fs::read(&backup).expect("reads");
    for secret in [FIRST.0.as_bytes(), &fs::read(stopped.kek()).expect("a key")] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret));
    }
    let again = stopped.bmm(&["backup", &backup]);
    assert!(stderr_lines(&again).join("").contains("exists"), "{again:?}");
    drop(up);

    let (elsewhere, kek) = (Place::new(), stopped.kek().to_str().expect("UTF-8").to_owned());
    said(&bmm(&elsewhere, &["restore", &backup, "--kek", &kek]));
    // The same issuer as before, as after a move to another machine.
    let up = elsewhere.up_at(address, &[]);
    let servers = up.get_with("/api/servers", &[("Cookie", &cookie)]);
    assert_eq!(servers.status, 401, "a session of before the backup is over");
    let stored = fs::read(stopped.place.path("credentials.json")).expect("reads");
    let stored: Value = serde_json::from_slice(&stored).expect("JSON");
    let servers = stored["servers"].as_object().expect("servers");
    let token = servers.values().next().expect("a server")["token_response"]["access_token"].clone();
    let bearer = format!("Bearer {}", token.as_str().expect("a token"));
    let answer = up.get_with("/sealing/mcp", &[("Authorization", &bearer)]);
    assert_eq!(answer.status, 401, "a token of before the backup is over");
    assert_eq!(mac(&elsewhere, &up), FIRST.1);
}

#[test]
fn a_restore_takes_only_a_backup_its_key_and_an_empty_place() {
    let stopped = Stopped::new();
    let backup = stopped
        .place
        .path("backup.db")
        .to_str()
        .expect("UTF-8")
        .to_owned();
    said(&stopped.bmm(&["backup", &backup]));
    let kek = stopped.kek().to_str().expect("UTF-8").to_owned();
    let file = |name: &str, bytes: &[u8]| {
        let path = stopped.place.path(name);
        fs::write(&path, bytes).expect("writes");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("sets");
        path.to_str().expect("UTF-8").to_owned()
    };
    let other_kek = file("other", &[1; 32]);
    let text = file("text", b"not a database at all");
    let whole = fs::read(&backup).expect("reads");
    let cut = file("cut", &whole[..whole.len() / 2]);

    let elsewhere = Place::new();
    for (file, key, said) in [
        (&backup, &other_kek, "not the key-encryption key"),
        (&text, &kek, "not a backup"),
        (&cut, &kek, "malformed"),
        (&backup, &text, "key file"),
    ] {
        let output = bmm(&elsewhere, &["restore", file, "--kek", key]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let line = stderr_lines(&output).join("\n");
        assert!(line.contains(said), "{line}");
        assert!(
            !PathBuf::from(elsewhere.data()).join("bmm.db").exists(),
            "{file} {key}"
        );
    }
    let output = stopped.bmm(&["restore", &backup, "--kek", &kek]);
    assert!(
        stderr_lines(&output).join("").contains("new data directory"),
        "{output:?}"
    );
    stopped.works();

    // What failed before is not in the way.
    said(&bmm(&elsewhere, &["restore", &backup, "--kek", &kek]));
    works(&elsewhere);
}
