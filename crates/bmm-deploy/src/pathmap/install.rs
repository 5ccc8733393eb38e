//! Puts a virtual host into a proxy's configuration, once or again.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::file;
use super::fragment::{Form, HEADER};
use super::publish::{Proxy, PublishError, replace};
use super::value::{ConfigPath, ValueError};
use super::vhost::Vhost;

/// Where a proxy has its configuration, and where our part of it goes.
///
/// ```text
/// <prefix>/nginx/nginx.conf            read, not written
/// <prefix>/nginx/conf.d/bmm.conf       the virtual host
/// <prefix>/nginx/bmm/routes.map        the combined path map (routes.conf in the `if` form)
///
/// <prefix>/caddy/Caddyfile             gets the line `import bmm.caddy`
/// <prefix>/caddy/bmm.caddy             the site
/// <prefix>/caddy/bmm/routes.caddy      the combined path map
/// ```
#[derive(Debug, Clone)]
pub struct Layout {
    form: Form,
    prefix: PathBuf,
}

const IMPORT: &str = "import bmm.caddy";

impl Layout {
    /// Below `prefix`, which is `/etc` on most systems.
    pub fn new(form: Form, prefix: impl Into<PathBuf>) -> Self {
        let prefix = prefix.into();
        Self { form, prefix }
    }

    /// The proxy's main configuration.
    pub fn main(&self) -> PathBuf {
        match self.form {
            Form::NginxMap | Form::NginxIf => self.prefix.join("nginx/nginx.conf"),
            Form::Caddy => self.prefix.join("caddy/Caddyfile"),
        }
    }

    /// The file of our virtual host.
    pub fn vhost(&self) -> PathBuf {
        match self.form {
            Form::NginxMap | Form::NginxIf => self.prefix.join("nginx/conf.d/bmm.conf"),
            Form::Caddy => self.prefix.join("caddy/bmm.caddy"),
        }
    }

    /// The combined path map that the virtual host reads.
    pub fn routes(&self) -> Result<ConfigPath, ValueError> {
        ConfigPath::new(self.prefix.join(match self.form {
            Form::NginxMap => "nginx/bmm/routes.map",
            Form::NginxIf => "nginx/bmm/routes.conf",
            Form::Caddy => "caddy/bmm/routes.caddy",
        }))
    }

    /// The proxy that reads it, at `executable`.
    pub fn proxy(&self, executable: &Path) -> Proxy {
        match self.form {
            Form::NginxMap | Form::NginxIf => Proxy::nginx(executable, &self.main()),
            Form::Caddy => Proxy::caddy(executable, &self.main()),
        }
    }

    /// Writes the virtual host, and an empty path map if there is none; has `proxy` test and take it up. What it refuses is taken
    /// back. `false` if all of it was there already.
    pub async fn install(&self, vhost: &Vhost, proxy: &Proxy) -> Result<bool, InstallError> {
        let routes = vhost.routes.as_path();
        let mut files = vec![(self.vhost(), vhost.config())];
        if !routes.exists() {
            // Before the file that reads it.
            files.insert(0, (routes.to_owned(), HEADER.to_owned()));
        }
        if self.form == Form::Caddy {
            let main = self.main();
            let old = match file::read(&main) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
                read => read,
            };
            let old = old.map_err(|source| InstallError::Directory {
                path: main.clone(),
                source,
            })?;
            if !old.lines().any(|line| line.trim() == IMPORT) {
                files.push((main, with_import(&old)));
            }
        }
        for (path, _) in &files {
            let directory = path.parent().unwrap_or(Path::new("/"));
            make(directory).map_err(|source| InstallError::Directory {
                path: directory.to_owned(),
                source,
            })?;
        }
        Ok(replace(&files, proxy).await?)
    }
}

/// Makes a directory that the proxy's user may read, whatever our own umask is.
fn make(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
}

fn with_import(old: &str) -> String {
    match old.trim_end() {
        "" => format!("{IMPORT}\n"),
        old => format!("{old}\n\n{IMPORT}\n"),
    }
}

/// Why a virtual host is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// A directory that cannot be made, or a file that cannot be read.
    #[error("cannot use {}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Writing, testing or reloading failed.
    #[error(transparent)]
    Publish(#[from] PublishError),
}
