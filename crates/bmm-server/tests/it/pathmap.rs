//! A proxy in front that leads requests to servers by itself, as an operator sets it up.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::bmm::{Place, Up, command, eventually, free_address, run, said, shout_spec, signal, stderr_lines};
use crate::http::request;
use crate::node::part;

const SOON: Duration = Duration::from_secs(30);

/// A proxy of the test's own that runs, with its configuration below `etc`.
struct Proxy {
    kind: &'static str,
    child: Child,
    /// A program that speaks to this proxy and to no other.
    executable: PathBuf,
    etc: PathBuf,
}

impl Proxy {
    fn nginx(place: &Place) -> Self {
        let (etc, root) = (place.path("etc"), place.path("").display().to_string());
        fs::create_dir_all(etc.join("nginx/conf.d")).expect("a folder");
        let user = if rustix::process::geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {root}/{kind};"))
            .concat();
        let first = free_address();
        let text = format!(
            "{user} pid {root}/pid; error_log {root}/error.log; worker_processes 1; daemon off; events {{}}\n\
             http {{ {temporary} server {{ listen {first}; return 204; }} include {}/nginx/conf.d/*.conf; }}\n",
            etc.display()
        );
        fs::write(etc.join("nginx/nginx.conf"), text).expect("writes");
        let program = part("BMM_TEST_NGINX");
        let script = format!("exec '{}' -e '{root}/error.log' \"$@\"\n", program.display());
        let executable = executable(place, &script);
        let mut command = Command::new(&executable);
        command.arg("-c").arg(etc.join("nginx/nginx.conf"));
        Self::started("nginx", command, executable, etc, first)
    }

    fn caddy(place: &Place) -> Self {
        let etc = place.path("etc");
        fs::create_dir_all(etc.join("caddy")).expect("a folder");
        let (first, admin) = (free_address(), place.path("admin.sock"));
        let text = format!(
            "{{\n\tadmin unix/{}\n\tauto_https off\n}}\n\nhttp://{first} {{\n\trespond 204\n}}\n",
            admin.display()
        );
        let config = etc.join("caddy/Caddyfile");
        fs::write(&config, text).expect("writes");
        let (home, program) = (place.path("home"), part("BMM_TEST_CADDY"));
        let script = format!("HOME='{}' exec '{}' \"$@\"\n", home.display(), program.display());
        let executable = executable(place, &script);
        let mut command = Command::new(&executable);
        command
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(config);
        Self::started("caddy", command, executable, etc, first)
    }

    fn started(
        kind: &'static str,
        mut command: Command,
        executable: PathBuf,
        etc: PathBuf,
        first: SocketAddr,
    ) -> Self {
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let proxy = Self {
            kind,
            child,
            executable,
            etc,
        };
        eventually(SOON, || TcpStream::connect(first).ok()).expect("it listens");
        proxy
    }

    fn install(&self, at: SocketAddr, bmm: SocketAddr, more: &[&str]) -> Output {
        let (at, bmm) = (at.to_string(), bmm.to_string());
        let mut args = vec![
            "pathmap", "install", self.kind, "--domain", &at, "--listen", &at, "--bmm", &bmm,
        ];
        let place = self.place();
        args.extend(place.iter().map(String::as_str));
        args.extend(more);
        run(&args)
    }

    /// Flags that name this proxy.
    fn place(&self) -> [String; 4] {
        [
            "--prefix",
            self.etc.to_str().expect("UTF-8"),
            "--executable",
            self.executable.to_str().expect("UTF-8"),
        ]
        .map(str::to_owned)
    }

    fn watch(&self, dir: &str, more: &[&str]) -> Ended {
        let mut args = vec!["pathmap", "watch", dir];
        let place = self.place();
        args.extend(place.iter().map(String::as_str));
        args.extend(more);
        Ended(command(&args).spawn().expect("bmm starts"))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        signal(self.child.id(), "TERM");
        let _ = self.child.wait();
    }
}

/// A process that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn executable(place: &Place, script: &str) -> PathBuf {
    let path = place.path("proxy.sh");
    fs::write(&path, format!("#!/bin/sh\n{script}")).expect("writes");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("sets");
    path
}

fn text(place: &Place, name: &str) -> String {
    place.path(name).to_str().expect("UTF-8").to_owned()
}

