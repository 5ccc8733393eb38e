//! The data directory: its layout, permissions, version and lock.
//!
//! ```text
//! VERSION    format of the directory; a newer one is refused
//! lock       held by the one `bmm up` that serves it; contains its process id
//! kek        the key-encryption key (32 bytes); kek-… are earlier ones, which older backups need
//! bmm.db     everything else (SQLite)
//! run/       sockets of the servers that run now
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bmm_vault::SqlConfig;
use rustix::fs::{FlockOperation, flock};

/// Format 1, from before the first release, kept the keys otherwise.
const VERSION: u32 = 2;

/// A data directory that this process holds the lock of.
pub(crate) struct DataDir {
    root: PathBuf,
    run: PathBuf,
    /// Released by the system when this process ends, however it ends.
    _lock: File,
}

/// A data directory for a short piece of work: beside the `bmm up` that serves it, or in its place.
pub(crate) struct Visit {
    root: PathBuf,
    held: Option<DataDir>,
}

/// Why a data directory cannot be used. Each is one clear line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataDirError {
    #[error("no home directory is known: name a data directory with --data-dir")]
    NoDefault,
    #[error("cannot use the data directory {} ({source}); name another with --data-dir", path.display())]
    Unusable { path: PathBuf, source: io::Error },
    #[error("{} is not empty and not a data directory of bmm; name another with --data-dir", path.display())]
    Foreign { path: PathBuf },
    #[error(
        "the data directory {} is from a newer version of bmm (format {found}, this one knows {VERSION}); use that version",
        path.display()
    )]
    Newer { path: PathBuf, found: u32 },
    #[error(
        "the data directory {} was made by a bmm from before the first release (format {found}); name a new one with --data-dir",
        path.display()
    )]
    Older { path: PathBuf, found: u32 },
    #[error("the file VERSION in the data directory {} is damaged", path.display())]
    DamagedVersion { path: PathBuf },
    #[error("another bmm{} is already serving the data directory {}", pid(*.by), path.display())]
    InUse { path: PathBuf, by: Option<u32> },
    #[error("no bmm is serving the data directory {}; start one with `bmm up`", path.display())]
    NotServed { path: PathBuf },
}

impl DataDir {
    /// Opens `path`, or makes it, for this process alone.
    pub(crate) fn open(path: &Path) -> Result<Self, DataDirError> {
        let unusable = |source| DataDirError::Unusable {
            path: path.to_owned(),
            source,
        };

        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(unusable)?;
        let root = path.canonicalize().map_err(unusable)?;
        let version = root.join("VERSION");
        if !version.exists()
            && fs::read_dir(&root)
                .map_err(unusable)?
                .any(|entry| !is_leftover(entry))
        {
            return Err(DataDirError::Foreign { path: root });
        }
        check_version(&root)?;

        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(root.join("lock"))
            .map_err(unusable)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(DataDirError::InUse {
                by: read_pid(&mut lock),
                path: root,
            });
        }
        lock.set_len(0)
            .and_then(|()| write!(lock, "{}", std::process::id()))
            .map_err(unusable)?;

        fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).map_err(unusable)?;
        if !version.exists() {
            write_durably(&version, format!("{VERSION}\n").as_bytes()).map_err(unusable)?;
        }
        let run = root.join("run");
        Ok(Self {
            root,
            run,
            _lock: lock,
        })
    }

    /// Opens a directory that was served before, whether it is served now or not.
    pub(crate) fn visit(path: &Path) -> Result<Visit, DataDirError> {
        if !path.join("bmm.db").exists() {
            return Err(DataDirError::NotServed {
                path: path.to_owned(),
            });
        }
        match Self::open(path) {
            Ok(held) => Ok(Visit {
                root: held.root.clone(),
                held: Some(held),
            }),
            Err(DataDirError::InUse { path: root, .. }) => Ok(Visit { root, held: None }),
            Err(error) => Err(error),
        }
    }

    /// The database of a directory that some other process serves now.
    pub(crate) fn served_database(path: &Path) -> Result<PathBuf, DataDirError> {
        let not_served = || DataDirError::NotServed {
            path: path.to_owned(),
        };
        let lock = File::open(path.join("lock")).map_err(|_| not_served())?;
        check_version(path)?;
        match flock(&lock, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Err(not_served()),
            Err(_) => Ok(path.join("bmm.db")),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.root
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("bmm.db")
    }

    pub(crate) fn kek(&self) -> PathBuf {
        self.root.join("kek")
    }

    /// With the sockets elsewhere: a proxy may have to get at some of them, and nobody else gets in here.
    pub(crate) fn with_run_dir(self, run: PathBuf) -> Self {
        Self { run, ..self }
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.run.clone()
    }
}

