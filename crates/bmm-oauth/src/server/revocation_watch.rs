//! What all questions for revocations share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::budget::counted;
use super::shared_read::SharedRead;

/// Questions that wait at a time; who finds no place is answered at once.
const MAX_WAITING: usize = 4096;
/// The same for one address: some verifiers behind one gateway.
const MAX_WAITING_PER_ADDRESS: usize = 64;
/// How often the store is asked whether another replica revoked something, however many wait.
pub(super) const POLL: Duration = Duration::from_millis(900);

/// Who waits for news, and what is known of the end of the sequence.
#[derive(Debug)]
pub(super) struct RevocationWatch {
    pub(super) news: Notify,
    pub(super) end_is_read: SharedRead,
    end: Mutex<End>,
    waiting: Mutex<Waiting>,
}

/// The end of the sequence, as it was when it was read.
#[derive(Clone, Debug, Default)]
pub(super) struct End {
    pub(super) epoch: String,
    pub(super) number: u64,
}

#[derive(Debug, Default)]
struct Waiting {
    total: usize,
    each: HashMap<IpAddr, usize>,
}

/// A question's leave to wait.
pub(super) struct Place<'a> {
    watch: &'a RevocationWatch,
    address: Option<IpAddr>,
}

impl Default for RevocationWatch {
    fn default() -> Self {
        Self {
            news: Notify::new(),
            end_is_read: SharedRead::new(POLL),
            end: Mutex::default(),
            waiting: Mutex::default(),
        }
    }
}

impl RevocationWatch {
    /// Wakes all who wait: this replica revoked something.
    pub(super) fn wake(&self) {
        self.end_is_read.outdate();
        self.news.notify_waiters();
    }

    pub(super) fn end(&self) -> End {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_end(&self, end: End) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = end;
    }

    /// A place to wait, if one is left, also for this address.
    pub(super) fn place(&self, address: Option<IpAddr>) -> Option<Place<'_>> {
        let address = address.map(counted);
        let mut waiting = self.waiting();
        if waiting.total >= MAX_WAITING {
            return None;
        }
        if let Some(address) = address {
            let of_address = waiting.each.entry(address).or_default();
            if *of_address >= MAX_WAITING_PER_ADDRESS {
                return None;
            }
            *of_address += 1;
        }
        waiting.total += 1;
        drop(waiting);
        Some(Place { watch: self, address })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.watch.waiting();
        waiting.total -= 1;
        let Some(address) = self.address else {
            return;
        };
        if let Some(of_address) = waiting.each.get_mut(&address) {
            *of_address -= 1;
            if *of_address == 0 {
                waiting.each.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_takes_no_more_than_its_places_and_gives_them_back() {
        let watch = RevocationWatch::default();
        let one: IpAddr = [192, 0, 2, 1].into();
        let places: Vec<_> = (0..MAX_WAITING_PER_ADDRESS + 1)
            .map(|_| watch.place(Some(one)))
            .collect();
        assert_eq!(
            places.iter().filter(|place| place.is_some()).count(),
            MAX_WAITING_PER_ADDRESS
        );
        assert!(watch.place(Some([192, 0, 2, 2].into())).is_some());
        assert!(watch.place(None).is_some());
        drop(places);
        assert!(watch.place(Some(one)).is_some());
        let waiting = watch.waiting();
        assert_eq!((waiting.total, waiting.each.len()), (0, 0));
    }
}
