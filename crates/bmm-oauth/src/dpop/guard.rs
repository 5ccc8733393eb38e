//! DPoP at a protected resource (RFC 9449 section 7): how a layer takes proofs.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;

use super::nonce::DpopNonces;
use super::proof::{Proof, Requested};
use super::seen::{SeenProofs, Use};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::jwk::Thumbprint;
use crate::strict_json::Reason;

/// Settings for a [`RequireAuthLayer`](crate::RequireAuthLayer) that takes tokens bound to a key. Clones share the memory of used proofs.
///
/// That memory is this process's: with several replicas of a service a proof could be used once at each of them within five minutes, unless
/// [nonces](Self::with_nonces) narrow that.
#[derive(Clone)]
pub struct Dpop {
    required: bool,
    nonces: Option<DpopNonces>,
    below: bool,
    seen: Arc<SeenProofs>,
    clock: Arc<dyn Clock>,
}

/// Why a proof is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProofRefused {
    /// Absent, malformed, for another request, or used before: the reason is for the log.
    Invalid(Reason),
    /// It lacks the nonce that is given out now.
    UseNonce,
    /// So many proofs came lately that a new one could not be told from a used one.
    Busy,
}

impl Dpop {
    /// Takes bound tokens with their proofs, and other tokens as `Bearer`.
    pub fn optional() -> Self {
        Self {
            required: false,
            nonces: None,
            below: false,
            seen: Arc::new(SeenProofs::new()),
            clock: Arc::new(SystemClock),
        }
    }

    /// Takes bound tokens only.
    pub fn required() -> Self {
        Self {
            required: true,
            ..Self::optional()
        }
    }

    /// Wants a nonce in every proof.
    pub fn with_nonces(mut self, nonces: DpopNonces) -> Self {
        self.nonces = Some(nonces);
        self
    }

    /// Takes proofs for the path of each request, at the resource's origin. By default a proof must be for the resource's own URL, as
    /// that of an MCP server is; use this where the resource has more paths and requests arrive with their whole path.
    pub fn with_request_paths(mut self) -> Self {
        self.below = true;
        self
    }

    /// Takes the time from `clock`.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    pub(crate) fn is_required(&self) -> bool {
        self.required
    }

    pub(crate) fn takes_request_paths(&self) -> bool {
        self.below
    }

    /// The nonce for the client's next proof.
    pub(crate) fn nonce(&self) -> Option<String> {
        self.nonces
            .as_ref()
            .map(|nonces| nonces.current(self.clock.now()))
    }

    /// Whether the request comes with a proof by the key that its token is bound to.
    pub(crate) fn check(
        &self,
        headers: &HeaderMap,
        requested: &Requested<'_>,
        bound_to: &Thumbprint,
    ) -> Result<(), ProofRefused> {
        let now = self.clock.now();
        let proof = Proof::of_request(headers, requested, now)
            .map_err(ProofRefused::Invalid)?
            .ok_or(ProofRefused::Invalid("no proof"))?;
        if proof.key != *bound_to {
            return Err(ProofRefused::Invalid("the proof is another key's"));
        }
        self.check_nonce(&proof, now)?;
        match self.seen.claim(&proof, now) {
            Use::First => Ok(()),
            Use::Again => Err(ProofRefused::Invalid("the proof was used before")),
            Use::Full => Err(ProofRefused::Busy),
        }
    }

    fn check_nonce(&self, proof: &Proof, now: Timestamp) -> Result<(), ProofRefused> {
        match &self.nonces {
            Some(nonces) if !proof.has_nonce_of(nonces, now) => Err(ProofRefused::UseNonce),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Dpop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dpop")
            .field("required", &self.required)
            .field("nonces", &self.nonces.is_some())
            .finish_non_exhaustive()
    }
}