/// From the commands in the documentation to a call that goes through the proxy, past bmm's own port where the form can.
fn serves(place: &Place, proxy: &Proxy, form: &str, more: &[&str]) {
    let (at, bmm) = (free_address(), free_address());
    let (fragments, run_dir) = (text(place, "fragments"), text(place, "run"));
    fs::create_dir(&fragments).expect("a folder");
    assert!(said(&proxy.install(at, bmm, more)).contains("in use"));
    assert!(said(&proxy.install(at, bmm, more)).contains("already"));

    let shout = place.spec("shout.json", &shout_spec("shout"));
    let (listen, url, map, data) = (
        bmm.to_string(),
        format!("http://{at}"),
        format!("{form}:{fragments}"),
        place.data(),
    );
    let args = [
        "up",
        "--json",
        "--listen",
        &listen,
        "--public-url",
        &url,
        "--path-map",
        &map,
        "--run-dir",
        &run_dir,
        "--data-dir",
        &data,
        &shout,
    ];
    let up = Up::start(&args);
    let sockets = format!("{run_dir}/public");
    let port = bmm.port().to_string();
    let only = if form == "nginx-if" {
        ["--port", &port]
    } else {
        ["--sockets", &sockets]
    };
    let _watching = proxy.watch(&fragments, &["--form", form, only[0], only[1]]);

    let metadata = "/.well-known/oauth-protected-resource/shout/mcp";
    // Again and again: for a moment, workers of before the reload may still take connections.
    let ready = eventually(SOON, || {
        let answers = (0..20).map(|_| request(at, "GET", metadata, &[], ""));
        let answers: Option<Vec<_>> = answers
            .map(|answer| (answer.status == 200).then_some(answer))
            .collect();
        answers?.pop()
    });
    let metadata = ready.expect("the proxy leads to the server").json();
    assert_eq!(metadata["resource"], format!("http://{at}/shout/mcp"));
    let input = json!({ "text": "quiet" });
    let output = up.call(
        &place.path("credentials"),
        "shout",
        "shout",
        &input,
        Some(up.sign_in_url()),
    );
    assert_eq!(said(&output), "QUIET");
    assert_eq!(request(at, "GET", "/nobody/mcp", &[], "").status, 404);
    assert_eq!(request(at, "GET", "/health", &[], "").status, 200);
    assert_eq!(request(at, "POST", "/shout/mcp", &[], "").status, 401);

    // A restart is not seen by the proxy: it goes on to know the server, and finds it again.
    let fragment = |name: &str| fs::metadata(place.path("fragments").join(name)).map(|file| file.ino());
    let name = match form {
        "nginx-if" => "shout.conf",
        "caddy" => "bmm.caddy",
        _ => "bmm.map",
    };
    let before = fragment(name).expect("there");
    up.stop();
    assert_eq!(fragment(name).expect("still there"), before);
    let up = Up::start(&args);
    let output = up.call(&place.path("credentials"), "shout", "shout", &input, None);
    assert_eq!(said(&output), "QUIET");
    assert_eq!(fragment(name).expect("still there"), before);
}

#[test]
#[ignore = "needs nginx: cargo xtask test"]
fn a_client_finds_its_way_through_nginx_past_our_own_port() {
    let place = Place::new();
    serves(&place, &Proxy::nginx(&place), "nginx-map", &[]);
}

#[test]
#[ignore = "needs nginx: cargo xtask test"]
fn a_client_finds_its_way_through_nginx_with_snippets() {
    let place = Place::new();
    serves(&place, &Proxy::nginx(&place), "nginx-if", &["--if"]);
}

#[test]
#[ignore = "needs Caddy: cargo xtask test"]
fn a_client_finds_its_way_through_caddy_past_our_own_port() {
    let place = Place::new();
    serves(&place, &Proxy::caddy(&place), "caddy", &["--plain-http"]);
}

#[test]
#[ignore = "needs nginx: cargo xtask test"]
fn looking_once_tells_what_does_not_count() {
    let place = Place::new();
    let proxy = Proxy::nginx(&place);
    let fragments = text(&place, "fragments");
    fs::create_dir(&fragments).expect("a folder");
    let place_args = proxy.place();
    let mut args = vec![
        "pathmap",
        "watch",
        fragments.as_str(),
        "--once",
        "--sockets",
        "/run/bmm/public",
    ];
    args.extend(place_args.iter().map(String::as_str));
    let not_installed = run(&args);
    assert!(stderr_lines(&not_installed)[0].contains("bmm pathmap install"));
    said(&proxy.install(free_address(), free_address(), &[]));
    let silent = run(&args);
    assert_eq!(silent.status.code(), Some(1));
    assert!(stderr_lines(&silent)[0].contains("nothing was written there yet"));
    let map = "good unix:/run/bmm/public/good.sock;\nevil unix:/var/run/docker.sock;\nworse x; return 200;\n";
    fs::write(place.path("fragments/bmm.map"), map).expect("writes");
    let looked = run(&args);
    assert_eq!(looked.status.code(), Some(1));
    assert_eq!(stderr_lines(&looked).len(), 2, "{looked:?}");
    let routes = fs::read_to_string(place.path("etc/nginx/bmm/routes.map")).expect("there");
    assert!(
        routes.contains("good") && !routes.contains("docker") && !routes.contains("200"),
        "{routes}"
    );
}

