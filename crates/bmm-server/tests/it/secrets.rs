//! Secrets of hosted servers: given in the dashboard, with `bmm secret`, in a file; used, and shown to nobody.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::bmm::{Place, Up, command, eventually, free_address, run, said, shout_spec, stderr_lines};
use crate::http::{Response, post_form};

/// `printf data | openssl dgst -sha256 -hmac VALUE`
pub(crate) const FIRST: (&str, &str) = (
    "first-5ecret-value",
    "6ff4b4962eccf26999030a012330425a9c4a9ceeab6af4e4df635ed70923f986",
);
const SECOND: (&str, &str) = (
    "second 5ecret&\"value\" + more",
    "1bdd327265e8ef62644ddba69c6f6f8a6a115072716b158ad07d09815f9078ab",
);

/// Time for a running `bmm up` to notice.
const NOTICED: Duration = Duration::from_secs(20);

/// A server whose tool shows that it has the secret, without showing it.
pub(crate) fn sealing_spec(slug: &str) -> Value {
    let mut spec = shout_spec(slug);
    spec["tools"][0]["name"] = json!("mac");
    spec["tools"][0]["implementation"] = json!(
        "export default async (input, ctx) => ctx.hmac('sha256', ctx.secrets.SIGNING_KEY, input.text);"
    );
    spec["requiredSecrets"] = json!([{
        "name": "SIGNING_KEY",
        "description": "The key to sign with <at your own risk>.",
        "howToGetUrl": "https://api.example.com/keys",
        "domains": ["api.example.com"]
    }]);
    spec["allowedDomains"] = json!(["api.example.com"]);
    spec
}

struct Hosted {
    place: Place,
    up: Up,
    credentials: PathBuf,
    cookie: String,
}

/// `bmm up` with such a server, somebody signed in to it with a browser and with `bmm call`.
fn hosted() -> Hosted {
    let place = Place::new();
    let spec = place.spec("sealing.json", &sealing_spec("sealing"));
    let up = place.up_at(free_address(), &[&spec]);
    let cookie = up.session(up.sign_in_url());
    let credentials = place.path("credentials.json");
    let link = said(&run(&["login-link", "--data-dir", &place.data()]));
    up.call(
        &credentials,
        "sealing",
        "mac",
        &json!({ "text": "data" }),
        Some(&link),
    );
    Hosted {
        place,
        up,
        credentials,
        cookie,
    }
}

impl Hosted {
    fn call(&self) -> Output {
        self.up.call(
            &self.credentials,
            "sealing",
            "mac",
            &json!({ "text": "data" }),
            None,
        )
    }

    /// Saves a value in the dashboard.
    fn save(&self, path: &str, headers: &[(&str, &str)], value: &str) -> Response {
        let mut all = vec![("Cookie", self.cookie.as_str()), ("Origin", self.up.origin())];
        all.retain(|(name, _)| !headers.iter().any(|(given, _)| given == name));
        all.extend_from_slice(headers);
        post_form(self.up.address(), path, &all, &[("value", value)])
    }

    fn dashboard(&self) -> String {
        self.up.get_with("/", &[("Cookie", &self.cookie)]).body
    }
}

const FORM: &str = "/dashboard/sealing/secrets/SIGNING_KEY";

/// `bmm secret` with this on its standard input.
pub(crate) fn secret(place: &Place, slug: &str, name: &str, value: &str) -> Output {
    let data = place.data();
    let mut child = command(&["secret", slug, name, "--data-dir", &data])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bmm runs");
    // It may have ended already.
    let _ = child.stdin.take().expect("piped").write_all(value.as_bytes());
    child.wait_with_output().expect("it ends")
}

#[test]
fn a_missing_secret_is_named_by_the_tool_the_dashboard_and_the_start() {
    let hosted = hosted();
    let output = hosted.call();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("the secret SIGNING_KEY is not set"), "{text}");

    let page = hosted.dashboard();
    for part in [
        "Not set: SIGNING_KEY",
        "(not set)",
        "The key to sign with &lt;at your own risk&gt;.",
        "href=\"https://api.example.com/keys\"",
        "type=\"password\"",
    ] {
        assert!(page.contains(part), "{part} in\n{page}");
    }

    assert_eq!(hosted.up.stop().0, Some(0));
    let data = hosted.place.data();
    let mut child = command(&["up", "--listen", "127.0.0.1:0", "--data-dir", &data])
        .stdout(Stdio::piped())
        .spawn()
        .expect("bmm starts");
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("piped")));
    let line = lines
        .map(|line| line.expect("reads"))
        .take_while(|line| !line.contains("Stop: Ctrl-C"))
        .find(|line| line.contains("SIGNING_KEY"));
    let _ = child.kill();
    let _ = child.wait();
    let line = line.expect("a line about the secret");
    assert!(
        line.contains("dashboard") && line.contains(&format!("secret sealing SIGNING_KEY --data-dir {data}")),
        "{line}"
    );
}

