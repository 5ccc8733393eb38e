//! What an executable needs to start: its loader, and the libraries that the loader finds for it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a dynamic executable cannot start without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Libraries {
    /// The loader, where the executable looks for it.
    pub(crate) loader: PathBuf,
    /// Where the libraries must lie so that the loader finds them without being told: where it found the C library.
    pub(crate) directory: PathBuf,
    /// By the names that the loader looks for, and where they are now; in the order of names.
    pub(crate) libraries: Vec<(String, PathBuf)>,
}

/// The libraries of the executable at `path`; none if it is static. The loader itself is asked, which runs nothing of the
/// executable. Libraries that a program opens later by itself are not among them, so the answer is the same at any time.
pub(crate) fn of(path: &Path) -> io::Result<Option<Libraries>> {
    let Some(loader) = interpreter(&File::open(path)?)? else {
        return Ok(None);
    };
    let output = Command::new(&loader)
        .arg("--list")
        .arg(path)
        .env_clear()
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!(
            "{} does not list the libraries: {}",
            loader.display(),
            said.trim()
        )));
    }
    let listing = String::from_utf8_lossy(&output.stdout);
    parse(&listing, loader).map(Some)
}

/// Lines are `name => path (address)`; the loader itself and the kernel's library have no `=>`.
fn parse(listing: &str, loader: PathBuf) -> io::Result<Libraries> {
    let mut libraries = Vec::new();
    for line in listing.lines() {
        let Some((name, found)) = line.trim().split_once(" => ") else {
            continue;
        };
        let path = found.rsplit_once(" (").map_or(found, |(path, _)| path);
        if !path.starts_with('/') {
            return Err(io::Error::other(format!("the library {name} is not there")));
        }
        let file_name = name.rsplit('/').next().unwrap_or(name);
        if Path::new(path) != loader {
            libraries.push((file_name.to_owned(), PathBuf::from(path)));
        }
    }
    libraries.sort();
    libraries.dedup();
    let directory = libraries
        .iter()
        .find(|(name, _)| name.starts_with("libc."))
        .map_or(loader.as_path(), |(_, path)| path)
        .parent()
        .map(Path::to_owned)
        .ok_or_else(|| io::Error::other("the C library has no directory"))?;
    Ok(Libraries {
        loader,
        directory,
        libraries,
    })
}

/// The loader that a 64-bit little-endian ELF file names (`PT_INTERP`).
fn interpreter(file: &File) -> io::Result<Option<PathBuf>> {
    const PT_INTERP: u64 = 3;
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0)?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return Err(io::Error::other("not a 64-bit ELF executable"));
    }
    let (table, entry_bytes, entries) = (
        number(&header, 32, 8),
        number(&header, 54, 2),
        number(&header, 56, 2),
    );
    for index in 0..entries {
        let mut entry = [0; 56];
        file.read_exact_at(&mut entry, table.saturating_add(index * entry_bytes))?;
        if number(&entry, 0, 4) != PT_INTERP {
            continue;
        }
        let (at, bytes) = (number(&entry, 8, 8), number(&entry, 32, 8));
        let mut name = vec![0; bytes.min(4096) as usize];
        file.read_exact_at(&mut name, at)?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = std::str::from_utf8(name).map_err(io::Error::other)?;
        return Ok(Some(PathBuf::from(name)));
    }
    Ok(None)
}

/// The little-endian number of `bytes` bytes at `at`.
fn number(from: &[u8], at: usize, bytes: usize) -> u64 {
    from.iter()
        .skip(at)
        .take(bytes)
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "\tlinux-vdso.so.1 (0x00007ffd)
\tlibgcc_s.so.1 => /lib/x86_64-linux-gnu/libgcc_s.so.1 (0x00007f1)
\tlibodd.so => /opt/odd/libodd.so (0x00007f2)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f3)
\t/lib64/ld-linux-x86-64.so.2 (0x00007f4)
";

    #[test]
    fn a_listing_tells_where_libraries_are() {
        let found = parse(LISTING, "/lib64/ld-linux-x86-64.so.2".into()).expect("is fine");
        assert_eq!(found.directory, Path::new("/lib/x86_64-linux-gnu"));
        let names: Vec<_> = found.libraries.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["libc.so.6", "libgcc_s.so.1", "libodd.so"]);
    }

    #[test]
    fn musl_is_its_own_loader() {
        let listing =
            "\t/lib/ld-musl-x86_64.so.1 (0x7f)\n\tlibc.musl-x86_64.so.1 => /lib/ld-musl-x86_64.so.1 (0x7f)\n";
        let found = parse(listing, "/lib/ld-musl-x86_64.so.1".into()).expect("is fine");
        assert_eq!(
            (found.directory.as_path(), found.libraries.len()),
            (Path::new("/lib"), 0)
        );
    }

    #[test]
    fn a_library_that_is_missing_is_an_error() {
        let error = parse("\tliblost.so => not found\n", "/lib/ld.so".into()).expect_err("it is missing");
        assert_eq!(error.to_string(), "the library liblost.so is not there");
    }

    #[test]
    fn this_test_needs_the_c_library() {
        let own = std::env::current_exe().expect("has one");
        if let Some(found) = of(&own).expect("can be listed") {
            assert!(found.loader.exists());
            assert!(found.libraries.iter().all(|(_, path)| path.exists()), "{found:?}");
        }
        assert!(of(Path::new("/etc/passwd")).is_err(), "no executable");
    }
}
