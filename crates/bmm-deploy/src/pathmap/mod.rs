//! Which slug leads where, for nginx and Caddy: written in their own words, tested by them before they use it, and put back when
//! they refuse it.

mod caddy;
mod file;
mod folder;
mod fragment;
mod nginx;
mod value;
mod vhost;

pub use folder::{Contents, Folder, FolderError, Problem};
pub use fragment::{Form, FragmentError, UnknownForm, caddy_line, combined, nginx_if_line, nginx_map_line};
pub use value::{
    Address, Cidr, ConfigPath, Domain, PathTable, Port, RouteSlug, SocketDir, SocketPath, ValueError,
};
pub use vhost::{Tls, Vhost};
