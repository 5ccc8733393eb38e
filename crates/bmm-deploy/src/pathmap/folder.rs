//! The folder in which one program leaves fragments and another finds them.
//!
//! ```text
//! nginx-map   bmm.map          all servers
//! nginx-if    <slug>.conf      one each
//! caddy       bmm.caddy        all servers
//! ```

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::file;
use super::fragment::{Form, FragmentError, combined, line, read_line};
use super::value::{Address, Addresses, PathTable, RouteSlug};

/// Another user reads them.
const MODE: u32 = 0o644;

/// More servers than one machine has.
const MAX_ENTRIES: usize = 100_000;

/// Problems that are told one by one; the rest are counted.
const MAX_PROBLEMS: usize = 20;

/// A folder of fragments.
#[derive(Debug, Clone)]
pub struct Folder {
    form: Form,
    path: PathBuf,
}

/// What a folder says.
#[derive(Debug, Default)]
pub struct Contents {
    /// Every server that could be read.
    pub table: PathTable,
    /// What could not, the first of it.
    pub problems: Vec<Problem>,
}

/// A fragment that does not count.
#[derive(Debug)]
pub struct Problem {
    file: OsString,
    line: usize,
    error: ProblemKind,
}

#[derive(Debug)]
enum ProblemKind {
    Io(io::Error),
    Fragment(FragmentError),
    Name,
    Twice,
    TooMany,
    Elsewhere,
}

impl Folder {
    /// The fragments of `form` in the directory `path`.
    pub fn new(form: Form, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { form, path }
    }

    /// How its fragments are written.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder say `table` and nothing else. Each file changes in one step, and only if it has to; where it cannot be
    /// written, on a full disk for one, the old one stays. `true` if anything changed.
    pub fn write(&self, table: &PathTable) -> Result<bool, FolderError> {
        match self.file_of_all() {
            Some(name) => {
                let text = combined(self.form, table)?;
                let path = self.path.join(name);
                file::write_if_changed(&path, &text, MODE)
                    .map_err(|source| FolderError::Write { path, source })
            }
            None => self.write_each(table),
        }
    }

    fn write_each(&self, table: &PathTable) -> Result<bool, FolderError> {
        let mut changed = false;
        for (slug, upstream) in table {
            let path = self.path.join(format!("{slug}.conf"));
            let text = line(self.form, slug, upstream)? + "\n";
            changed |= file::write_if_changed(&path, &text, MODE)
                .map_err(|source| FolderError::Write { path, source })?;
        }
        let there = self.read()?.map(|contents| contents.table).unwrap_or_default();
        for slug in there.keys().filter(|slug| !table.contains_key(slug)) {
            let path = self.path.join(format!("{slug}.conf"));
            file::remove(&path).map_err(|source| FolderError::Write { path, source })?;
            changed = true;
        }
        Ok(changed)
    }

    /// Reads the folder. A fragment that does not count is told, and does not stand in the way of the others. `None` if nothing
    /// was ever written to it, which is not the same as no server.
    pub fn read(&self) -> Result<Option<Contents>, FolderError> {
        let failed = |source| FolderError::Read {
            path: self.path.clone(),
            source,
        };
        let mut contents = Contents::default();
        if let Some(name) = self.file_of_all() {
            // Tells a folder that is not there from one that is empty.
            fs::metadata(&self.path).map_err(failed)?;
            match file::read(&self.path.join(name)) {
                Ok(text) => self.read_lines(name.as_ref(), &text, &mut contents),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(failed(error)),
            }
            return Ok(Some(contents));
        }
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let bytes = name.as_encoded_bytes();
            if !bytes.starts_with(b".") && bytes.ends_with(b".conf") {
                self.read_one(name, &mut contents);
            }
        }
        Ok(Some(contents))
    }

    fn read_lines(&self, name: &Path, text: &str, contents: &mut Contents) {
        for (number, text) in text.lines().enumerate() {
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let read = read_line(self.form, text).map_err(ProblemKind::Fragment);
            contents.add(name.into(), number + 1, read);
        }
    }

    fn read_one(&self, name: OsString, contents: &mut Contents) {
        let read = match file::read(&self.path.join(&name)) {
            // Removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => Err(ProblemKind::Io(error)),
            Ok(text) => read_line(self.form, text.strip_suffix('\n').unwrap_or(&text))
                .map_err(ProblemKind::Fragment)
                .and_then(|(slug, upstream)| match name == *format!("{slug}.conf") {
                    true => Ok((slug, upstream)),
                    false => Err(ProblemKind::Name),
                }),
        };
        contents.add(name, 1, read);
    }

    /// The file of the forms that have one.
    fn file_of_all(&self) -> Option<&'static str> {
        match self.form {
            Form::NginxMap => Some("bmm.map"),
            Form::Caddy => Some("bmm.caddy"),
            Form::NginxIf => None,
        }
    }
}

impl Contents {
    fn add(&mut self, file: OsString, line: usize, read: Result<(RouteSlug, Address), ProblemKind>) {
        let error = match read {
            Ok((slug, _)) if self.table.contains_key(&slug) => ProblemKind::Twice,
            Ok(_) if self.table.len() >= MAX_ENTRIES => ProblemKind::TooMany,
            Ok((slug, upstream)) => {
                self.table.insert(slug, upstream);
                return;
            }
            Err(error) => error,
        };
        self.complain(Problem { file, line, error });
    }

