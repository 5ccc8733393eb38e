use serde_json::json;

use crate::bmm::{Place, Up, said, shout_spec};

#[test]
fn up_serves_the_demo_and_says_so_in_one_line() {
    let place = Place::new();
    let up = place.up(&[]);

    let origin = up.origin().to_owned();
    assert_eq!(up.line["dashboard_url"], format!("{origin}/"));
    assert_eq!(
        up.line["servers"],
        json!([{ "slug": "demo", "mcp_url": format!("{origin}/demo/mcp") }])
    );
    assert!(up.sign_in_url().starts_with(&format!("{origin}/login?token=")));

    let health = up.get("/health");
    assert_eq!((health.status, health.json()), (200, json!({ "status": "ok" })));

    let (code, rest) = up.stop();
    assert_eq!(
        (code, rest.as_str()),
        (Some(0), ""),
        "it drains, and has printed one line only"
    );
}

#[test]
fn a_given_spec_takes_the_place_of_the_demo_and_can_be_called() {
    let place = Place::new();
    let spec = place.spec("shout.json", &shout_spec("shout"));
    let up = place.up(&[&spec]);
    assert_eq!(up.line["servers"].as_array().map(Vec::len), Some(1));

    let credentials = place.path("credentials.json");
    let output = up.call(
        &credentials,
        "shout",
        "shout",
        &json!({ "text": "hello" }),
        Some(up.sign_in_url()),
    );
    assert_eq!(said(&output), "HELLO");

    // From now on nobody has to sign in.
    let output = up.call(&credentials, "shout", "shout", &json!({ "text": "again" }), None);
    assert_eq!(said(&output), "AGAIN");
}

#[test]
fn a_server_announces_its_protection_at_the_place_clients_look_for_it() {
    let place = Place::new();
    let spec = place.spec("shout.json", &shout_spec("shout"));
    let up = place.up(&[&spec]);
    let origin = up.origin();

    let refused = crate::http::request(
        up.address(),
        "POST",
        "/shout/mcp",
        &[("Content-Type", "application/json")],
        "{}",
    );
    assert_eq!(refused.status, 401);
    let challenge = refused.header("www-authenticate").expect("a challenge");
    let metadata_url = format!("{origin}/.well-known/oauth-protected-resource/shout/mcp");
    assert!(
        challenge.contains(&format!("resource_metadata=\"{metadata_url}\"")),
        "{challenge}"
    );

    let metadata = up.get(up.path_of(&metadata_url)).json();
    assert_eq!(metadata["resource"], up.mcp_url("shout"));
    assert_eq!(metadata["authorization_servers"], json!([origin]));

    let server = up.get("/.well-known/oauth-authorization-server").json();
    assert_eq!(server["issuer"], origin);
}

#[test]
fn an_unknown_slug_is_a_404_in_json() {
    let place = Place::new();
    let spec = place.spec("shout.json", &shout_spec("shout"));
    let up = place.up(&[&spec]);
    for path in [
        "/nothing/mcp",
        "/nothing",
        "/.well-known/oauth-protected-resource/nothing/mcp",
        "/a/b/c",
        "/shoutx/mcp",
    ] {
        let response = up.get(path);
        assert_eq!(response.status, 404, "{path}");
        assert_eq!(response.json()["error"], "not_found", "{path}");
    }
}

#[test]
fn a_person_gets_links_urls_and_lines_to_paste() {
    let place = Place::new();
    let spec = place.spec("shout.json", &shout_spec("shout"));
    let data = place.data();
    let mut child = crate::bmm::command(&["up", "--listen", "127.0.0.1:0", "--data-dir", &data, &spec])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("bmm starts");
    let mut text = String::new();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("piped")));
    while !text.contains("Stop: Ctrl-C") {
        text.push_str(&lines.next().expect("more lines").expect("reads"));
        text.push('\n');
    }
    crate::bmm::signal(child.id(), "INT");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    for part in [
        "/login?token=",
        "claude mcp add --transport http shout http://127.0.0.1:",
        "mcp-remote",
        "codex mcp add",
        "code --add-mcp",
        "mcpServers",
        "bmm call http://127.0.0.1:",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn a_public_url_is_what_everything_is_named_after() {
    let place = Place::new();
    let spec = place.spec("shout.json", &shout_spec("shout"));
    let data = place.data();
    let up = Up::start(&[
        "up",
        "--json",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        &data,
        "--public-url",
        "https://mcp.example.com/",
        &spec,
    ]);
    assert_eq!(up.origin(), "https://mcp.example.com");
    assert_eq!(up.mcp_url("shout"), "https://mcp.example.com/shout/mcp");
    assert_eq!(up.line["dashboard_url"], "https://mcp.example.com/");
}
