//! Changing the signing keys while the server runs, here and at all replicas.

use bmm_vault::Vault;

use super::authorization_server::{AuthorizationServer, CLOCK_SKEW};
use super::key_error::KeyError;
use super::keys::Schedule;
use crate::algorithm::Algorithm;
use crate::events::{Event, EventKind, Outcome};

impl AuthorizationServer {
    /// Makes a new signing key and keeps it in the store, sealed with `vault`. It is published at once, and signs after
    /// [`key_propagation`](super::AsConfig::key_propagation); the key before it stays published until its last token has ended. If a key of
    /// this algorithm is on its way already, be it another replica's, there is nothing to do.
    ///
    /// Other replicas learn of it by [`refresh_keys`](Self::refresh_keys).
    pub async fn rotate_keys(&self, vault: &Vault, algorithm: Algorithm) -> Result<(), KeyError> {
        let schedule = Schedule {
            now: self.clock.now(),
            propagation: self.config.key_propagation,
            overlap: self.config.access_token_ttl.saturating_add(CLOCK_SKEW),
        };
        if self.keys.rotate(vault, &*self.store, algorithm, schedule).await? {
            self.events
                .record(Event::new(EventKind::KeysRotated, Outcome::Allowed, schedule.now));
        }
        Ok(())
    }

    /// Takes over the signing keys that another replica made. Call it every minute, or at least several times within
    /// [`key_propagation`](super::AsConfig::key_propagation): a replica that does not know a key can neither publish it nor verify its tokens.
    pub async fn refresh_keys(&self, vault: &Vault) -> Result<(), KeyError> {
        self.keys.refresh(vault, &*self.store).await
    }
}
