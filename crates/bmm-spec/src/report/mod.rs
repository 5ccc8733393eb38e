//! What a scan found, for programs (serde), for a terminal (`Display`) and for code hosts (SARIF).

mod finding;
mod sarif;
mod score;
mod suppress;
mod terminal;
mod whole;

pub(crate) use finding::cut;
pub use finding::{Finding, Verdict};
pub use sarif::Sarif;
pub(crate) use score::{keep_worst, score};
pub use suppress::{Suppression, Suppressions};
pub use whole::Report;
