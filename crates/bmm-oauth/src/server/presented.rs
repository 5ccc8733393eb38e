//! What a client sends where it must authenticate.

use std::net::IpAddr;

use http::HeaderMap;

use super::form::Parameters;

/// A request for which a client must authenticate.
pub(super) struct Presented<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) form: &'a Parameters,
    /// The path of the endpoint; an assertion may be meant for it alone.
    pub(super) endpoint: &'static str,
    pub(super) address: Option<IpAddr>,
}
