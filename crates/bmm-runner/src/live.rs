//! A spec that may be replaced while it is served: the loop of an author who edits a file. Whoever listens is told that the lists
//! have changed.

use std::sync::Arc;
use std::time::Duration;

use bmm_spec::CompiledSpec;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::documents::Documents;
use crate::engine::ToolEngine;
use crate::host::Broker;
use crate::manifest::Manifest;
use crate::request_state::RequestStates;

/// What all sessions of a server share.
pub(crate) struct Shared {
    pub(crate) spec: CompiledSpec,
    pub(crate) manifest: Manifest,
    pub(crate) documents: Documents,
    pub(crate) engine: Arc<dyn ToolEngine>,
    pub(crate) broker: Broker,
    /// What clients of the stateless era carry between their requests.
    pub(crate) states: RequestStates,
    /// How long a call may wait for answers of its client, all questions together.
    pub(crate) patience: Duration,
    /// Whether a tool with scopes needs an [`AuthInfo`](bmm_oauth::AuthInfo) that has them.
    pub(crate) enforce_scopes: bool,
}

/// What is served now, and how to hear of another.
#[derive(Clone)]
pub(crate) struct Live {
    now: watch::Receiver<Arc<Shared>>,
    replaceable: bool,
    ending: CancellationToken,
}

impl Live {
    /// What is served from first to last.
    pub(crate) fn fixed(shared: Shared) -> Self {
        let (_, now) = watch::channel(Arc::new(shared));
        Self {
            now,
            replaceable: false,
            ending: CancellationToken::new(),
        }
    }

    pub(crate) fn replaceable(shared: Shared) -> (Self, watch::Sender<Arc<Shared>>) {
        let (sender, now) = watch::channel(Arc::new(shared));
        let live = Self {
            now,
            replaceable: true,
            ending: CancellationToken::new(),
        };
        (live, sender)
    }

    pub(crate) fn now(&self) -> Arc<Shared> {
        self.now.borrow().clone()
    }

    pub(crate) fn is_replaceable(&self) -> bool {
        self.replaceable
    }

    /// Cancelled when who only listens is to be let go.
    pub(crate) fn ending(&self) -> CancellationToken {
        self.ending.clone()
    }

    /// Resolves when something else is served than when this was last asked; never if nothing ever will be.
    pub(crate) async fn changed(&mut self) {
        if self.now.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
