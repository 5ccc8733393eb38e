//! Everything that expires and may be used once: one small table behind three steps.

use super::StoreResult;
use crate::clock::Timestamp;
use crate::server::secret::SecretHash;

/// What an entry of [`Once`] is for. Keys of different kinds never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum OnceKind {
    /// A consent page that waits for its decision.
    Consent,
    /// A pushed authorization request (RFC 9126).
    PushedRequest,
    /// A sign-in at an upstream that waits for its callback.
    SignIn,
    /// The `jti` of a client's assertion (RFC 7523 section 3).
    ClientAssertion,
    /// The `jti` of an identity assertion grant (ID-JAG).
    IdentityAssertion,
    /// The `jti` of a DPoP proof (RFC 9449 section 11.1).
    DpopProof,
    /// A nonce for DPoP proofs (RFC 9449 section 8).
    DpopNonce,
    /// The answer to a refresh, kept for the client's retry.
    RefreshReplay,
}

impl OnceKind {
    /// The name under which a store keeps entries of this kind. It never changes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Consent => "consent",
            Self::PushedRequest => "pushed_request",
            Self::SignIn => "sign_in",
            Self::ClientAssertion => "client_assertion",
            Self::IdentityAssertion => "identity_assertion",
            Self::DpopProof => "dpop_proof",
            Self::DpopNonce => "dpop_nonce",
            Self::RefreshReplay => "refresh_replay",
        }
    }
}

/// Single use, with an end. Each step is atomic among all replicas of a store: of any number of racing callers one succeeds. An
/// entry that has ended is as good as gone, swept or not. Values that hold secrets are the caller's to seal.
pub trait Once: Send + Sync + 'static {
    /// Keeps `value` until it is taken or has ended. A value under the same key is replaced.
    fn put(
        &self,
        kind: OnceKind,
        key: SecretHash,
        value: Vec<u8>,
        expires_at: Timestamp,
    ) -> StoreResult<'_, ()>;

    /// Removes and returns the value: for one caller only.
    fn take(&self, kind: OnceKind, key: SecretHash, now: Timestamp) -> StoreResult<'_, Option<Vec<u8>>>;

    /// Whether nobody has claimed this key before; from now until `expires_at` everybody else hears `false`. A claim that has
    /// already ended is refused.
    fn claim(
        &self,
        kind: OnceKind,
        key: SecretHash,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> StoreResult<'_, bool>;
}
