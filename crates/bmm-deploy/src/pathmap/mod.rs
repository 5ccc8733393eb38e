//! Which slug leads where, for nginx and Caddy: written in their own words, tested by them before they use it, and put back when
//! they refuse it.
//!
//! - A [`Vhost`] is one virtual host in front of bmm; [`Layout::install`] puts it into a proxy's configuration.
//! - A [`PathMap`] follows the [`Routes`](crate::Routes) of this process, and leaves fragments in a [`Folder`].
//! - A [`Watch`], which may be another process with other rights, reads that folder and tells the proxy, through a [`Publisher`].

mod caddy;
mod config;
mod file;
mod folder;
mod follow;
mod fragment;
mod install;
mod nginx;
mod publish;
mod value;
mod vhost;
mod watch;

pub use folder::{Contents, Folder, FolderError, Problem};
pub use follow::{PathMap, PathMapError};
pub use fragment::{Form, FragmentError, UnknownForm, caddy_line, combined, nginx_if_line, nginx_map_line};
pub use install::{InstallError, Layout};
pub use publish::{Proxy, PublishError, Publisher};
pub use value::{
    Address, Addresses, Cidr, ConfigPath, Domain, PathTable, Port, RouteSlug, SocketDir, SocketPath,
    ValueError,
};
pub use vhost::{Tls, Vhost};
pub use watch::{Look, Watch, WatchError};
