//! Tokens that only the holder of a key may use (RFC 9449). The proof checker is one for both ends; each end has its own memory of the
//! proofs it has seen.

mod guard;
mod nonce;
mod proof;
mod seen;

pub use guard::Dpop;
pub(crate) use guard::ProofRefused;
pub use nonce::DpopNonces;
#[cfg(feature = "server")]
pub(crate) use proof::Proof;
pub(crate) use proof::{ALGORITHMS, Requested};
