//! Watches a folder of fragments that another program writes, and tells the proxy.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use tokio::net::unix::pipe;
use tokio::time::{Instant, sleep, timeout_at};

use super::folder::{Folder, FolderError};
use super::publish::{PublishError, Publisher};
use super::value::Addresses;

/// Changes that come together are read together: so long nothing may change, and so long at most is waited for it.
const QUIET: Duration = Duration::from_millis(200);
const LONGEST_UNREST: Duration = Duration::from_secs(2);

/// How often to look without being told: for file systems that tell nothing, and for what failed before.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// Where the system has no more watches to give.
const LOOK_UNTOLD_EVERY: Duration = Duration::from_secs(2);

/// Combines the fragments of a folder for a proxy, whenever they change.
#[derive(Debug)]
pub struct Watch {
    folder: Folder,
    publisher: Publisher,
    expected: Option<Addresses>,
    /// What was complained about last.
    complaints: Vec<String>,
}

/// What one look has led to.
#[derive(Debug)]
pub struct Look {
    /// Servers the proxy knows now; `None` if nothing was ever written to the folder, which changes nothing.
    pub servers: Option<usize>,
    /// Whether the proxy had to be told.
    pub changed: bool,
    /// Fragments that do not count.
    pub problems: Vec<String>,
}

impl Watch {
    /// Reads `folder`, tells `publisher`.
    pub fn new(folder: Folder, publisher: Publisher) -> Self {
        Self {
            folder,
            publisher,
            expected: None,
            complaints: Vec::new(),
        }
    }

    /// Takes servers only where `addresses` has those of their names. Without it, whoever writes to the folder can lead a path to
    /// any socket that the proxy may open.
    pub fn with_expected(mut self, addresses: Addresses) -> Self {
        self.expected = Some(addresses);
        self
    }

    /// Looks once. A fragment that does not count does not stand in the way of the others; a folder that cannot be read changes
    /// nothing.
    pub async fn look(&mut self) -> Result<Look, WatchError> {
        let folder = self.folder.clone();
        let read = tokio::task::spawn_blocking(move || folder.read()).await;
        let Some(mut contents) = read.map_err(|_| WatchError::BrokenOff)?? else {
            return Ok(Look {
                servers: None,
                changed: false,
                problems: Vec::new(),
            });
        };
        if let Some(addresses) = &self.expected {
            contents.retain_expected(addresses);
        }
        Ok(Look {
            servers: Some(contents.table.len()),
            changed: self.publisher.publish(&contents.table).await?,
            problems: contents.problems.iter().map(ToString::to_string).collect(),
        })
    }

    /// Looks whenever something changes. Returns only if the runtime cannot wait for changes at all; all else is logged, once, and
    /// tried again.
    pub async fn run(mut self) -> Result<(), WatchError> {
        let changes = Changes::new(self.folder.path().to_owned())?;
        loop {
            let told = changes.follow();
            let looked = self.look().await;
            self.tell(looked);
            let pause = if told { LOOK_EVERY } else { LOOK_UNTOLD_EVERY };
            tokio::select! {
                changed = changes.settled(), if told => changed?,
                () = sleep(pause) => {}
            }
        }
    }

    fn tell(&mut self, looked: Result<Look, WatchError>) {
        let complaints = match looked {
            Ok(look) => {
                if look.changed {
                    tracing::info!(servers = look.servers, "path map taken up by the proxy");
                }
                let mut problems = look.problems;
                if look.servers.is_none() {
                    let folder = self.folder.path().display();
                    problems.push(format!(
                        "nothing was written to {folder} yet; is it the folder that bmm writes to?"
                    ));
                }
                problems
            }
            Err(error) => vec![crate::chain::chain(&error)],
        };
        if complaints != self.complaints {
            for complaint in &complaints {
                tracing::error!("{complaint}");
            }
            self.complaints = complaints;
        }
    }
}

/// What the system tells about changes in a folder.
struct Changes {
    folder: PathBuf,
    /// It is read as a pipe is.
    inotify: pipe::Receiver,
}

impl Changes {
    fn new(folder: PathBuf) -> Result<Self, WatchError> {
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(io::Error::from)?;
        Ok(Self {
            folder,
            inotify: pipe::Receiver::from_owned_fd_unchecked(inotify)?,
        })
    }

    /// Asks to be told; `false` if that cannot be. Asked again with each look, since the folder may be another one by now.
    fn follow(&self) -> bool {
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        add_watch(&self.inotify, &self.folder, flags).is_ok()
    }

    /// Returns once something has changed and is still again.
    async fn settled(&self) -> io::Result<()> {
        self.changed().await?;
        let latest = Instant::now() + LONGEST_UNREST;
        while let Ok(changed) = timeout_at(latest.min(Instant::now() + QUIET), self.changed()).await {
            changed?;
        }
        Ok(())
    }

    /// What exactly is not looked at: the folder is read as a whole.
    async fn changed(&self) -> io::Result<()> {
        loop {
            self.inotify.readable().await?;
            match self.inotify.try_read(&mut [0; 4096]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read.map(drop),
            }
        }
    }
}

/// Why a folder is not being watched, or its servers are not known to the proxy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// It cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The proxy does not take it.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The system does not tell about changes.
    #[error("cannot watch for changes")]
    Io(#[from] io::Error),
    /// The runtime ends.
    #[error("reading was broken off")]
    BrokenOff,
}