impl Visit {
    /// Whether another process serves the directory.
    pub(crate) fn is_served(&self) -> bool {
        self.held.is_none()
    }

    /// Where nobody else holds keys, no step of a rotation has to wait.
    pub(crate) fn vault_config(&self) -> SqlConfig {
        let mut config = SqlConfig::default();
        if !self.is_served() {
            (config.rotation.propagation, config.rotation.grace) = (Duration::ZERO, Duration::ZERO);
            config.rotation.drain = Duration::ZERO;
        }
        config
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("bmm.db")
    }

    pub(crate) fn kek(&self) -> PathBuf {
        self.root.join("kek")
    }
}

/// `$XDG_DATA_HOME/bmm`, or `~/.local/share/bmm`.
pub(crate) fn default_path() -> Result<PathBuf, DataDirError> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map(|base| base.join("bmm"))
        .ok_or(DataDirError::NoDefault)
}

fn check_version(root: &Path) -> Result<(), DataDirError> {
    let text = match fs::read_to_string(root.join("VERSION")) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(DataDirError::Unusable {
                path: root.to_owned(),
                source,
            });
        }
    };
    match text.trim().parse() {
        Ok(found) if found > VERSION => Err(DataDirError::Newer {
            path: root.to_owned(),
            found,
        }),
        Ok(found) if found < VERSION => Err(DataDirError::Older {
            path: root.to_owned(),
            found,
        }),
        Ok(_) => Ok(()),
        Err(_) => Err(DataDirError::DamagedVersion {
            path: root.to_owned(),
        }),
    }
}

/// What a start that died before it wrote VERSION may leave behind.
fn is_leftover(entry: io::Result<fs::DirEntry>) -> bool {
    entry.is_ok_and(|entry| matches!(entry.file_name().to_str(), Some("lock" | "VERSION.new")))
}

fn read_pid(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.rewind().ok()?;
    lock.take(16).read_to_string(&mut text).ok()?;
    text.parse().ok()
}

fn pid(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_opener_is_refused_and_told_by_whom() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("data");
        let _held = DataDir::open(&path).expect("opens");
        match DataDir::open(&path) {
            Err(DataDirError::InUse { by, .. }) => assert_eq!(by, Some(std::process::id())),
            other => panic!("{:?}", other.err()),
        }
    }

    #[test]
    fn a_directory_with_other_files_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("thesis.tex"), "x").expect("writes");
        assert!(matches!(
            DataDir::open(folder.path()),
            Err(DataDirError::Foreign { .. })
        ));
        assert_eq!(fs::read_dir(folder.path()).expect("lists").count(), 1);
    }

    #[test]
    fn it_belongs_to_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("data");
        drop(DataDir::open(&path).expect("opens"));
        let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join("lock"))), (0o700, 0o600));
    }

    #[test]
    fn a_visitor_makes_no_directory_and_holds_one_that_nobody_serves() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("data");
        assert!(DataDir::visit(&path).is_err() && !path.exists());
        let held = DataDir::open(&path).expect("opens");
        fs::write(held.database(), "").expect("writes");
        assert!(DataDir::visit(&path).expect("visits").is_served());
        drop(held);
        let visit = DataDir::visit(&path).expect("visits");
        assert!(!visit.is_served() && DataDir::open(&path).is_err());
    }

    #[test]
    fn it_is_served_only_while_it_is_held() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("data");
        assert!(DataDir::served_database(&path).is_err());
        let held = DataDir::open(&path).expect("opens");
        assert!(DataDir::served_database(&path).is_ok());
        drop(held);
        assert!(DataDir::served_database(&path).is_err());
    }
}
