//! The small program, as an operator starts it: a spec, secrets on a descriptor, tokens of an issuer, SIGTERM.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStderr, Command, Stdio};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bmm_oauth::{Clock as _, SystemClock};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::support::*;

pub(crate) fn cases() -> Vec<Trial> {
    vec![
        case("the_program_serves_whom_the_issuer_sent_and_drains", serves),
        case("the_program_takes_secrets_from_a_descriptor_alone", secrets),
        case("the_program_refuses_what_it_cannot_guard", refuses),
    ]
}

/// `wait` tells when it has begun, and takes long enough for a signal to come in between.
const TOOLS: &str = r#"[
    {"name": "echo", "description": "Gives back what it gets.", "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}},
     "implementation": "export default async (input) => input.text"},
    {"name": "wait", "description": "Waits a moment.", "inputSchema": {"type": "object"},
     "implementation": "export default async (input, ctx) => { ctx.progress(1); await new Promise((done) => setTimeout(done, 1500)); return 'waited'; }"},
    {"name": "key", "description": "Tells whether there is a key.", "inputSchema": {"type": "object"},
     "implementation": "export default async (input, ctx) => ctx.basicAuth('ann', ctx.secrets.API_KEY).length > 0 ? 'there is one' : 'none'"}
]"#;

fn spec_file(folder: &tempfile::TempDir) -> std::path::PathBuf {
    let tools: Value = serde_json::from_str(TOOLS).unwrap();
    let file = json!({
        "bmm": 1, "slug": "demo-server", "name": "Demo", "description": "A server for tests.", "tools": tools,
        "allowedDomains": ["api.example.com"],
        "requiredSecrets": [{"name": "API_KEY", "description": "A key.", "howToGetUrl": "https://api.example.com/keys",
                             "domains": ["api.example.com"]}],
    });
    let path = folder.path().join("spec.json");
    std::fs::write(&path, file.to_string()).unwrap();
    path
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bmm-runner"));
    command.env_clear();
    command
}

/// An issuer of tokens, with a key of its own.
struct IssuerOfTokens(EcdsaKeyPair);

impl IssuerOfTokens {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn jwks(&self) -> String {
        let point = self.0.public_key().as_ref();
        json!({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..])}]})
        .to_string()
    }

    fn token(&self, audience: &str) -> String {
        let now = SystemClock.now().as_secs();
        let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": "k"});
        let claims = json!({
            "iss": ISSUER, "aud": audience, "sub": "ann", "client_id": "client", "jti": "1", "grant_id": "grant",
            "scope": "mcp:read", "iat": now, "nbf": now, "exp": now + 600,
        });
        let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = signed.join(".");
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Answers with the keys at an address that has nothing to do with the issuer's name.
    async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let keys = self.jwks();
        let app = axum::Router::new().route("/keys", axum::routing::get(|| async move { keys }));
        tokio::spawn(async move { axum::serve(listener, app).await });
        url
    }
}

/// A running program that listens; killed when dropped.
struct Serving {
    child: Child,
    _stderr: BufReader<ChildStderr>,
    address: String,
}

impl Serving {
    fn start(spec: &std::path::Path, jwks: &str) -> Self {
        let mut child = program()
            .arg(spec)
            .args(["--listen", "127.0.0.1:0", "--public-url", PUBLIC_URL])
            .args(["--issuer", ISSUER, "--jwks", jwks])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended");
            if let Some((_, address)) = line.trim_end().split_once(" is served on ") {
                break address.to_owned();
            }
        };
        Self {
            child,
            _stderr: stderr,
            address,
        }
    }

    /// Sends a request; its status and its body, which may be under way.
    async fn send(address: String, request: http::request::Builder) -> (u16, hyper::body::Incoming) {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let mut request = request.body(Full::<Bytes>::default()).unwrap();
        if let Some(body) = request.extensions_mut().remove::<Value>() {
            *request.body_mut() = Full::from(body.to_string());
        }
        let response = sender.send_request(request).await.unwrap();
        (response.status().as_u16(), response.into_body())
    }

    async fn ask(address: String, request: http::request::Builder) -> (u16, String) {
        let (status, body) = Self::send(address, request).await;
        let body = body.collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn serves() {
    let folder = tempfile::tempdir().unwrap();
    let issuer = IssuerOfTokens::new();
    let jwks = issuer.serve().await;
    let spec = spec_file(&folder);
    let mut serving = tokio::task::spawn_blocking(move || Serving::start(&spec, &jwks))
        .await
        .unwrap();
    let ask = |request| Serving::ask(serving.address.clone(), request);

    let (status, metadata) =
        ask(http::Request::get("/.well-known/oauth-protected-resource").header("host", HOST)).await;
    assert_eq!(status, 200);
    assert_eq!(
        serde_json::from_str::<Value>(&metadata).unwrap()["resource"],
        PUBLIC_URL
    );

    let mine = issuer.token(PUBLIC_URL);
    let call = |token: &str, text: &str| {
        modern(
            token,
            "tools/call",
            json!({"name": "echo", "arguments": {"text": text}}),
        )
    };
    let (status, answer) = ask(call(&mine, "hello there")).await;
    assert_eq!((status, answer.contains("hello there")), (200, true), "{answer}");
    let for_another = issuer.token("https://mcp.example.com/other/mcp");
    let forged = IssuerOfTokens::new().token(PUBLIC_URL);
    for refused in [for_another.as_str(), forged.as_str(), "nonsense"] {
        assert_eq!(ask(call(refused, "x")).await.0, 401);
    }

    // SIGTERM: what is in flight ends, nothing new is taken, the exit is clean.
    let mut slow = modern(&mine, "tools/call", json!({"name": "wait"}));
    let body = slow.extensions_mut().unwrap().get_mut::<Value>().unwrap();
    body["params"]["_meta"]["progressToken"] = json!("p");
    let (_, mut slow) = Serving::send(serving.address.clone(), slow).await;
    let begun = slow.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(String::from_utf8_lossy(&begun).contains("notifications/progress"));
    let pid = i32::try_from(serving.child.id()).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    let answer = slow.collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&answer).contains("waited"), "{answer:?}");
    let status = tokio::task::spawn_blocking(move || serving.child.wait().map(|status| (status, serving)))
        .await
        .unwrap()
        .unwrap();
    assert!(status.0.success(), "{}", status.0);
}

