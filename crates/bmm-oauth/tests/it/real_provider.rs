//! The example `sign_in_with_oidc` against a real OpenID provider, `oidc-provider` on Node.js, over loopback sockets.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use bmm_net::{Dialer, FetchLimits, Fetcher, Transport};
use bmm_oauth::{BoxError, Oidc, SendUpstream};
use http::{Request, header};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::ServiceExt;

use crate::app::*;
use crate::upstream_app::{subject_of, vault};

#[path = "../../../../examples/sign_in_with_oidc.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "an example is a program of its own"
)]
mod sign_in_with_oidc;

const CALLBACK: &str = "https://auth.example/oauth/callback/corp";

#[tokio::test]
#[ignore = "needs Node 22: cargo xtask test"]
async fn the_example_signs_users_in_at_a_real_provider() {
    let provider = RealProvider::start();
    let issuer = format!("http://localhost:{}", provider.port);
    let oidc = Oidc::new("corp", issuer.parse().unwrap(), "bmm", "a secret of the test")
        .with_scopes(["profile", "offline_access"])
        .with_prompt("consent")
        .insecure_with_http(loopback());
    let app = Example(sign_in_with_oidc::app(ORIGIN, oidc, vault()).unwrap());

    let metadata = serde_json::json!({ "redirect_uris": [REDIRECT], "client_name": "Test client" });
    let register = Request::post("/oauth/register").header(header::CONTENT_TYPE, "application/json");
    let reply = app
        .send(register.body(Body::from(metadata.to_string())).unwrap())
        .await;
    let client = Registered {
        id: reply.json()["client_id"].as_str().unwrap().to_owned(),
        secret: None,
    };

    let page = app.send(authorize_request(&client, &[])).await;
    assert_eq!(page.status, 200, "{}", page.body);
    let consent_cookie = page.header("set-cookie").split(';').next().unwrap().to_owned();
    let (_, handle) = page.body.split_once("name=\"handle\" value=\"").unwrap();
    let form = encode(&[
        ("handle", handle.split('"').next().unwrap()),
        ("decision", "allow:corp"),
    ]);
    let request = Request::post("/oauth/consent")
        .header(header::ORIGIN, ORIGIN)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::COOKIE, consent_cookie);
    let reply = app.send(request.body(Body::from(form)).unwrap()).await;
    assert_eq!(reply.status, 303, "{}", reply.body);
    let sign_in_cookie = reply.header("set-cookie").split(';').next().unwrap().to_owned();

    let back = provider.sign_in(reply.header("location"), "ada").await;
    let back = back.strip_prefix(ORIGIN).unwrap();
    let request = Request::get(back).header(header::COOKIE, sign_in_cookie);
    let reply = app.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(reply.status, 303, "{}", reply.body);
    let code = reply
        .location_parameter("code")
        .unwrap_or_else(|| panic!("{}", reply.header("location")));
    let reply = app.send(token_request(&code_form(&client, &code))).await;
    let (access, _) = reply.tokens();
    assert_eq!(subject_of(&access), format!("{issuer}#ada"));
    let request = Request::post("/files/mcp").header(header::AUTHORIZATION, format!("Bearer {access}"));
    let reply = app.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(
        (reply.status.as_u16(), reply.body),
        (200, format!("{issuer}#ada has a token"))
    );
}

struct Example(Router);

impl Example {
    async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.0.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Reply {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }
}

/// The client that upstreams are asked through, let loose on this machine.
fn loopback() -> SendUpstream {
    let dialer = Dialer::insecure_with(
        |_, port| Box::pin(async move { Ok(vec![([127, 0, 0, 1], port).into()]) }),
        |_| None,
    );
    let fetcher = Fetcher::insecure_with(dialer, Transport::PlainLoopback).unwrap();
    Arc::new(move |request| {
        let fetcher = fetcher.clone();
        Box::pin(async move {
            let answer = fetcher.fetch(request, FetchLimits::default()).await;
            answer.map_err(BoxError::from)
        })
    })
}

struct RealProvider {
    process: Child,
    port: u16,
    /// It also writes warnings, and ends if it cannot.
    _output: BufReader<ChildStdout>,
    _folder: tempfile::TempDir,
}

impl RealProvider {
    fn start() -> Self {
        let part = |name: &str| {
            std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: run cargo xtask test"))
        };
        // Node.js looks for packages from where a module lies.
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oidc-provider/provider.js");
        let script = folder.path().join("provider.mjs");
        std::fs::copy(source, &script).unwrap();
        std::os::unix::fs::symlink(part("BMM_TEST_NODE_MODULES"), folder.path().join("node_modules"))
            .unwrap();
        let mut process = Command::new(part("BMM_TEST_NODE"))
            .arg(script)
            .args(["bmm", "a secret of the test", CALLBACK])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        Self {
            process,
            port: line.trim().parse().expect("the provider says its port"),
            _output: output,
            _folder: folder,
        }
    }

    /// A browser that signs in on the provider's pages and agrees there: the address at which it leaves the provider.
    async fn sign_in(&self, location: &str, login: &str) -> String {
        let own = format!("http://localhost:{}", self.port);
        let mut cookies = BTreeMap::new();
        let mut location = location.to_owned();
        for _ in 0..12 {
            let Some(path) = location.strip_prefix(&own) else {
                if location.starts_with('/') {
                    location = format!("{own}{location}");
                    continue;
                }
                return location;
            };
            let (next, page) = self.request("GET", path, "", &mut cookies).await;
            location = match next {
                Some(next) => next,
                None => {
                    let (_, prompt) = page
                        .split_once("name=\"prompt\" value=\"")
                        .unwrap_or_else(|| panic!("a form in {page}"));
                    let prompt = prompt.split('"').next().unwrap();
                    let form = encode(&[("prompt", prompt), ("login", login), ("password", "x")]);
                    let (next, page) = self.request("POST", path, &form, &mut cookies).await;
                    next.unwrap_or_else(|| panic!("a redirect, not {page}"))
                }
            };
        }
        panic!("it goes on and on: {location}");
    }

    /// One request; its `Location` and its body.
    async fn request(
        &self,
        method: &str,
        path: &str,
        form: &str,
        cookies: &mut BTreeMap<String, String>,
    ) -> (Option<String>, String) {
        let jar: Vec<String> = cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\nAccept: text/html\r\nCookie: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            self.port,
            jar.join("; "),
            form.len(),
        );
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut location = None;
        for line in head.lines().skip(1) {
            let (name, value) = line.split_once(": ").unwrap();
            match name.to_ascii_lowercase().as_str() {
                "location" => location = Some(value.to_owned()),
                "set-cookie" => {
                    let (pair, _) = value.split_once(';').unwrap();
                    let (name, value) = pair.split_once('=').unwrap();
                    match value {
                        "" => cookies.remove(name),
                        value => cookies.insert(name.to_owned(), value.to_owned()),
                    };
                }
                _ => {}
            }
        }
        (location, body.to_owned())
    }
}

impl Drop for RealProvider {
    fn drop(&mut self) {
        // With its standard input it would end by itself; this is sooner.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
