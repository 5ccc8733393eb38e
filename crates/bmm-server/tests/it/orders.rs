//! `bmm stop`, `bmm start`, `bmm rollback`, with a bmm that runs and without; and kill -9 of it in the middle of a redeploy.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bmm::{
    Place, Up, alive, command, descendants, eventually, free_address, run, said, shout_spec, stderr_lines,
};

/// The same server, which whispers instead.
fn whisper_spec(slug: &str) -> Value {
    let mut spec = shout_spec(slug);
    spec["tools"][0]["implementation"] = json!("export default async (input) => input.text.toLowerCase();");
    spec
}

fn order(place: &Place, verb: &str) -> std::process::Output {
    run(&[verb, "voice", "--data-dir", &place.data()])
}

fn ask(place: &Place, up: &Up) -> String {
    let url = format!("{}/voice/mcp", up.origin());
    let credentials = place.path("credentials.json");
    let credentials = credentials.to_str().expect("UTF-8");
    let link = said(&run(&["login-link", "--data-dir", &place.data()]));
    said(&run(&[
        "call",
        &url,
        "shout",
        r#"{"text":"Aa"}"#,
        "--credentials",
        credentials,
        "--sign-in-url",
        &link,
    ]))
}

/// Two revisions, the second of which is current.
fn two_revisions(place: &Place) {
    for spec in [shout_spec("voice"), whisper_spec("voice")] {
        let spec = place.spec("voice.json", &spec);
        assert_eq!(place.up(&[&spec]).stop().0, Some(0));
    }
}

#[test]
fn a_server_goes_back_one_revision_and_comes_again_also_after_a_restart() {
    let (place, address) = (Place::new(), free_address());
    two_revisions(&place);
    let up = place.up_at(address, &[]);
    assert_eq!(ask(&place, &up), "aa");
    for (revision, answer) in [(1, "AA"), (2, "aa"), (1, "AA")] {
        let told = said(&order(&place, "rollback"));
        assert_eq!(told, format!("voice is back at revision {revision}"));
        assert_eq!(ask(&place, &up), answer);
    }
    assert_eq!(up.stop().0, Some(0));
    let up = place.up_at(address, &[]);
    assert_eq!(ask(&place, &up), "AA", "what served is what is stored");
    assert_eq!(up.stop().0, Some(0));
    assert_eq!(
        said(&order(&place, "rollback")),
        "voice is back at revision 2",
        "without a bmm that runs too"
    );
    let up = place.up_at(address, &[]);
    assert_eq!(ask(&place, &up), "aa");
}

#[test]
fn there_is_nothing_to_go_back_to_before_the_second_revision() {
    let place = Place::new();
    let spec = place.spec("voice.json", &shout_spec("voice"));
    let up = place.up(&[&spec]);
    let refused = |output: std::process::Output| {
        assert_eq!(output.status.code(), Some(1));
        stderr_lines(&output).join("\n")
    };
    let nothing = "voice has no earlier revision to go back to";
    assert!(refused(order(&place, "rollback")).contains(nothing));
    let unknown = run(&["stop", "other", "--data-dir", &place.data()]);
    assert!(refused(unknown).contains("there is no server other"));
    assert_eq!(up.stop().0, Some(0));
    assert!(refused(order(&place, "rollback")).contains(nothing));
}

#[test]
fn a_stopped_server_stays_down_until_it_is_started() {
    let (place, address) = (Place::new(), free_address());
    let spec = place.spec("voice.json", &shout_spec("voice"));
    let up = place.up_at(address, &[&spec]);
    let told = said(&order(&place, "stop"));
    assert!(
        told.starts_with("voice is stopped: no requests are led to it any more\nthe runner of revision 1")
            && told.ends_with("has ended: exit code 0"),
        "{told}"
    );
    let gone = |up: &Up| up.get("/voice/mcp").status == 404;
    assert!(gone(&up));
    assert!(
        descendants(up.pid())
            .iter()
            .all(|one| !one.name.contains("runner"))
    );
    assert_eq!(said(&order(&place, "stop")), "voice was not running");
    assert_eq!(up.stop().0, Some(0));

    // Given again, as in a unit file, it stays down too.
    for specs in [&[][..], &[spec.as_str()]] {
        let up = place.up_at(address, specs);
        assert_eq!(up.line["servers"], json!([]));
        assert!(gone(&up));
        assert_eq!(up.stop().0, Some(0));
    }
    let up = place.up_at(address, &[]);
    let told = said(&order(&place, "start"));
    assert_eq!(told, format!("voice serves at {}/voice/mcp", up.origin()));
    assert_eq!(ask(&place, &up), "AA");
    assert_eq!(up.stop().0, Some(0));
    assert_eq!(
        said(&order(&place, "stop")),
        "voice is stopped; no bmm is running"
    );
    assert_eq!(said(&order(&place, "start")), "`bmm up` will start voice");
    let up = place.up_at(address, &[]);
    assert_eq!(ask(&place, &up), "AA");
}