/// Calls a tool over standard input and output, with `secrets` in a pipe that is the program's descriptor 3; what came back.
fn call_with_secrets(secrets: &str) -> (Vec<String>, String, bool) {
    let folder = tempfile::tempdir().unwrap();
    // The shell is what an operator uses to open a descriptor for a program.
    let mut child = Command::new("/bin/sh")
        .args([
            "-c",
            "exec 4<&0; printf %s \"$SECRETS\" | { exec 3<&0 <&4 4<&-; unset SECRETS; exec \"$@\"; }",
            "sh",
        ])
        .arg(env!("CARGO_BIN_EXE_bmm-runner"))
        .arg(spec_file(&folder))
        .args(["--secrets-fd", "3"])
        .env("SECRETS", secrets)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let call = request(2, "tools/call", json!({"name": "key", "arguments": {}}));
    for message in [initialize(), initialized, call] {
        // It may have ended before it read all.
        let _ = writeln!(stdin, "{message}");
    }
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let lines: Vec<String> = answers.by_ref().take(2).map_while(Result::ok).collect();
    drop(stdin);
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    (lines, stderr, child.wait().unwrap().success())
}

async fn secrets() {
    let set = r#"{"API_KEY": "s3cret-value"}"#;
    let (lines, stderr, _) = tokio::task::spawn_blocking(move || call_with_secrets(set))
        .await
        .unwrap();
    assert!(
        lines.iter().any(|line| line.contains("there is one")),
        "{lines:?} {stderr}"
    );
    assert!(!stderr.contains("is not set"), "{stderr}");

    for (wrong, says) in [
        (r#"{"API_KEY": s3cret-value"#, "does not hold a JSON object"),
        (r#"{"API_KEY": ["s3cret-value"]}"#, "does not hold a JSON object"),
        (r#"{"OTHER": "s3cret-value"}"#, "none of the secrets"),
    ] {
        let (lines, stderr, success) = tokio::task::spawn_blocking(move || call_with_secrets(wrong))
            .await
            .unwrap();
        assert_eq!((lines.len(), success), (0, false), "{wrong}");
        assert!(stderr.contains(says) && !stderr.contains("s3cret"), "{stderr}");
    }
}

async fn refuses() {
    let folder = tempfile::tempdir().unwrap();
    let spec = spec_file(&folder);
    let run = |more: &[&str]| {
        let output = program().arg(&spec).args(more).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, says) = run(&["--listen", "127.0.0.1:0"]);
    assert_eq!(code, Some(2));
    assert!(says.contains("belong together"), "{says}");
    let http = [
        "--listen",
        "127.0.0.1:0",
        "--public-url",
        PUBLIC_URL,
        "--issuer",
        ISSUER,
        "--jwks",
    ];
    let (code, says) = run(&[&http[..], &["http://keys.example.com/"]].concat());
    assert_eq!(code, Some(2));
    assert!(says.contains("neither https nor on this machine"), "{says}");
    let (code, says) = run(&["--secrets-fd", "77"]);
    assert_eq!(code, Some(1));
    assert!(says.contains("cannot read file descriptor 77"), "{says}");
}
