//! What a virtual host is written as.

use super::fragment::Form;
use super::vhost::Vhost;
use super::{caddy, nginx};

impl Vhost {
    /// The configuration, in the words of its form's proxy.
    pub fn config(&self) -> String {
        match self.form {
            Form::NginxMap | Form::NginxIf => nginx::vhost(self),
            Form::Caddy => caddy::site(self),
        }
    }
}
