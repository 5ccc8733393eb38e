//! Which resources a client wants to hear of.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::live::Shared;

/// Resources that one client may subscribe to.
pub(crate) const MAX_WATCHED: usize = 256;
const MAX_URI_BYTES: usize = 2048;

/// The addresses of one session, or of one subscription.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched(Arc<Mutex<BTreeSet<String>>>);

impl Watched {
    /// `false` when there is no room.
    pub(crate) fn add(&self, uri: String) -> bool {
        let mut uris = self.lock();
        let fits = uri.len() <= MAX_URI_BYTES && (uris.len() < MAX_WATCHED || uris.contains(&uri));
        if fits {
            uris.insert(uri);
        }
        fits
    }

    pub(crate) fn remove(&self, uri: &str) {
        self.lock().remove(uri);
    }

    /// Those whose resource is not the same in both.
    pub(crate) fn changed(&self, before: &Shared, now: &Shared) -> Vec<String> {
        let uris = self.lock();
        uris.iter()
            .filter(|uri| before.documents.differ(&now.documents, uri))
            .cloned()
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
