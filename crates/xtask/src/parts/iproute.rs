//! iproute2: `ip`, with which tests arrange network namespaces of their own.

use anyhow::Result;

use super::apt::Apt;
use super::command::works;
use super::part::{Part, Started};

pub(super) struct IpRoute;

impl Part for IpRoute {
    fn name(&self) -> &'static str {
        "iproute2"
    }

    fn variables(&self) -> &'static [&'static str] {
        &["BMM_TEST_IP"]
    }

    fn is_installed(&self) -> Result<bool> {
        Ok(works("ip", &["-V"]) && works("unshare", &["--version"]))
    }

    fn install(&self, apt: &mut Apt) -> Result<()> {
        apt.install(&["iproute2", "util-linux"])
    }

    fn start(&self) -> Result<Started> {
        Ok(Started::files(["ip"]))
    }
}
