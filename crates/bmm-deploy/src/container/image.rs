//! The one image that runners run in, made without a registry: an executable, the libraries it needs, and nothing else.
//!
//! The same files give the same image, byte for byte, so its ID is known before a daemon has seen it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use super::image_id::ImageId;
use super::libraries;
use super::plan::{CONTROL_DIR, ENTRYPOINT, label};

/// A runner image as files on this host. Reads them again whenever it is written; keeps none in memory.
#[derive(Debug)]
pub struct RunnerImage {
    entries: BTreeMap<PathBuf, Entry>,
    layer: Blob,
    config: Vec<u8>,
    manifest: Vec<u8>,
    config_id: ImageId,
    manifest_id: ImageId,
}

/// The image cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make an image of {}", path.display())]
pub struct ImageError {
    /// The file at fault.
    pub path: PathBuf,
    source: io::Error,
}

impl ImageError {
    pub(crate) fn new(path: &Path, source: io::Error) -> Self {
        Self {
            path: path.to_owned(),
            source,
        }
    }
}

/// Value of the label `bmm.image` of a runner image.
pub(crate) const RUNNER: &str = "runner";
/// Its name, to be found by people. Containers are made by ID.
pub(crate) const NAME: &str = "bmm-runner";

#[derive(Debug)]
enum Entry {
    Directory {
        mode: u32,
    },
    Text(&'static str),
    File {
        file: File,
        path: PathBuf,
        mode: u32,
        bytes: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Blob {
    digest: String,
    bytes: u64,
}

impl RunnerImage {
    /// The image of the executable at `path`. Reads it and its libraries once, to the end.
    pub fn of(path: &Path) -> Result<Self, ImageError> {
        let mut entries = skeleton();
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ImageError { path, source }
        };
        let mut add = |from: &Path, to: &Path, mode: u32| {
            let entry = Entry::open(from, mode).map_err(failed(from))?;
            for parent in to.ancestors().skip(1).filter(|parent| parent.parent().is_some()) {
                entries
                    .entry(parent.to_owned())
                    .or_insert(Entry::Directory { mode: 0o755 });
            }
            entries.insert(to.to_owned(), entry);
            Ok(())
        };
        add(path, Path::new(ENTRYPOINT[0]), 0o555)?;
        if let Some(found) = libraries::of(path).map_err(failed(path))? {
            add(&found.loader, &found.loader, 0o555)?;
            for (name, from) in &found.libraries {
                add(from, &found.directory.join(name), 0o444)?;
            }
        }

        let mut measured = Measuring::new(io::sink());
        write_layer(&entries, &mut measured).map_err(failed(path))?;
        let layer = measured.blob();
        let config = configuration(&layer).to_string().into_bytes();
        let manifest = manifest(&layer, &config).to_string().into_bytes();
        Ok(Self {
            config_id: id_of(&config),
            manifest_id: id_of(&manifest),
            entries,
            layer,
            config,
            manifest,
        })
    }

    /// Its ID: the digest of its configuration, which names the digest of its files.
    pub fn id(&self) -> &ImageId {
        &self.config_id
    }

    /// What a daemon calls it that keeps images as containerd does: the digest of its manifest, which names the configuration.
    pub fn manifest_id(&self) -> &ImageId {
        &self.manifest_id
    }

    /// Its name, of which there is one for each ID.
    pub fn tag(&self) -> String {
        let digits: String = digits(&self.config_id).chars().take(12).collect();
        format!("{NAME}:{digits}")
    }

    /// Writes it as an archive that is both a Docker archive and an OCI image layout. Fails if a file is no more what it
    /// was.
    pub fn write(&self, to: impl Write) -> io::Result<()> {
        let mut archive = tar::Builder::new(to);
        let blob = |digest: &str| format!("blobs/sha256/{digest}");
        let (config, manifest) = (digits(&self.config_id), digits(&self.manifest_id));
        append(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        append(&mut archive, "index.json", self.index().to_string().as_bytes())?;
        append(
            &mut archive,
            "manifest.json",
            json!([{
                "Config": blob(config),
                "RepoTags": [self.tag()],
                "Layers": [blob(&self.layer.digest)],
            }])
            .to_string()
            .as_bytes(),
        )?;
        append(&mut archive, &blob(config), &self.config)?;
        append(&mut archive, &blob(manifest), &self.manifest)?;

        let mut header = header(EntryType::Regular, 0o444, self.layer.bytes);
        header.set_path(blob(&self.layer.digest))?;
        header.set_cksum();
        archive.get_mut().write_all(header.as_bytes())?;
        let mut measured = Measuring::new(archive.get_mut());
        write_layer(&self.entries, &mut measured)?;
        if measured.blob() != self.layer {
            return Err(io::Error::other("a file of the image has changed meanwhile"));
        }
        // A tar is made of blocks, so the layer ends where one ends.
        archive.finish()
    }

    fn index(&self) -> Value {
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": self.manifest_id.as_str(),
                "size": self.manifest.len(),
                "platform": { "architecture": architecture(), "os": "linux" },
                "annotations": {
                    "io.containerd.image.name": format!("docker.io/library/{}", self.tag()),
                    "org.opencontainers.image.ref.name": self.tag(),
                },
            }],
        })
    }
}