    fn complain(&mut self, problem: Problem) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }

    /// Takes out every server that is not where `addresses` has those of its name. Whoever writes the fragments may be trusted
    /// with less than the proxy that reads them.
    pub fn retain_expected(&mut self, addresses: &Addresses) {
        let all = std::mem::take(&mut self.table);
        for (slug, upstream) in all {
            if addresses.of(&slug).as_ref() == Ok(&upstream) {
                self.table.insert(slug, upstream);
            } else {
                self.complain(Problem {
                    file: slug.to_string().into(),
                    line: 0,
                    error: ProblemKind::Elsewhere,
                });
            }
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Quoted: a file's name may be anything, and this goes to a terminal.
        write!(f, "{:?}", self.file)?;
        if self.line > 1 {
            write!(f, " line {}", self.line)?;
        }
        match &self.error {
            ProblemKind::Io(error) => write!(f, ": {error}"),
            ProblemKind::Fragment(error) => write!(f, ": {error}"),
            ProblemKind::Name => f.write_str(": it speaks about another slug than its name"),
            ProblemKind::Twice => f.write_str(": the slug is there twice; the first counts"),
            ProblemKind::TooMany => write!(f, ": more than {MAX_ENTRIES} servers"),
            ProblemKind::Elsewhere => {
                f.write_str(": its upstream is not the one that a server of this name has")
            }
        }
    }
}

/// Why a folder could not be read or written as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// The folder, or the file of all servers in it.
    #[error("cannot read the path map in {}", path.display())]
    Read {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file. What it said before stands.
    #[error("cannot write {}; what it said before still counts", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A server that this form cannot name.
    #[error(transparent)]
    Fragment(#[from] FragmentError),
}

#[cfg(test)]
mod tests {
    use super::super::value::SocketDir;
    use super::*;

    fn table(entries: &[(&str, &str)]) -> PathTable {
        let read = |(slug, upstream): &(&str, &str)| {
            (
                slug.parse().expect("a slug"),
                upstream.parse().expect("an address"),
            )
        };
        entries.iter().map(read).collect()
    }

    #[test]
    fn a_folder_says_what_was_written_last() {
        for (form, upstream) in [
            (Form::NginxMap, "unix:/run/a.sock"),
            (Form::NginxIf, "127.0.0.1:4000"),
            (Form::Caddy, "unix:/run/a.sock"),
        ] {
            let dir = tempfile::tempdir().expect("a directory");
            let folder = Folder::new(form, dir.path());
            for (slugs, changes) in [
                (&["a", "b", "default"][..], true),
                (&["a", "b", "default"], false),
                (&["b"], true),
                (&[], true),
            ] {
                let entries: Vec<_> = slugs.iter().map(|slug| (*slug, upstream)).collect();
                let table = table(&entries);
                assert_eq!(
                    folder.write(&table).expect("written"),
                    changes,
                    "{form} {slugs:?}"
                );
                let read = folder.read().expect("readable").expect("written");
                assert_eq!(read.table, table);
                assert!(read.problems.is_empty(), "{:?}", read.problems);
            }
        }
    }

    #[test]
    fn a_bad_fragment_does_not_stand_in_the_way_of_others() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = Folder::new(Form::NginxIf, dir.path());
        let good = table(&[("good", "127.0.0.1:4000")]);
        folder.write(&good).expect("written");
        let snippet = |slug: &str| format!("if ($bmm_slug = \"{slug}\") {{ set $bmm_port 4000; }}\n");
        for (name, text) in [
            ("evil.conf", "return 200 owned;\n".to_owned()),
            ("two.conf", snippet("two") + &snippet("three")),
            ("other.conf", snippet("good")),
            ("UPPER.conf", snippet("UPPER")),
            ("a\u{1b}[2J\nb.conf", snippet("x")),
        ] {
            fs::write(dir.path().join(name), text).expect("written");
        }
        fs::write(dir.path().join("README"), "not a fragment").expect("written");
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link.conf")).expect("a link");
        let read = folder.read().expect("readable").expect("written");
        assert_eq!(read.table, good);
        assert_eq!(read.problems.len(), 6);
        for problem in read.problems {
            let text = problem.to_string();
            assert!(
                !text.contains(char::is_control) && !text.contains("root:"),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_not_an_empty_one() {
        let dir = tempfile::tempdir().expect("a directory");
        for form in Form::ALL {
            let missing = Folder::new(form, dir.path().join("missing"));
            assert!(missing.read().is_err(), "{form}");
        }
        let silent = Folder::new(Form::NginxMap, dir.path());
        assert!(silent.read().expect("readable").is_none());
    }

    #[test]
    fn an_upstream_of_ones_own_choosing_does_not_count() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = Folder::new(Form::NginxMap, dir.path());
        let all = table(&[("a", "unix:/run/a.sock"), ("evil", "unix:/var/run/docker.sock")]);
        folder.write(&all).expect("written");
        let mut read = folder.read().expect("readable").expect("written");
        read.retain_expected(&Addresses::Sockets(SocketDir::new("/run").expect("a directory")));
        assert_eq!(read.table, table(&[("a", "unix:/run/a.sock")]));
        assert_eq!(read.problems.len(), 1);
    }
}
