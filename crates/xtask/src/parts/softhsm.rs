//! SoftHSM: a PKCS#11 token in files, made anew for every run.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::apt::Apt;
use super::command::{run, works};
use super::part::{Part, Started};
use super::scratch::Scratch;

const LABEL: &str = "bmm-test";
/// Of a token that holds nothing.
const PIN: &str = "1234";
/// Where distributions keep the module.
const MODULES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
];

pub(super) struct SoftHsm;

impl Part for SoftHsm {
    fn name(&self) -> &'static str {
        "SoftHSM 2"
    }

    fn variables(&self) -> &'static [&'static str] {
        &[
            "BMM_TEST_PKCS11_MODULE",
            "BMM_TEST_PKCS11_TOKEN",
            "BMM_TEST_PKCS11_PIN",
            "SOFTHSM2_CONF",
        ]
    }

    fn is_installed(&self) -> Result<bool> {
        Ok(module().is_some() && works("softhsm2-util", &["--version"]))
    }

    fn install(&self, apt: &mut Apt) -> Result<()> {
        apt.install(&["softhsm2"])
    }

    fn start(&self) -> Result<Started> {
        let module = module().context("it is not installed")?;
        let folder = Scratch::make("softhsm")?;
        let (tokens, configuration) = (folder.path().join("tokens"), folder.path().join("softhsm2.conf"));
        std::fs::create_dir(&tokens)?;
        std::fs::write(
            &configuration,
            format!(
                "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
                tokens.display()
            ),
        )?;
        run(Command::new("softhsm2-util")
            .args([
                "--init-token",
                "--free",
                "--label",
                LABEL,
                "--pin",
                PIN,
                "--so-pin",
                PIN,
            ])
            .env("SOFTHSM2_CONF", &configuration)
            .stdout(Stdio::null()))?;
        Ok(Started {
            values: vec![module.into(), LABEL.into(), PIN.into(), configuration.into()],
            running: Some(Box::new(folder)),
        })
    }
}

fn module() -> Option<&'static Path> {
    MODULES.into_iter().map(Path::new).find(|path| path.exists())
}
