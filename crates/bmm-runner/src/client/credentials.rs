//! Tokens between two runs: one file, for its owner's eyes only.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;

use rmcp::transport::auth::{AuthError, CredentialRefreshGuard, CredentialStore, StoredCredentials};
use serde::{Deserialize, Serialize};

use super::error::ClientError;

const VERSION: u32 = 1;
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// A file of client registrations and tokens by MCP URL: mode 0600, replaced atomically, locked while it is changed.
#[derive(Debug, Clone)]
pub struct CredentialsFile {
    path: PathBuf,
}

#[derive(Default, Serialize, Deserialize)]
struct Contents {
    version: u32,
    servers: BTreeMap<String, StoredCredentials>,
}

impl CredentialsFile {
    /// The file at `path`; it and its folder are made when there is something to keep.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Forgets the credentials for a server.
    pub fn forget(&self, url: &str) -> Result<(), ClientError> {
        self.change(|contents| drop(contents.servers.remove(url)))
    }

    pub(super) fn knows(&self, url: &str) -> Result<bool, ClientError> {
        Ok(self.read()?.servers.contains_key(url))
    }

    pub(super) fn granted_scopes(&self, url: &str) -> Result<Vec<String>, ClientError> {
        Ok(self
            .read()?
            .servers
            .remove(url)
            .map(|known| known.granted_scopes)
            .unwrap_or_default())
    }

    pub(super) fn store(&self, url: &str) -> Store {
        Store {
            file: self.clone(),
            url: url.to_owned(),
        }
    }

    fn read(&self) -> Result<Contents, ClientError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Contents::default()),
            Err(error) => return Err(self.error(error)),
        };
        let metadata = file.metadata().map_err(|error| self.error(error))?;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(self.error("others may read it; make it `chmod 600`"));
        }
        if metadata.len() > MAX_BYTES {
            return Err(self.error("it is too large to be a credentials file"));
        }
        // The parser's message may quote a token.
        let contents: Contents = serde_json::from_reader(file)
            .map_err(|_| self.error("it is not a credentials file; move it away"))?;
        if contents.version != VERSION {
            return Err(self.error("it is of another version; move it away"));
        }
        Ok(contents)
    }

    fn change(&self, change: impl FnOnce(&mut Contents)) -> Result<(), ClientError> {
        let folder = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| self.error(error))?;
        let _lock = self.lock("lock")?;
        let mut contents = self.read()?;
        contents.version = VERSION;
        change(&mut contents);
        let bytes = serde_json::to_vec_pretty(&contents).map_err(|error| self.error(error))?;
        self.replace(&bytes).map_err(|error| self.error(error))?;
        // The rename is durable once the folder is.
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| self.error(error))
    }

    fn replace(&self, bytes: &[u8]) -> std::io::Result<()> {
        let temporary = self.beside(&format!("{}.tmp", std::process::id()));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &self.path)
    }

    fn lock(&self, suffix: &str) -> Result<File, ClientError> {
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.beside(suffix))
            .map_err(|error| self.error(error))?;
        lock.lock().map_err(|error| self.error(error))?;
        Ok(lock)
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".");
        name.push(suffix);
        PathBuf::from(name)
    }

    fn error(&self, message: impl ToString) -> ClientError {
        ClientError::Credentials {
            path: self.path.display().to_string(),
            message: message.to_string(),
        }
    }
}

/// One server's entry, as rmcp wants it.
pub(super) struct Store {
    file: CredentialsFile,
    url: String,
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, AuthError>> + Send + 'a>>;

// Written out as `async_trait` would have it. The files are small; nothing here waits for anything else.
impl CredentialStore for Store {
    fn load<'a, 'b>(&'a self) -> Answer<'b, Option<StoredCredentials>>
    where
        'a: 'b,
        Self: 'b,
    {
        let loaded = self
            .file
            .read()
            .map(|mut contents| contents.servers.remove(&self.url));
        Box::pin(std::future::ready(loaded.map_err(store_error)))
    }

    fn save<'a, 'b>(&'a self, credentials: StoredCredentials) -> Answer<'b, ()>
    where
        'a: 'b,
        Self: 'b,
    {
        let url = self.url.clone();
        let saved = self
            .file
            .change(|contents| drop(contents.servers.insert(url, credentials)));
        Box::pin(std::future::ready(saved.map_err(store_error)))
    }

    fn clear<'a, 'b>(&'a self) -> Answer<'b, ()>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(std::future::ready(
            self.file.forget(&self.url).map_err(store_error),
        ))
    }

    /// Two processes must not use one refresh token at the same time: the second would look like a thief.
    fn acquire_refresh_guard<'a, 'b>(&'a self) -> Answer<'b, Option<CredentialRefreshGuard>>
    where
        'a: 'b,
        Self: 'b,
    {
        let file = self.file.clone();
        Box::pin(async move {
            let locked = tokio::task::spawn_blocking(move || file.lock("refresh.lock")).await;
            match locked {
                Ok(Ok(lock)) => Ok(Some(CredentialRefreshGuard::new(lock))),
                Ok(Err(error)) => Err(store_error(error)),
                Err(error) => Err(AuthError::CredentialStoreError(error.to_string())),
            }
        })
    }
}

fn store_error(error: ClientError) -> AuthError {
    AuthError::CredentialStoreError(error.to_string())
}