/// The first revision does not do what its example says, which nobody asks before `--smoke-call`.
#[test]
fn a_revision_that_fails_its_smoke_call_is_not_led_to_and_the_one_that_serves_stays_checked() {
    let place = Place::new();
    let said_to_be = |mut spec: Value, output: &str| {
        spec["tools"][0]["annotations"] = json!({"readOnlyHint": true});
        spec["tools"][0]["examples"] = json!([{"input": {"text": "Aa"}, "output": output}]);
        spec
    };
    for spec in [
        said_to_be(shout_spec("voice"), "aa"),
        said_to_be(whisper_spec("voice"), "aa"),
    ] {
        let spec = place.spec("voice.json", &spec);
        assert_eq!(place.up(&[&spec]).stop().0, Some(0));
    }
    let data = place.data();
    let up = Up::start(&[
        "up",
        "--json",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        &data,
        "--smoke-call",
    ]);
    let refused = order(&place, "rollback");
    assert_eq!(refused.status.code(), Some(1));
    let told = stderr_lines(&refused).join("\n");
    assert!(told.contains("does not answer the example of shout"), "{told}");
    assert_eq!(ask(&place, &up), "aa");

    let runners = || {
        descendants(up.pid())
            .into_iter()
            .filter(|one| one.parent == up.pid())
    };
    let before: Vec<u32> = runners().map(|one| one.pid).collect();
    for pid in &before {
        crate::bmm::signal(*pid, "KILL");
    }
    let back = eventually(Duration::from_secs(20), || {
        runners().any(|one| !before.contains(&one.pid)).then_some(())
    });
    assert!(back.is_some());
    assert_eq!(ask(&place, &up), "aa");
    let after: Vec<u32> = runners().map(|one| one.pid).collect();
    assert_eq!(ask(&place, &up), "aa");
    let still: Vec<u32> = runners().map(|one| one.pid).collect();
    assert_eq!(after, still, "it passed its check");
}

/// A running bmm goes back and forth between two revisions, and is killed at each of these lines of its log, counted from the order.
#[test]
fn kill_9_in_the_middle_of_a_redeploy_leaves_one_revision() {
    let (place, address) = (Place::new(), free_address());
    two_revisions(&place);
    for line in [1, 3, 5, 7, 9, 11, 13, 16] {
        let children = killed_at(&place, address, line);
        let gone = eventually(Duration::from_secs(10), || {
            alive(&children).is_empty().then_some(())
        });
        assert!(gone.is_some(), "orphans of line {line}: {:?}", alive(&children));

        let before = stored_revision(&place);
        let up = place.up_at(address, &[]);
        // What it was told and had not done is done now.
        let revision = eventually(Duration::from_secs(30), || {
            let open = has_open_order(&place);
            (!open).then(|| stored_revision(&place))
        });
        let revision = revision.expect("the order is carried out");
        println!("line {line}: stored {before}, then {revision}");
        let expected = if revision == 1 { "AA" } else { "aa" };
        assert_eq!(ask(&place, &up), expected, "line {line}");
        let run_dir = place.path("data/run");
        let one = eventually(Duration::from_secs(70), || {
            (names(&run_dir).len() == 1).then_some(())
        });
        assert!(one.is_some(), "line {line}: {:?}", names(&run_dir));
        let runners = descendants(up.pid());
        let runners = runners.iter().filter(|one| one.parent == up.pid());
        assert_eq!(runners.count(), 1, "line {line}");
        assert_eq!(up.stop().0, Some(0));
        assert!(names(&run_dir).is_empty(), "line {line}");
    }
}

/// Runs `bmm up`, has it go back a revision, and kills it when it writes that line. What was below it then.
fn killed_at(place: &Place, address: std::net::SocketAddr, line: usize) -> Vec<u32> {
    let (data, listen) = (place.data(), address.to_string());
    let mut up = command(&["up", "--json", "--listen", &listen, "--data-dir", &data])
        .env("BMM_LOG", "bmm_deploy=trace")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bmm starts");
    let log = BufReader::new(up.stderr.take().expect("piped"));
    let (lines, read) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        log.lines()
            .map_while(Result::ok)
            .try_for_each(|line| lines.send(line))
    });
    let mut ready = String::new();
    let mut out = BufReader::new(up.stdout.take().expect("piped"));
    out.read_line(&mut ready).expect("it serves");
    while read.try_recv().is_ok() {}

    let asking = command(&["rollback", "voice", "--data-dir", &data])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut asking = asking.expect("bmm runs");
    let reached = (0..line).all(|_| read.recv_timeout(Duration::from_secs(20)).is_ok());
    let children = descendants(up.id()).into_iter().map(|one| one.pid).collect();
    up.kill().expect("kills");
    up.wait().expect("it ends");
    asking.kill().expect("kills");
    asking.wait().expect("it ends");
    assert!(reached, "a redeploy has fewer lines than {line}");
    children
}

fn stored_revision(place: &Place) -> i64 {
    from_database(place, "SELECT revision FROM servers")
}

fn has_open_order(place: &Place) -> bool {
    from_database(place, "SELECT count(*) FROM server_orders WHERE outcome IS NULL") > 0
}

fn from_database(place: &Place, sql: &'static str) -> i64 {
    let database = Path::new(&place.data()).join("bmm.db");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", database.display()))
            .await
            .expect("connects");
        let found = sqlx::query_scalar(sql).fetch_one(&pool).await.expect("answers");
        pool.close().await;
        found
    })
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}