/// What is in every image: where file systems, sockets and files of the runtime are put, and who root is.
fn skeleton() -> BTreeMap<PathBuf, Entry> {
    let mut entries = BTreeMap::from([
        (PathBuf::from("/tmp"), Entry::Directory { mode: 0o1777 }),
        (
            PathBuf::from("/etc/passwd"),
            Entry::Text("root:x:0:0:root:/:/none\n"),
        ),
    ]);
    for path in ["/dev", "/etc", "/proc", "/run", CONTROL_DIR, "/sys"] {
        entries.insert(path.into(), Entry::Directory { mode: 0o755 });
    }
    entries
}

impl Entry {
    fn open(path: &Path, mode: u32) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("not a file"));
        }
        Ok(Self::File {
            file,
            path: path.to_owned(),
            mode,
            bytes: metadata.len(),
        })
    }
}

/// The files as one tar: the only layer. In the order of their paths, as of 1970, all of them root's.
fn write_layer(entries: &BTreeMap<PathBuf, Entry>, to: impl Write) -> io::Result<()> {
    let mut layer = tar::Builder::new(to);
    for (path, entry) in entries {
        let path = path.strip_prefix("/").map_err(io::Error::other)?;
        match entry {
            Entry::Directory { mode } => {
                layer.append_data(&mut header(EntryType::Directory, *mode, 0), path, io::empty())?;
            }
            Entry::Text(text) => {
                let mut header = header(EntryType::Regular, 0o444, text.len() as u64);
                layer.append_data(&mut header, path, text.as_bytes())?;
            }
            Entry::File {
                file,
                path: from,
                mode,
                bytes,
            } => {
                let mut header = header(EntryType::Regular, *mode, *bytes);
                layer
                    .append_data(
                        &mut header,
                        path,
                        Reading {
                            file,
                            at: 0,
                            end: *bytes,
                        },
                    )
                    .map_err(|error| io::Error::other(format!("{}: {error}", from.display())))?;
            }
        }
    }
    layer.finish()
}

fn append(archive: &mut tar::Builder<impl Write>, path: &str, content: &[u8]) -> io::Result<()> {
    let mut header = header(EntryType::Regular, 0o444, content.len() as u64);
    archive.append_data(&mut header, path, content)
}

fn header(kind: EntryType, mode: u32, bytes: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(bytes);
    header
}

/// The image's configuration. Its digest is the image's ID, so a change here makes every image another.
fn configuration(layer: &Blob) -> Value {
    json!({
        "architecture": architecture(),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Entrypoint": ENTRYPOINT,
            "WorkingDir": "/",
            "Labels": { label::IMAGE: RUNNER },
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", layer.digest)] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "bmm image build" }],
    })
}

fn manifest(layer: &Blob, config: &[u8]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": id_of(config).as_str(),
            "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": format!("sha256:{}", layer.digest),
            "size": layer.bytes,
        }],
    })
}

/// As image formats name it: the machine that this executable is for.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn id_of(content: &[u8]) -> ImageId {
    format!("sha256:{}", hexadecimal(&Sha256::digest(content)))
        .parse()
        .expect("a SHA-256 digest has 64 digits")
}

fn digits(id: &ImageId) -> &str {
    id.as_str().trim_start_matches("sha256:")
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a file from its start, wherever others are in it.
struct Reading<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Reading<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let wanted = into.len().min(left);
        let read = self.file.read_at(into.split_at_mut(wanted).0, self.at)?;
        if read == 0 && wanted > 0 {
            return Err(io::Error::other("the file became shorter"));
        }
        self.at += read as u64;
        Ok(read)
    }
}

/// Passes on what is written, and measures it.
struct Measuring<W> {
    to: W,
    hash: Sha256,
    bytes: u64,
}

impl<W> Measuring<W> {
    fn new(to: W) -> Self {
        Self {
            to,
            hash: Sha256::new(),
            bytes: 0,
        }
    }

    fn blob(self) -> Blob {
        Blob {
            digest: hexadecimal(&self.hash.finalize()),
            bytes: self.bytes,
        }
    }
}

impl<W: Write> Write for Measuring<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hash.update(bytes.split_at(written).0);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