#[test]
fn a_virtual_host_is_printed_for_whoever_keeps_configuration_elsewhere() {
    for (proxy, listens) in [
        ("nginx", "listen 0.0.0.0:443 ssl http2;"),
        ("caddy", "\ttls /etc/c.pem /etc/k.pem"),
    ] {
        let output = run(&[
            "pathmap",
            "install",
            proxy,
            "--domain",
            "mcp.example.com",
            "--cert",
            "/etc/c.pem",
            "--key",
            "/etc/k.pem",
            "--trusted",
            "10.0.0.0/8",
            "--print",
        ]);
        let text = said(&output);
        for expected in [listens, "mcp.example.com", "10.0.0.0/8", "dashboard", "oauth"] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }
}

#[test]
fn what_cannot_stand_in_a_configuration_is_refused() {
    for (more, about) in [
        (["--domain", "a.example; return 200"], "a domain is a host name"),
        (["--domain", "a.example\nb.example"], "a domain is a host name"),
        (["--trusted", "0.0.0.0/0"], "not all there are"),
        (["--access-log", "/var/log/a b"], "the path has the character ' '"),
        (["--access-log", "log"], "must be absolute"),
    ] {
        let mut args = vec!["pathmap", "install", "nginx", "--print"];
        if more[0] != "--domain" {
            args.extend(["--domain", "mcp.example.com"]);
        }
        args.extend(more);
        let output = run(&args);
        assert_eq!(output.status.code(), Some(64), "{more:?}");
        assert!(
            stderr_lines(&output).join("\n").contains(about),
            "{more:?}: {output:?}"
        );
    }
    let place = Place::new();
    let odd = text(&place, "o d$d");
    let output = run(&[
        "pathmap",
        "install",
        "nginx",
        "--domain",
        "a.example",
        "--prefix",
        &odd,
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!place.path("o d$d").exists());
}

#[test]
fn a_path_map_that_could_not_work_is_refused_at_the_start() {
    let place = Place::new();
    let (data, missing, there) = (place.data(), text(&place, "missing"), text(&place, "there"));
    fs::create_dir(&there).expect("a folder");
    let deep = text(&place, &"x".repeat(90));
    let refused = |listen: &str, more: &[&str]| {
        let mut args = vec!["up", "--json", "--listen", listen, "--data-dir", &data];
        args.extend(more);
        let output = run(&args);
        assert!(output.stdout.is_empty() && !output.status.success(), "{output:?}");
        stderr_lines(&output).join("\n")
    };
    let map = |form: &str, dir: &str| format!("{form}:{dir}");
    for (listen, more, about) in [
        (
            "127.0.0.1:0",
            vec!["--path-map", "nginx:/x"],
            "nginx-map, nginx-if or caddy",
        ),
        (
            "127.0.0.1:0",
            vec!["--path-map", "nginx-map"],
            "a form and a directory",
        ),
        (
            "127.0.0.1:0",
            vec!["--path-map", &map("nginx-map", &missing)],
            "not a directory that can be written to",
        ),
        (
            "127.0.0.2:0",
            vec!["--path-map", &map("nginx-if", &there)],
            "127.0.0.1",
        ),
        (
            "127.0.0.1:0",
            vec!["--path-map", &map("caddy", &there), "--run-dir", &deep],
            "longer than 107 bytes",
        ),
        (
            "127.0.0.1:0",
            vec!["--path-map", &map("caddy", &there), "--socket-group", "0"],
            "--run-dir",
        ),
        (
            "127.0.0.1:0",
            vec![
                "--path-map",
                &map("caddy", &there),
                "--run-dir",
                &there,
                "--socket-group",
                "nobody-has-this",
            ],
            "there is no such group",
        ),
    ] {
        let said = refused(listen, &more);
        assert!(said.contains(about), "{more:?}: {said}");
    }
}
