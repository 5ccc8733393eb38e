//! Sessions of the stateful era (2025-11-25 and earlier): bound to who opened them, and counted.
//!
//! rmcp's ids are random, and bound to nobody: whoever has a valid token and somebody else's id would be in that session.
//! Here an id belongs to the principal whose request made it, for everybody else it does not exist.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bmm_oauth::AuthInfo;
use futures_util::Stream;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_server::session::local::{
    LocalSessionManager, LocalSessionManagerError,
};
use rmcp::transport::streamable_http_server::session::{
    RestoreOutcome, ServerSseMessage, SessionId, SessionManager,
};

/// Who a session belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Principal {
    /// Nobody is asked who they are here.
    Anyone,
    Known {
        issuer: String,
        subject: String,
        client: String,
    },
}

impl Principal {
    pub(crate) fn of(auth: Option<&AuthInfo>) -> Self {
        auth.map_or(Self::Anyone, |auth| Self::Known {
            issuer: auth.issuer().as_str().to_owned(),
            subject: auth.subject().as_str().to_owned(),
            client: auth.client_id().to_owned(),
        })
    }
}

tokio::task_local! {
    /// Whose request is being handled: the session manager is not told by rmcp.
    pub(crate) static CALLER: Principal;
}

/// How many sessions may be open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionCaps {
    pub(crate) total: usize,
    pub(crate) per_principal: usize,
}

/// rmcp's sessions with owners.
pub(crate) struct OwnedSessions {
    inner: LocalSessionManager,
    owners: Mutex<Owners>,
    caps: SessionCaps,
}

#[derive(Default)]
struct Owners {
    by_id: HashMap<SessionId, (Principal, u64)>,
    opened: u64,
}

impl OwnedSessions {
    pub(crate) fn new(caps: SessionCaps) -> Arc<Self> {
        Arc::new(Self {
            inner: LocalSessionManager::default(),
            owners: Mutex::default(),
            caps,
        })
    }

    pub(crate) fn belongs_to(&self, id: &str, principal: &Principal) -> bool {
        self.lock()
            .by_id
            .get(id)
            .is_some_and(|(owner, _)| owner == principal)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.lock().by_id.len() >= self.caps.total
    }

    /// Writes the new session down; returns the session that has to go for it: the principal's oldest.
    fn own(&self, id: SessionId, principal: Principal) -> Option<SessionId> {
        let mut owners = self.lock();
        let mine = owners.by_id.iter().filter(|(_, (owner, _))| *owner == principal);
        let (count, oldest) = mine.fold(
            (0usize, None::<(u64, &SessionId)>),
            |(count, oldest), (id, (_, at))| {
                (
                    count + 1,
                    Some(oldest.map_or((*at, id), |oldest| oldest.min((*at, id)))),
                )
            },
        );
        // Whom nobody knows may be many: they have all there are, and nobody's goes for a newer one.
        let bounded = principal != Principal::Anyone;
        let evicted = (bounded && count >= self.caps.per_principal)
            .then(|| oldest.map(|(_, id)| id.clone()))
            .flatten();
        owners.opened += 1;
        let at = owners.opened;
        owners.by_id.insert(id, (principal, at));
        evicted
    }

    fn lock(&self) -> MutexGuard<'_, Owners> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionManager for OwnedSessions {
    type Error = LocalSessionManagerError;
    type Transport = <LocalSessionManager as SessionManager>::Transport;

    async fn create_session(&self) -> Result<(SessionId, Self::Transport), Self::Error> {
        let principal = CALLER.try_with(Clone::clone).unwrap_or(Principal::Anyone);
        let (id, transport) = self.inner.create_session().await?;
        if let Some(evicted) = self.own(id.clone(), principal) {
            self.close_session(&evicted).await?;
        }
        Ok((id, transport))
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, Self::Error> {
        self.inner.initialize_session(id, message).await
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, Self::Error> {
        self.inner.has_session(id).await
    }

    async fn close_session(&self, id: &SessionId) -> Result<(), Self::Error> {
        if let Entry::Occupied(entry) = self.lock().by_id.entry(id.clone()) {
            entry.remove();
        }
        self.inner.close_session(id).await
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        self.inner.create_stream(id, message).await
    }

    async fn accept_message(&self, id: &SessionId, message: ClientJsonRpcMessage) -> Result<(), Self::Error> {
        self.inner.accept_message(id, message).await
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        self.inner.create_standalone_stream(id).await
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        self.inner.resume(id, last_event_id).await
    }

    async fn restore_session(&self, id: SessionId) -> Result<RestoreOutcome<Self::Transport>, Self::Error> {
        self.inner.restore_session(id).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_client_has_few_sessions_and_those_whom_nobody_knows_have_the_others() {
        let sessions = OwnedSessions::new(SessionCaps {
            total: 10,
            per_principal: 2,
        });
        let ann = Principal::Known {
            issuer: "https://as.example.com".to_owned(),
            subject: "ann".to_owned(),
            client: "client".to_owned(),
        };
        let evicted: Vec<_> = (0..4)
            .map(|number| sessions.own(format!("ann-{number}").into(), ann.clone()))
            .collect();
        assert_eq!(evicted[..3], [None, None, Some(SessionId::from("ann-0"))]);
        for number in 0..6 {
            assert_eq!(sessions.own(format!("{number}").into(), Principal::Anyone), None);
        }
        assert!(sessions.is_full());
    }
}
