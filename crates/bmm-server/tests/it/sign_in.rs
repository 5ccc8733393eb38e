use crate::bmm::{Place, Up, run, said, shout_spec};
use crate::http::{post_form, request};

fn up() -> (Place, Up) {
    let place = Place::new();
    let spec = place.spec("shout.json", &shout_spec("shout"));
    let up = place.up(&[&spec]);
    (place, up)
}

#[test]
fn a_sign_in_link_works_once() {
    let (_place, up) = up();
    let path = up.path_of(up.sign_in_url());
    let first = up.get(path);
    assert_eq!((first.status, first.header("location")), (303, Some("/")));
    let second = up.get(path);
    assert_eq!(second.status, 403);
    assert!(second.cookie().is_none());
}

#[test]
fn a_link_is_not_used_up_by_looking_at_it() {
    let (_place, up) = up();
    let path = up.path_of(up.sign_in_url());
    assert_eq!(request(up.address(), "HEAD", path, &[], "").status, 200);
    assert_eq!(up.get_with(path, &[("Sec-Purpose", "prefetch")]).status, 200);
    assert_eq!(up.get(path).status, 303);
}

#[test]
fn login_link_gives_another_while_bmm_runs() {
    let (place, up) = up();
    let data = place.data();
    let link = said(&run(&["login-link", "--data-dir", &data]));
    assert_ne!(link, up.sign_in_url());
    up.session(&link);
    up.session(up.sign_in_url());

    up.stop();
    let output = run(&["login-link", "--data-dir", &data]);
    assert!(!output.status.success());
    assert_eq!(crate::bmm::stderr_lines(&output).len(), 1);
}

#[test]
fn a_pasted_link_signs_in_and_leads_back() {
    let (_place, up) = up();
    let form = [("link", up.sign_in_url()), ("return_to", "/oauth/authorize?a=b")];
    let response = post_form(up.address(), "/login", &[], &form);
    assert_eq!(
        (response.status, response.header("location")),
        (303, Some("/oauth/authorize?a=b"))
    );
    assert!(response.cookie().is_some());
}

#[test]
fn the_dashboard_is_for_those_who_are_signed_in() {
    let (_place, up) = up();
    let outside = up.get("/");
    assert_eq!(
        (outside.status, outside.header("location")),
        (303, Some("/login"))
    );
    assert_eq!(up.get("/api/servers").status, 401);

    let cookie = up.session(up.sign_in_url());
    let page = up.get_with("/", &[("Cookie", &cookie)]);
    assert_eq!(page.status, 200);
    assert!(page.body.contains(&up.mcp_url("shout")), "{}", page.body);
    assert!(page.body.contains("claude mcp add"), "{}", page.body);
    // With `no-referrer` browsers would send `Origin: null` with the page's own forms, which are then refused.
    assert_eq!(page.header("referrer-policy"), Some("same-origin"));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(
        policy.starts_with("default-src 'none'") && !policy.contains("script"),
        "{policy}"
    );
}

#[test]
fn signing_out_ends_the_session_everywhere() {
    let (_place, up) = up();
    let cookie = up.session(up.sign_in_url());
    assert_eq!(
        request(up.address(), "POST", "/logout", &[("Cookie", &cookie)], "").status,
        303
    );
    assert_eq!(up.get_with("/api/servers", &[("Cookie", &cookie)]).status, 401);
}

#[test]
fn a_session_cookie_is_kept_from_scripts_and_other_sites() {
    let (_place, up) = up();
    let response = up.get(up.path_of(up.sign_in_url()));
    let cookie = response.header("set-cookie").expect("a cookie");
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
}

#[test]
fn on_https_the_cookie_is_bound_to_the_host() {
    let place = Place::new();
    let spec = place.spec("shout.json", &shout_spec("shout"));
    let listen = crate::bmm::free_address();
    let (data, listen_text) = (place.data(), listen.to_string());
    let up = Up::start(&[
        "up",
        "--json",
        "--listen",
        &listen_text,
        "--data-dir",
        &data,
        "--public-url",
        "https://mcp.example.com",
        &spec,
    ]);
    let response = request(
        listen,
        "GET",
        up.path_of(up.sign_in_url()),
        &[("Host", "mcp.example.com")],
        "",
    );
    let cookie = response.header("set-cookie").expect("a cookie");
    assert!(
        cookie.starts_with("__Host-") && cookie.contains("; Secure"),
        "{cookie}"
    );
}
