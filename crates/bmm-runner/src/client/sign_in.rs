//! The two ways to sign in, and the loopback listener to which both lead (RFC 8252 section 7.3).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::error::ClientError;
use super::script;

/// How long a person may take.
const PATIENCE: Duration = Duration::from_secs(300);
const MAX_REQUEST_HEAD: usize = 16 * 1024;
const READ_TIMEOUT: Duration = Duration::from_secs(10);
const PATH: &str = "/callback";
const PAGE: &str =
    "<!doctype html><meta charset=utf-8><title>bmm</title><p>Signed in. You can close this page.";

type Show = dyn Fn(&str) + Send + Sync;

/// Who signs in, and how.
#[derive(Clone)]
pub struct SignIn(Method);

#[derive(Clone)]
enum Method {
    Person(Arc<Show>),
    Script(String),
    Nobody,
}

impl SignIn {
    /// A person with a browser: `show` gets the link to open, and the answer is awaited for five minutes.
    pub fn person(show: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Method::Person(Arc::new(show)))
    }

    /// A script: opens a single-use sign-in link, then the authorization page, and consents. It speaks to the origin of
    /// the link and to no other.
    pub fn script(sign_in_url: impl Into<String>) -> Self {
        Self(Method::Script(sign_in_url.into()))
    }

    /// Nobody: only stored credentials are used.
    pub fn nobody() -> Self {
        Self(Method::Nobody)
    }

    /// From the authorization URL to the URL that the authorization server answers with.
    pub(super) async fn carry_out(
        &self,
        authorize_url: &str,
        callback: Callback,
    ) -> Result<String, ClientError> {
        match &self.0 {
            Method::Person(show) => {
                show(authorize_url);
                callback.answer().await
            }
            Method::Script(sign_in_url) => {
                script::sign_in(sign_in_url, authorize_url, &callback.redirect_uri()).await
            }
            Method::Nobody => Err(ClientError::sign_in(
                "the server asks for a sign-in, and there is nobody to sign in",
            )),
        }
    }
}

impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A sign-in link is a credential.
        f.write_str(match self.0 {
            Method::Person(_) => "SignIn::person",
            Method::Script(_) => "SignIn::script",
            Method::Nobody => "SignIn::nobody",
        })
    }
}

/// Waits on a loopback port for the redirect.
pub(super) struct Callback {
    listener: TcpListener,
    port: u16,
}

impl Callback {
    pub(super) async fn listen() -> Result<Self, ClientError> {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .map_err(ClientError::sign_in)?;
        let port = listener.local_addr().map_err(ClientError::sign_in)?.port();
        Ok(Self { listener, port })
    }

    pub(super) fn redirect_uri(&self) -> String {
        format!("http://127.0.0.1:{}{PATH}", self.port)
    }

    async fn answer(self) -> Result<String, ClientError> {
        let answer = async {
            loop {
                let Ok((stream, _)) = self.listener.accept().await else {
                    continue;
                };
                // A browser also asks for a favicon, and may open connections that it does not use.
                let target = tokio::time::timeout(READ_TIMEOUT, request_target(stream)).await;
                if let Ok(Some(target)) = target {
                    return format!("http://127.0.0.1:{}{target}", self.port);
                }
            }
        };
        tokio::time::timeout(PATIENCE, answer)
            .await
            .map_err(|_| ClientError::sign_in("nobody signed in within five minutes"))
    }
}

/// The target of a request for the callback; anything else is answered 404.
async fn request_target(mut stream: TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > MAX_REQUEST_HEAD {
            return None;
        }
        let read = stream.read_buf(&mut head).await.ok()?;
        if read == 0 {
            return None;
        }
    }
    let head = String::from_utf8_lossy(&head);
    let target = head.strip_prefix("GET ").and_then(|rest| rest.split(' ').next());
    let target = target.filter(|target| {
        target
            .strip_prefix(PATH)
            .is_some_and(|rest| rest.starts_with('?'))
    });
    let (status, page) = if target.is_some() {
        ("200 OK", PAGE)
    } else {
        ("404 Not Found", "")
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n{page}",
        page.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
    target.map(str::to_owned)
}
