//! What `bmm up` tells a proxy that leads requests to servers by itself.

use std::fs::Permissions;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bmm_deploy::PublicSockets;
use bmm_deploy::pathmap::{Addresses, Folder, Form, PathMap, Port, SocketDir};
use rustix::fs::{Access, access};

use crate::cli::ProxyArgs;

/// Where groups have their numbers.
const GROUPS: &str = "/etc/group";

/// The path map as the flags say, and what it needs to be there.
pub(crate) struct Wanted {
    pub(crate) map: PathMap,
    /// The sockets it leads to; none where it leads to our own port.
    pub(crate) sockets: Option<PublicSockets>,
}

impl Wanted {
    /// `run_dir` is where sockets are unless the flags say otherwise, `listening` our own address. `None` if no path map is wanted.
    pub(crate) fn decide(
        args: &ProxyArgs,
        run_dir: &Path,
        listening: SocketAddr,
    ) -> anyhow::Result<Option<Self>> {
        let Some(place) = &args.path_map else {
            return Ok(None);
        };
        let dir = std::path::absolute(&place.dir).context("--path-map")?;
        // Not made: what is to be mounted there, and is not, would be missed by nobody.
        if !dir.is_dir() || access(&dir, Access::WRITE_OK).is_err() {
            bail!(
                "--path-map: {} is not a directory that can be written to",
                dir.display()
            );
        }
        let folder = Folder::new(place.form, dir);
        if place.form == Form::NginxIf {
            let reached = listening.ip().is_unspecified() || listening.ip() == IpAddr::from([127, 0, 0, 1]);
            if !reached {
                bail!("--path-map nginx-if leads to a port of 127.0.0.1, and --listen is {listening}");
            }
            let addresses = Addresses::Port(Port::new(listening.port())?);
            let map = PathMap::in_folder(folder, addresses);
            return Ok(Some(Self { map, sockets: None }));
        }
        let public = match &args.run_dir {
            Some(dir) => std::path::absolute(dir).context("--run-dir")?.join("public"),
            None => run_dir.join("public"),
        };
        let in_words = SocketDir::new(&public).with_context(|| {
            format!(
                "a proxy cannot be led to {}; name another --run-dir",
                public.display()
            )
        })?;
        let mut sockets = PublicSockets::new(&public)?;
        if let Some(group) = &args.socket_group {
            let number = group_number(group)?;
            sockets = sockets
                .with_group(number)
                .with_context(|| format!("--socket-group {group}"))?;
        }
        Ok(Some(Self {
            map: PathMap::in_folder(folder, Addresses::Sockets(in_words)),
            sockets: Some(sockets),
        }))
    }
}

/// Where servers' own sockets are in the directory of `--run-dir`, which is made if it is missing. Others may get through it, to
/// the public sockets.
pub(crate) fn servers_in(run_dir: &Path) -> anyhow::Result<PathBuf> {
    let dir = std::path::absolute(run_dir).context("--run-dir")?;
    if !dir.exists() {
        let made = std::fs::create_dir_all(&dir)
            .and_then(|()| std::fs::set_permissions(&dir, Permissions::from_mode(0o755)));
        made.with_context(|| format!("--run-dir: {} cannot be made", dir.display()))?;
    }
    Ok(dir.join("servers"))
}

/// The number of a group of this machine.
fn group_number(group: &str) -> anyhow::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let groups = std::fs::read_to_string(GROUPS).context(GROUPS)?;
    find_group(&groups, group).with_context(|| {
        format!("--socket-group {group}: there is no such group in {GROUPS}; give its number")
    })
}

fn find_group(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (this, _password, number) = (fields.next()?, fields.next()?, fields.next()?);
        (this == name).then(|| number.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_their_whole_name() {
        let groups = "root:x:0:\nwww-data:x:33:\nwww:x:34:a,b\nodd\n";
        assert_eq!(find_group(groups, "www-data"), Some(33));
        assert_eq!(find_group(groups, "www"), Some(34));
        assert_eq!(find_group(groups, "ww"), None);
        assert_eq!(find_group(groups, ""), None);
    }
}
