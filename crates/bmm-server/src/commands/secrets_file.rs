//! The file of `bmm run --secrets`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use bmm_runner::Secrets;
use bmm_spec::CompiledSpec;
use zeroize::Zeroizing;

use crate::secrets::SecretValue;

const MAX_FILE_BYTES: usize = 1024 * 1024;

/// The secrets in a file that belongs to its owner alone: `{"NAME": "value"}`, of this spec's names.
pub(crate) fn read(path: &Path, spec: &CompiledSpec) -> anyhow::Result<Secrets> {
    let shown = path.display();
    let cannot = || format!("cannot read {shown}");
    // What is checked is what was opened, wherever a link leads.
    let file = File::open(path).with_context(cannot)?;
    let metadata = file.metadata().with_context(cannot)?;
    if !metadata.is_file() {
        bail!("{shown} is not a regular file");
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        bail!("{shown} is open to group or others: run `chmod 600` on it, and think of its secrets as read");
    }
    // As large as it can get from the start: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE_BYTES + 1));
    file.take(MAX_FILE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(cannot)?;
    if bytes.len() > MAX_FILE_BYTES {
        bail!("{shown} is larger than {} KiB", MAX_FILE_BYTES / 1024);
    }
    // The parser's own words may quote a value.
    let values: BTreeMap<String, String> = serde_json::from_slice(&bytes).map_err(|error| {
        anyhow::anyhow!(
            "{shown} is not a JSON object from names to texts (line {}, column {})",
            error.line(),
            error.column()
        )
    })?;
    let mut secrets = Secrets::new();
    for (name, value) in values {
        let value = SecretValue::new(Zeroizing::new(value)).with_context(|| format!("{shown}: {name}"))?;
        if !spec.required_secrets.iter().any(|secret| secret.name == name) {
            bail!("{shown}: {name} is none of the secrets of this spec");
        }
        secrets.insert(name, value.as_str());
    }
    Ok(secrets)
}
