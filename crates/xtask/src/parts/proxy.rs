//! The reverse proxies that routes are written for. Tests start them themselves, each with a configuration of its own.

use anyhow::Result;

use super::apt::Apt;
use super::command::works;
use super::part::{Part, Started};

/// nginx or Caddy.
pub(super) struct Proxy {
    name: &'static str,
    variable: &'static [&'static str],
    package: &'static str,
    program: &'static str,
    asks_version: &'static str,
}

pub(super) const NGINX: Proxy = Proxy {
    name: "nginx",
    variable: &["BMM_TEST_NGINX"],
    // The package without modules is named differently by version; this one brings the server everywhere.
    package: "nginx",
    program: "/usr/sbin/nginx",
    asks_version: "-v",
};

pub(super) const CADDY: Proxy = Proxy {
    name: "Caddy",
    variable: &["BMM_TEST_CADDY"],
    package: "caddy",
    program: "/usr/bin/caddy",
    asks_version: "version",
};

impl Part for Proxy {
    fn name(&self) -> &'static str {
        self.name
    }

    fn variables(&self) -> &'static [&'static str] {
        self.variable
    }

    fn is_installed(&self) -> Result<bool> {
        Ok(works(self.program, &[self.asks_version]))
    }

    fn install(&self, apt: &mut Apt) -> Result<()> {
        apt.install(&[self.package])
    }

    fn start(&self) -> Result<Started> {
        Ok(Started::files([self.program]))
    }
}
