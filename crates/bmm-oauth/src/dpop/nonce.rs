//! Nonces that a server gives out for proofs (RFC 9449 section 8), so that none can be made in advance. Nothing is stored for them.

use std::fmt;

use aws_lc_rs::{constant_time, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::clock::Timestamp;

/// A new nonce each minute, good for that one and the four after it.
const PERIOD_SECS: u64 = 60;
const GOOD_FOR_PERIODS: u64 = 5;

/// Nonces made from a key and the time: replicas with one key accept each other's. Clones share the key.
#[derive(Clone)]
pub struct DpopNonces(hmac::Key);

impl DpopNonces {
    /// Nonces of this key, which must be random and secret.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Nonces of a key that only this process knows.
    pub fn random() -> Self {
        let mut key = [0; 32];
        rand::fill(&mut key).expect("the system's random source works, or nothing here is safe");
        Self::new(&key)
    }

    /// The nonce to give out now.
    pub(crate) fn current(&self, now: Timestamp) -> String {
        self.of_period(now.as_secs() / PERIOD_SECS)
    }

    /// Whether a proof with this nonce is young enough.
    pub(crate) fn accepts(&self, nonce: &str, now: Timestamp) -> bool {
        let period = now.as_secs() / PERIOD_SECS;
        // One period ahead: another replica's clock.
        (0..=GOOD_FOR_PERIODS)
            .filter_map(|age| (period + 1).checked_sub(age))
            .any(|period| {
                let good = self.of_period(period);
                constant_time::verify_slices_are_equal(good.as_bytes(), nonce.as_bytes()).is_ok()
            })
    }

    fn of_period(&self, period: u64) -> String {
        let tag = hmac::sign(&self.0, format!("bmm-oauth dpop nonce {period}").as_bytes());
        URL_SAFE_NO_PAD.encode(tag.as_ref())
    }
}

impl fmt::Debug for DpopNonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DpopNonces(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_ends_and_belongs_to_its_key() {
        let nonces = DpopNonces::new(&[1; 32]);
        let at = |seconds| Timestamp::from_secs(seconds);
        let nonce = nonces.current(at(6000));
        assert!(nonces.accepts(&nonce, at(6000)));
        assert!(nonces.accepts(&nonce, at(6299)));
        assert!(!nonces.accepts(&nonce, at(6300)));
        assert!(nonces.accepts(&nonce, at(5999)), "another replica's clock");
        assert!(!nonces.accepts(&nonce, at(5939)));
        assert!(!nonces.accepts("", at(6000)));
        assert!(!DpopNonces::new(&[2; 32]).accepts(&nonce, at(6000)));
        assert_ne!(nonce, nonces.current(at(6060)));
        assert!(!format!("{nonces:?}").contains('1'));
    }
}
