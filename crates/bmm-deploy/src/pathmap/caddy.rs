//! The site for Caddy, 2.6 and later.

use super::vhost::Vhost;

/// The whole site block.
pub(super) fn site(_vhost: &Vhost) -> String {
    String::new()
}
