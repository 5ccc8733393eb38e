//! Folders that know what they were installed from.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Marks a folder as installed from exactly these files; written last.
pub(super) struct Stamp {
    file: PathBuf,
    contents: Vec<u8>,
}

impl Stamp {
    pub(super) fn new(folder: &Path, sources: &[PathBuf]) -> Result<Self> {
        let mut contents = Vec::new();
        for source in sources {
            contents.extend(std::fs::read(source).with_context(|| source.display().to_string())?);
        }
        Ok(Self {
            file: folder.join("installed-from"),
            contents,
        })
    }

    pub(super) fn holds(&self) -> bool {
        std::fs::read(&self.file).is_ok_and(|found| found == self.contents)
    }

    pub(super) fn write(&self) -> Result<()> {
        std::fs::write(&self.file, &self.contents).with_context(|| self.file.display().to_string())
    }
}

/// An empty folder at this place.
pub(super) fn make_empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())
}
