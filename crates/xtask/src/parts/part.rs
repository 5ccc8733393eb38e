//! What every part can do.

use std::ffi::OsString;

use anyhow::Result;

use super::apt::Apt;

/// One part.
pub(super) trait Part {
    /// As a person calls it.
    fn name(&self) -> &'static str;

    /// The variables that name it to the tests. Whoever sets all of them brings the part along.
    fn variables(&self) -> &'static [&'static str];

    /// Whether it is installed as the checkout wants it.
    fn is_installed(&self) -> Result<bool>;

    /// Installs it, replacing an installation that [`Part::is_installed`] did not accept.
    fn install(&self, apt: &mut Apt) -> Result<()>;

    /// Starts it, if it has to run, and gives what the variables are set to.
    fn start(&self) -> Result<Started>;
}

/// A part that the tests can use.
pub(super) struct Started {
    /// In the order of [`Part::variables`].
    pub(super) values: Vec<OsString>,
    /// Ends it and takes away what it kept, when dropped.
    pub(super) running: Option<Box<dyn std::any::Any>>,
}

impl Started {
    /// A part that is only a matter of files.
    pub(super) fn files(values: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self {
            values: values.into_iter().map(Into::into).collect(),
            running: None,
        }
    }
}
