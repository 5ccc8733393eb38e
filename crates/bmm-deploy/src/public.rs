//! Sockets under names that stay: for a proxy in front that leads a slug to a path, and need not hear of redeploys.
//!
//! A revision listens on a socket of its own. Its public name is another name of the same socket (a hard link), which moves to the
//! next revision's in one step (`rename(2)`): whoever connects reaches one revision or the other, never nothing.

use std::collections::{HashMap, HashSet};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::seat::{RuntimeError, prepare};

/// The directory of public sockets, one per routed server: `<slug>.sock`.
#[derive(Debug)]
pub struct PublicSockets {
    dir: PathBuf,
    group: Option<u32>,
}

impl PublicSockets {
    /// `dir` is made if it is missing, and is this user's alone (0700). It must be on the file system of the runtime's directory.
    /// What an earlier process left in it is removed.
    pub fn new(dir: impl Into<PathBuf>) -> Result<Self, RuntimeError> {
        let dir = dir.into();
        match prepare(&dir) {
            Ok(()) => Ok(Self { dir, group: None }),
            Err(source) => Err(RuntimeError::new(dir, source)),
        }
    }

    /// Lets this group connect too, by its number: the directory becomes 0750, the sockets 0660. The directories above must let it
    /// through.
    pub fn with_group(mut self, group: u32) -> Result<Self, RuntimeError> {
        let open = |dir: &Path| {
            std::os::unix::fs::chown(dir, None, Some(group))?;
            fs::set_permissions(dir, Permissions::from_mode(0o750))
        };
        match open(&self.dir) {
            Ok(()) => self.group = Some(group),
            Err(source) => return Err(RuntimeError::new(self.dir, source)),
        }
        Ok(self)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where `slug` is reached while it is routed.
    pub fn socket(&self, slug: &str) -> PathBuf {
        self.dir.join(format!("{slug}.sock"))
    }

    /// Makes the public name one of the socket at `socket`, in one step.
    pub(crate) fn lead(&self, slug: &str, socket: &Path) -> io::Result<()> {
        let public = self.socket(slug);
        if is_same(&public, socket) {
            return Ok(());
        }
        let new = self.dir.join(format!("{slug}.new"));
        remove(&new)?;
        fs::hard_link(socket, &new)?;
        let led = self.admit(&new).and_then(|()| fs::rename(&new, &public));
        if led.is_err() {
            let _ = remove(&new);
        }
        led
    }

    /// Takes the public name away.
    pub(crate) fn remove(&self, slug: &str) {
        let public = self.socket(slug);
        if let Err(error) = remove(&public) {
            tracing::warn!(socket = %public.display(), %error, "cannot remove a public socket");
        }
    }

    /// Makes the directory hold what `routed` says (slug to socket) and nothing else. Tells how much was to be done.
    pub(crate) fn mend(&self, routed: &HashMap<&str, &Path>) -> io::Result<usize> {
        let mut done = 0;
        if !self.dir.is_dir() {
            prepare(&self.dir)?;
            if let Some(group) = self.group {
                std::os::unix::fs::chown(&self.dir, None, Some(group))?;
                fs::set_permissions(&self.dir, Permissions::from_mode(0o750))?;
            }
            done += 1;
        }
        let wanted: HashSet<PathBuf> = routed.keys().map(|slug| self.socket(slug)).collect();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if !wanted.contains(&path) {
                remove(&path)?;
                done += 1;
            }
        }
        for (slug, socket) in routed {
            if !is_same(&self.socket(slug), socket) {
                self.lead(slug, socket)?;
                done += 1;
            }
        }
        Ok(done)
    }

    fn admit(&self, socket: &Path) -> io::Result<()> {
        let Some(group) = self.group else { return Ok(()) };
        std::os::unix::fs::chown(socket, None, Some(group))?;
        fs::set_permissions(socket, Permissions::from_mode(0o660))
    }
}

/// Whether both names are there and name one file.
pub(crate) fn is_same(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| {
        fs::symlink_metadata(path)
            .ok()
            .map(|found| (found.dev(), found.ino()))
    };
    id(one).is_some_and(|found| Some(found) == id(other))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_public_name_moves_without_a_gap_and_goes_with_its_server() {
        let folder = tempfile::tempdir().unwrap();
        let public = PublicSockets::new(folder.path().join("public")).unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let listeners = [&one, &two].map(|path| UnixListener::bind(path).unwrap());
        public.lead("demo", &one).unwrap();
        public.lead("demo", &one).unwrap();
        for round in 0..200 {
            public.lead("demo", [&two, &one][round % 2]).unwrap();
            UnixStream::connect(public.socket("demo")).unwrap();
        }
        assert_eq!(fs::read_dir(public.dir()).unwrap().count(), 1);
        drop(listeners);
        public.remove("demo");
        assert_eq!(fs::read_dir(public.dir()).unwrap().count(), 0);
    }

    #[test]
    fn the_directory_comes_to_hold_what_is_routed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let public = PublicSockets::new(folder.path().join("public")).unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let _listeners = [&one, &two].map(|path| UnixListener::bind(path).unwrap());
        public.lead("stale", &one).unwrap();
        public.lead("moved", &one).unwrap();
        fs::write(public.dir().join("moved.new"), "").unwrap();
        let routed = HashMap::from([("moved", two.as_path()), ("missing", one.as_path())]);
        assert_eq!(public.mend(&routed).unwrap(), 4);
        assert_eq!(public.mend(&routed).unwrap(), 0);
        assert!(is_same(&public.socket("moved"), &two) && is_same(&public.socket("missing"), &one));
        assert_eq!(fs::read_dir(public.dir()).unwrap().count(), 2);
        fs::remove_dir_all(public.dir()).unwrap();
        assert_eq!(public.mend(&routed).unwrap(), 3);
    }

    #[test]
    fn a_group_may_connect_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let group = rustix::process::getgid().as_raw();
        let public = PublicSockets::new(folder.path().join("public")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(public.dir()), 0o700);
        let public = public.with_group(group).unwrap();
        let one = folder.path().join("one");
        let _listener = UnixListener::bind(&one).unwrap();
        public.lead("demo", &one).unwrap();
        assert_eq!((mode(public.dir()), mode(&public.socket("demo"))), (0o750, 0o660));
    }
}