#[test]
fn a_secret_set_in_the_dashboard_is_used_at_once_and_after_a_restart() {
    let mut hosted = hosted();
    let saved = hosted.save(FORM, &[], FIRST.0);
    assert_eq!(
        (saved.status, saved.header("location")),
        (303, Some("/#sealing")),
        "{}",
        saved.body
    );
    assert_eq!(said(&hosted.call()), FIRST.1);
    let page = hosted.dashboard();
    assert!(page.contains("(set)") && !page.contains("Not set"), "{page}");
    assert!(!page.contains(FIRST.0), "{page}");

    // Another value, with everything a form may garble; the same value again.
    for _ in 0..2 {
        assert_eq!(hosted.save(FORM, &[], SECOND.0).status, 303);
        assert_eq!(said(&hosted.call()), SECOND.1);
    }

    let address = hosted.up.address();
    assert_eq!(hosted.up.stop().0, Some(0));
    let spec = hosted.place.spec("sealing.json", &sealing_spec("sealing"));
    for specs in [&[] as &[&str], &[&spec]] {
        hosted.up = hosted.place.up_at(address, specs);
        assert_eq!(said(&hosted.call()), SECOND.1);
        hosted.up.kill();
    }
}

#[test]
fn bmm_secret_is_taken_up_by_the_bmm_that_runs_and_by_the_next_one() {
    let mut hosted = hosted();
    let told = said(&secret(
        &hosted.place,
        "sealing",
        "SIGNING_KEY",
        &format!("{}\n", FIRST.0),
    ));
    assert!(
        told.contains("SIGNING_KEY of sealing is set") && told.contains("seconds"),
        "{told}"
    );
    let used = |hosted: &Hosted, mac: &str| {
        eventually(NOTICED, || {
            let output = hosted.call();
            (String::from_utf8_lossy(&output.stdout).trim() == mac).then_some(())
        })
    };
    assert!(used(&hosted, FIRST.1).is_some(), "{:?}", hosted.call());

    let address = hosted.up.address();
    assert_eq!(hosted.up.stop().0, Some(0));
    let told = said(&secret(
        &hosted.place,
        "sealing",
        "SIGNING_KEY",
        &format!("{}\r\n", SECOND.0),
    ));
    assert!(told.contains("`bmm up` will use it"), "{told}");
    hosted.up = hosted.place.up_at(address, &[]);
    assert_eq!(said(&hosted.call()), SECOND.1);
}

#[test]
fn calls_go_on_while_a_secret_is_changed() {
    let hosted = hosted();
    assert_eq!(hosted.save(FORM, &[], FIRST.0).status, 303);
    let macs = std::thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let mut macs = Vec::new();
            while macs.last().is_none_or(|mac| mac == FIRST.1) {
                macs.push(said(&hosted.call()));
            }
            macs
        });
        assert_eq!(hosted.save(FORM, &[], SECOND.0).status, 303);
        caller.join().expect("every call was answered")
    });
    assert_eq!(macs.last().map(String::as_str), Some(SECOND.1));
}

#[test]
fn an_unknown_server_or_secret_is_refused() {
    let hosted = hosted();
    for path in [
        "/dashboard/nothing/secrets/SIGNING_KEY",
        "/dashboard/sealing/secrets/OTHER",
    ] {
        let response = hosted.save(path, &[], FIRST.0);
        assert_eq!(response.status, 404, "{path}: {}", response.body);
        assert!(!response.body.contains(FIRST.0), "{}", response.body);
    }
    for (slug, name, part) in [
        ("nothing", "SIGNING_KEY", "there is no server nothing"),
        ("sealing", "OTHER", "it needs SIGNING_KEY"),
    ] {
        let output = secret(&hosted.place, slug, name, FIRST.0);
        assert_eq!(output.status.code(), Some(1));
        let lines = stderr_lines(&output);
        assert!(lines.len() == 1 && lines[0].contains(part), "{lines:?}");
    }
    for (value, part) in [("", "empty"), (&*"x".repeat(8 * 1024 + 1), "8 KiB")] {
        let response = hosted.save(FORM, &[], value);
        assert!(
            response.status == 422 && response.body.contains(part),
            "{response:?}"
        );
        let lines = stderr_lines(&secret(&hosted.place, "sealing", "SIGNING_KEY", value));
        assert!(lines.len() == 1 && lines[0].contains(part), "{lines:?}");
    }
    assert_eq!(hosted.call().status.code(), Some(1), "still not set");

    let elsewhere = Place::new();
    let lines = stderr_lines(&secret(&elsewhere, "sealing", "SIGNING_KEY", FIRST.0));
    assert!(lines.len() == 1 && lines[0].contains("bmm up"), "{lines:?}");
    assert!(!fs::exists(elsewhere.data()).expect("checks"));
}

/// Cross-site request forgery, and people who are not signed in.
#[test]
fn a_secret_is_set_only_from_our_own_page_by_somebody_signed_in() {
    let hosted = hosted();
    for origin in ["https://evil.example", "null"] {
        let response = hosted.save(FORM, &[("Origin", origin)], FIRST.0);
        assert_eq!(response.status, 403, "{origin}");
        assert_eq!(response.json()["error"], "foreign_origin");
    }
    let response = hosted.save(FORM, &[("Cookie", "bmm_session=nobody")], FIRST.0);
    assert_eq!(
        (response.status, response.header("location")),
        (303, Some("/login"))
    );
    assert!(hosted.dashboard().contains("(not set)"));
}

