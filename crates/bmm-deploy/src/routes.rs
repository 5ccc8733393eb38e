//! Which slug leads where: a table that is read on every request and replaced as a whole.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::site::is_slug;
use crate::upstream::{Unanswered, Upstream};

/// The routes of one site. Cheap to clone; all clones are one table.
#[derive(Clone, Default)]
pub struct Routes {
    table: Arc<ArcSwap<HashMap<String, Arc<Upstream>>>>,
    /// Counts how often a slug came or went.
    slugs: Arc<watch::Sender<u64>>,
}

impl Routes {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Leads `slug` to `upstream` from the next request on; what is under way goes on where it is. Returns where the slug
    /// led before.
    pub fn set(&self, slug: &str, upstream: Arc<Upstream>) -> Result<Option<Arc<Upstream>>, InvalidSlug> {
        if !is_slug(slug) {
            return Err(InvalidSlug);
        }
        let before = self.table.rcu(|table| {
            let mut table = HashMap::clone(table);
            table.insert(slug.to_owned(), Arc::clone(&upstream));
            table
        });
        fence(Ordering::SeqCst);
        let before = before.get(slug).cloned();
        if before.is_none() {
            self.slugs.send_modify(|count| *count += 1);
        }
        Ok(before)
    }

    /// Takes `slug` out of the table. Returns where it led.
    pub fn remove(&self, slug: &str) -> Option<Arc<Upstream>> {
        let before = self.table.rcu(|table| {
            let mut table = HashMap::clone(table);
            table.remove(slug);
            table
        });
        fence(Ordering::SeqCst);
        let before = before.get(slug).cloned();
        if before.is_some() {
            self.slugs.send_modify(|count| *count += 1);
        }
        before
    }

    /// Tells when a slug comes or goes. One that leads elsewhere does neither.
    pub(crate) fn slugs_changed(&self) -> watch::Receiver<u64> {
        self.slugs.subscribe()
    }

    /// Where `slug` leads.
    pub fn get(&self, slug: &str) -> Option<Arc<Upstream>> {
        self.table.load().get(slug).cloned()
    }

    /// All slugs and the sockets they lead to, in order.
    pub fn list(&self) -> Vec<(String, PathBuf)> {
        let mut routes: Vec<_> = self
            .table
            .load()
            .iter()
            .map(|(slug, upstream)| (slug.clone(), upstream.socket().to_owned()))
            .collect();
        routes.sort();
        routes
    }

    /// Where `slug` leads, with the request counted in there. Whoever moves the route and then sees no unanswered request
    /// can be sure that none will follow: the count is raised before the route is read for the last time.
    pub(crate) fn enter(&self, slug: &str) -> Option<(Arc<Upstream>, Unanswered)> {
        let mut upstream = self.get(slug)?;
        loop {
            let unanswered = upstream.enter();
            fence(Ordering::SeqCst);
            let now = self.get(slug)?;
            if Arc::ptr_eq(&now, &upstream) {
                return Some((upstream, unanswered));
            }
            upstream = now;
        }
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.list()).finish()
    }
}

/// The text is not `^[a-z][a-z0-9-]*$` or longer than 40 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a slug is lower-case letters, digits and hyphens, starts with a letter and has at most 40 characters"
)]
pub struct InvalidSlug;
