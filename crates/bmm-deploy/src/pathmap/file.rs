//! Files that are there whole, or as they were.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// A combined file of 10,000 slugs has about a megabyte.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Writes `text` to `path` if that is not what it says already; `true` if it was written. The new text is on the disk under a
/// name of its own before it takes the old one's place, so that a reader, a full disk or a loss of power at any moment finds the
/// old text or the new one.
pub(super) fn write_if_changed(path: &Path, text: &str, mode: u32) -> io::Result<bool> {
    match read(path) {
        Ok(old) if old == text => return Ok(false),
        // Also what cannot be read is replaced.
        _ => {}
    }
    write(path, text, mode)?;
    Ok(true)
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
    else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not the path of a file",
        ));
    };
    // The leading dot keeps it out of what `include *` finds.
    let draft = directory.join(format!(".{name}.{}.new", std::process::id()));
    // One that was left behind by a process of the same number.
    let _ = fs::remove_file(&draft);
    let written = fill(&draft, text, mode).and_then(|()| fs::rename(&draft, path));
    if let Err(error) = written {
        let _ = fs::remove_file(&draft);
        return Err(error);
    }
    File::open(directory)?.sync_all()
}

fn fill(draft: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(draft)?;
    file.write_all(text.as_bytes())?;
    // Whatever the umask is: the proxy is another user.
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    file.sync_all()
}

/// Removes a file so that it stays removed.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// Reads a regular file. What another user may have put there instead (a link to a file that only we may read, a pipe that
/// never ends) is an error.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_only_when_its_text_changes() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("f");
        assert!(write_if_changed(&path, "a", 0o644).expect("written"));
        assert!(!write_if_changed(&path, "a", 0o644).expect("the same"));
        assert!(write_if_changed(&path, "b", 0o644).expect("written"));
        assert_eq!(read(&path).expect("there"), "b");
        let names = fs::read_dir(dir.path()).expect("a directory").count();
        assert_eq!(names, 1, "nothing is left beside it");
    }

    #[test]
    fn a_link_or_a_pipe_is_no_fragment() {
        let dir = tempfile::tempdir().expect("a directory");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/etc/hostname", &link).expect("a link");
        assert!(read(&link).is_err());
        assert!(read(dir.path()).is_err());
    }
}
