//! `bmm run FILE`: one spec on this machine, for one person, without sign-in.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::serve::{Listener, ListenerExt as _};
use bmm_oauth::ResourceUri;
use rmcp::ServiceExt as _;

use crate::http::MCP_PATH;
use crate::mcp::McpServer;
use crate::runner::{Reloader, Runner};

/// Serves on standard input and output until the client closes them. Nothing else may write to standard output.
pub async fn stdio(runner: Runner) -> Result<(), RunError> {
    // Whoever starts a process may use it: credentials of a stdio server come from its environment.
    until_closed(runner.insecure_without_scopes().into_mcp()).await
}

/// As [`stdio`]. `reloads` is handed what puts another spec in this one's place; it is dropped when serving ends.
pub async fn stdio_with_reloads<F>(
    runner: Runner,
    reloads: impl FnOnce(Reloader) -> F,
) -> Result<(), RunError>
where
    F: Future<Output = ()> + Send,
{
    let (server, reloader) = runner.insecure_without_scopes().into_reloadable_mcp();
    tokio::select! {
        served = until_closed(server) => served,
        () = forever(reloads(reloader)) => Ok(()),
    }
}

async fn until_closed(server: McpServer) -> Result<(), RunError> {
    let running = server
        .serve(rmcp::transport::io::stdio())
        .await
        .map_err(|error| RunError::Handshake {
            message: error.to_string(),
        })?;
    running.waiting().await.map_err(|error| RunError::Handshake {
        message: error.to_string(),
    })?;
    Ok(())
}

/// Listens on a loopback address, without sign-in.
pub async fn loopback(address: SocketAddr) -> Result<Loopback, RunError> {
    if !address.ip().is_loopback() {
        return Err(RunError::NotLoopback { address });
    }
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(|source| RunError::Listen { address, source })?;
    let address = listener
        .local_addr()
        .map_err(|source| RunError::Listen { address, source })?;
    Ok(Loopback { listener, address })
}

/// Whoever reloads may stop to; serving goes on.
async fn forever(reloads: impl Future<Output = ()>) {
    reloads.await;
    std::future::pending::<()>().await;
}

/// Without Nagle's algorithm, which would hold an answer back until the client has acknowledged the one before: 40 ms.
fn at_once(listener: tokio::net::TcpListener) -> impl Listener<Addr = SocketAddr> {
    listener.tap_io(|stream| {
        // It works without, only later.
        let _ = stream.set_nodelay(true);
    })
}

/// A bound loopback listener.
#[derive(Debug)]
pub struct Loopback {
    listener: tokio::net::TcpListener,
    address: SocketAddr,
}

impl Loopback {
    /// The MCP URL to give to clients.
    pub fn url(&self) -> String {
        format!("http://{}{MCP_PATH}", self.address)
    }

    /// Serves until `stop` resolves, then waits up to `drain` for calls in flight.
    pub async fn serve(
        self,
        runner: Runner,
        stop: impl Future<Output = ()> + Send + 'static,
        drain: Duration,
    ) {
        let service = self.exposed(runner).into_service();
        service.serve(at_once(self.listener), stop, drain).await;
    }

    /// As [`serve`](Self::serve). `reloads` is handed what puts another spec in this one's place; it is dropped when serving ends.
    pub async fn serve_with_reloads<F>(
        self,
        runner: Runner,
        reloads: impl FnOnce(Reloader) -> F,
        stop: impl Future<Output = ()> + Send + 'static,
        drain: Duration,
    ) where
        F: Future<Output = ()> + Send,
    {
        let (service, reloader) = self.exposed(runner).into_reloadable_service();
        tokio::select! {
            _ = service.serve(at_once(self.listener), stop, drain) => {}
            () = forever(reloads(reloader)) => {}
        }
    }

    fn exposed(&self, runner: Runner) -> Runner {
        let runner = runner.insecure_without_scopes();
        match self.url().parse::<ResourceUri>() {
            Ok(url) => runner.with_public_url(&url),
            Err(_) => runner,
        }
    }
}

/// Why a spec could not be run here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Without sign-in, only this machine may reach it.
    #[error(
        "{address} is not a loopback address; without sign-in a server listens on 127.0.0.1 or [::1] only"
    )]
    NotLoopback {
        /// What was asked for.
        address: SocketAddr,
    },
    /// The address is not to be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The client on standard input did not start a session.
    #[error("the client did not start: {message}")]
    Handshake {
        /// What went wrong.
        message: String,
    },
}