/// Somebody who reads the data directory without the key file, or what was logged.
#[test]
fn a_secret_is_in_no_file_and_no_log() {
    let place = Place::new();
    let spec = place.spec("sealing.json", &sealing_spec("sealing"));
    let (data, listen) = (place.data(), free_address().to_string());
    let log = place.path("log");
    let mut child = command(&["up", "--json", "--listen", &listen, "--data-dir", &data, &spec])
        .env("BMM_LOG", "trace")
        .env("NO_COLOR", "1")
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).expect("creates"))
        .spawn()
        .expect("bmm starts");
    let logged = |part: &str| {
        fs::read_to_string(&log)
            .expect("reads")
            .contains(part)
            .then_some(())
    };
    let link = eventually(Duration::from_secs(60), || {
        let output = run(&["login-link", "--data-dir", &data]);
        output.status.success().then(|| said(&output))
    });
    let link = link.expect("it comes up");
    let path = link
        .strip_prefix(&format!("http://{listen}"))
        .expect("its own link");
    let address = listen.parse().expect("an address");
    let routed = "routed slug=\"sealing\"";
    assert!(
        eventually(Duration::from_secs(60), || logged(routed)).is_some(),
        "it serves"
    );
    let cookie = crate::http::request(address, "GET", path, &[], "")
        .cookie()
        .expect("a session");

    let saved = post_form(address, FORM, &[("Cookie", &cookie)], &[("value", FIRST.0)]);
    assert_eq!(saved.status, 303, "{}", saved.body);
    said(&secret(&place, "sealing", "SIGNING_KEY", SECOND.0));
    let taken_up = eventually(NOTICED, || logged("revision=\"1.2\""));
    assert!(taken_up.is_some(), "the second value was not taken up");
    crate::bmm::signal(child.id(), "TERM");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));

    let mut files = vec![log.clone()];
    files.extend(
        fs::read_dir(&data)
            .expect("lists")
            .map(|entry| entry.expect("an entry").path()),
    );
    assert!(files.iter().any(|file| file.ends_with("bmm.db")), "{files:?}");
    for file in files.iter().filter(|file| file.is_file()) {
        let bytes = fs::read(file).expect("reads");
        for value in [FIRST.0, SECOND.0] {
            let found = bytes
                .windows(value.len())
                .any(|window| window == value.as_bytes());
            assert!(!found, "a secret in {}", file.display());
        }
    }
}

#[test]
fn run_takes_secrets_from_a_file_of_ones_own() {
    let place = Place::new();
    let spec = place.spec("sealing.json", &sealing_spec("sealing"));
    let file = place.path("secrets.json");
    let write = |text: &str, mode: u32| {
        fs::write(&file, text).expect("writes");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("sets");
    };
    let path = file.to_str().expect("UTF-8");
    let values = json!({ "SIGNING_KEY": FIRST.0 }).to_string();

    write(&values, 0o600);
    assert_eq!(mac_on_stdio(&["run", &spec, "--secrets", path]), json!(FIRST.1));
    let missing = mac_on_stdio(&["run", &spec]);
    assert!(
        missing
            .as_str()
            .is_some_and(|text| text.contains("SIGNING_KEY is not set")),
        "{missing}"
    );

    for (text, mode, part) in [
        (values.as_str(), 0o640, "chmod 600"),
        (&values, 0o604, "chmod 600"),
        (
            r#"{"OTHER": "first-5ecret-value"}"#,
            0o600,
            "OTHER is none of the secrets",
        ),
        (r#"{"SIGNING_KEY": ""}"#, 0o600, "empty"),
        (
            r#"{"SIGNING_KEY": ["first-5ecret-value"]}"#,
            0o600,
            "not a JSON object",
        ),
        (r#"["first-5ecret-value"]"#, 0o600, "not a JSON object"),
    ] {
        write(text, mode);
        let output = run(&["run", &spec, "--secrets", path]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let lines = stderr_lines(&output);
        assert!(lines.len() == 1 && lines[0].contains(part), "{lines:?}");
        assert!(!lines[0].contains(FIRST.0), "{lines:?}");
    }
}

/// What the tool says to `data` when `bmm` with these arguments serves on stdio.
fn mac_on_stdio(args: &[&str]) -> Value {
    let mut child = command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("bmm runs");
    let mut stdin = child.stdin.take().expect("piped");
    for message in [
        json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } } }),
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
        json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
            "name": "mac", "arguments": { "text": "data" } } }),
    ] {
        writeln!(stdin, "{message}").expect("writes");
    }
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("piped")));
    let answer = lines
        .map(|line| serde_json::from_str::<Value>(&line.expect("reads")).expect("JSON and nothing else"))
        .find(|message| message["id"] == 2)
        .expect("an answer");
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
    answer["result"]["content"][0]["text"].clone()
}
