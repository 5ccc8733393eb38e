//! What every part can do.

use std::path::PathBuf;

use anyhow::Result;

use super::apt::Apt;

/// One part.
pub(super) trait Part {
    /// As a person calls it.
    fn name(&self) -> &'static str;

    /// The variables that name it to the tests. Whoever sets all of them brings the part along.
    fn variables(&self) -> &'static [&'static str];

    /// What the variables are set to, if it is installed as the checkout wants it.
    fn find(&self) -> Result<Option<Vec<PathBuf>>>;

    /// Installs it, replacing an installation that [`Part::find`] did not accept.
    fn install(&self, apt: &mut Apt) -> Result<()>;
}
