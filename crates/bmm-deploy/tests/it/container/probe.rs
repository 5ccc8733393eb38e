//! This executable as the first process of a container (or of a process that stands for the host): it tries what it is told
//! to try, and tells how it went. Commands come over a socket in the control directory, as a runner's do.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType};
use rustix::thread::{CapabilitySet, CapabilitySets};
use serde::{Deserialize, Serialize};

/// The argument that makes this executable a probe.
pub(crate) const MARKER: &str = "bmm-deploy-probe";
/// Where a probe in a container takes its commands.
const SOCKET: &str = "/run/bmm/probe.sock";

/// Something to try.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Attempt {
    Write {
        path: String,
        mib: u64,
    },
    RaiseCapability,
    BecomeRoot,
    Socket {
        family: u16,
        kind: u32,
    },
    IoUring,
    MemoryFile,
    Namespace,
    Mount,
    /// So many children at a time.
    Fork {
        children: usize,
    },
    Allocate {
        mib: usize,
    },
    ExecuteIn {
        folder: String,
    },
    Dial {
        to: SocketAddr,
    },
    /// A Unix socket without a file.
    DialAbstract {
        name: String,
    },
    Resolve {
        name: String,
    },
    /// Of somebody outside.
    Signal {
        pid: i32,
    },
    Read {
        path: String,
    },
}

/// Something to be there for others, as long as the probe runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Order {
    Try(Attempt),
    Listen(SocketAddr),
    ListenAbstract(String),
}

pub(crate) type Outcome = Result<String, String>;

/// Runs as a probe, if that is what this process was started for, and then does not return.
pub(crate) fn run_if_asked() {
    let mut arguments = std::env::args().skip_while(|argument| argument != MARKER).skip(1);
    match arguments.next().as_deref() {
        None => {}
        Some("serve") => {
            serve(UnixStream::connect(SOCKET).expect("the control socket is there"));
            std::process::exit(0)
        }
        Some("standard-input") => {
            serve_on(io::stdin().lock(), io::stdout().lock());
            std::process::exit(0)
        }
        Some("sleep") => {
            std::thread::sleep(Duration::from_secs(60));
            std::process::exit(0)
        }
        Some("allocate") => {
            let mib: usize = arguments.next().unwrap().parse().unwrap();
            // Zeroes would not be memory yet.
            let memory = vec![1_u8; mib * 1024 * 1024];
            std::process::exit(i32::from(memory.iter().any(|byte| *byte != 1)))
        }
        Some(other) => panic!("no such probe: {other}"),
    }
}

fn serve(stream: UnixStream) {
    serve_on(BufReader::new(stream.try_clone().unwrap()), stream);
}

/// Until the other side goes.
fn serve_on(orders: impl BufRead, mut outcomes: impl Write) {
    for order in orders.lines() {
        let Ok(order) = order else { return };
        let outcome: Outcome =
            follow(serde_json::from_str(&order).unwrap()).map_err(|error| error.to_string());
        let line = serde_json::to_string(&outcome).unwrap();
        if writeln!(outcomes, "{line}")
            .and_then(|()| outcomes.flush())
            .is_err()
        {
            return;
        }
    }
}

fn follow(order: Order) -> io::Result<String> {
    match order {
        Order::Try(attempt) => attempt_it(attempt),
        Order::Listen(at) => {
            let listener = TcpListener::bind(at)?;
            std::thread::spawn(move || listener.incoming().for_each(|stream| greet(stream.unwrap())));
            Ok(String::new())
        }
        Order::ListenAbstract(name) => {
            let listener = UnixListener::bind_addr(&UnixAddr::from_abstract_name(name)?)?;
            std::thread::spawn(move || listener.incoming().for_each(|stream| greet(stream.unwrap())));
            Ok(String::new())
        }
    }
}

const GREETING: &[u8] = b"you have reached me";

fn greet(mut stream: impl Write) {
    let _ = stream.write_all(GREETING);
}

/// Reached is who was heard.
fn hear(mut stream: impl Read) -> io::Result<String> {
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard)?;
    if heard == GREETING {
        Ok("reached".to_owned())
    } else {
        Err(io::Error::other("somebody else answered"))
    }
}

fn attempt_it(attempt: Attempt) -> io::Result<String> {
    match attempt {
        Attempt::Write { path, mib } => {
            let mut file = std::fs::File::create(&path)?;
            let mut written = 0;
            while written < mib {
                if let Err(error) = file.write_all(&vec![0; 1024 * 1024]) {
                    let _ = std::fs::remove_file(&path);
                    return Err(io::Error::other(format!("after {written} MiB: {error}")));
                }
                written += 1;
            }
            std::fs::remove_file(&path)?;
            Ok(format!("{written} MiB"))
        }
        Attempt::RaiseCapability => {
            let set = CapabilitySet::NET_RAW;
            rustix::thread::set_capabilities(
                None,
                CapabilitySets {
                    effective: set,
                    permitted: set,
                    inheritable: CapabilitySet::empty(),
                },
            )?;
            Ok("raised".to_owned())
        }
        Attempt::BecomeRoot => {
            rustix::thread::set_thread_uid(rustix::process::Uid::ROOT)?;
            Ok("root".to_owned())
        }
        Attempt::Socket { family, kind } => {
            rustix::net::socket(AddressFamily::from_raw(family), SocketType::from_raw(kind), None)?;
            Ok("opened".to_owned())
        }
        Attempt::IoUring => {
            io_uring::IoUring::new(4)?;
            Ok("set up".to_owned())
        }
        Attempt::MemoryFile => {
            rustix::fs::memfd_create("probe", rustix::fs::MemfdFlags::CLOEXEC)?;
            Ok("made".to_owned())
        }
        Attempt::Namespace => {
            let own = std::fs::File::open("/proc/self/ns/uts")?;
            let kinds = Some(rustix::thread::LinkNameSpaceType::HostNameAndNISDomainName);
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&own), kinds)?;
            Ok("entered".to_owned())
        }
        Attempt::Mount => {
            rustix::mount::mount(
                "tmpfs",
                "/tmp",
                "tmpfs",
                rustix::mount::MountFlags::empty(),
                None::<&std::ffi::CStr>,
            )?;
            Ok("mounted".to_owned())
        }
        Attempt::Fork { children: wanted } => {
            let mut children = Vec::new();
            let outcome = loop {
                if children.len() == wanted {
                    break Ok(format!("{wanted} children"));
                }
                match again("sleep").spawn() {
                    Ok(child) => children.push(child),
                    Err(error) => {
                        break Err(io::Error::other(format!(
                            "after {} children: {error}",
                            children.len()
                        )));
                    }
                }
            };
            for mut child in children {
                child.kill()?;
                child.wait()?;
            }
            outcome
        }
        Attempt::Allocate { mib } => {
            let status = again("allocate").arg(mib.to_string()).status()?;
            if status.success() {
                Ok(format!("{mib} MiB"))
            } else {
                Err(io::Error::other(status.to_string()))
            }
        }
        Attempt::ExecuteIn { folder } => {
            // Small, and an executable: the loader of this one.
            let maps = std::fs::read_to_string("/proc/self/maps")?;
            let loader = maps
                .lines()
                .filter_map(|line| line.find('/').map(|at| &line[at..]))
                .find(|path| path.contains("/ld-"))
                .expect("this test is a dynamic executable");
            let copy = format!("{folder}/program");
            std::fs::write(&copy, std::fs::read(loader)?)?;
            std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755))?;
            let outcome = Command::new(&copy)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            std::fs::remove_file(&copy)?;
            outcome.map(|status| status.to_string())
        }
        Attempt::Dial { to } => hear(TcpStream::connect_timeout(&to, Duration::from_secs(2))?),
        Attempt::DialAbstract { name } => {
            hear(UnixStream::connect_addr(&UnixAddr::from_abstract_name(name)?)?)
        }
        Attempt::Resolve { name } => {
            let found = std::net::ToSocketAddrs::to_socket_addrs(&(name.as_str(), 443))?;
            Ok(format!("{:?}", found.collect::<Vec<_>>()))
        }
        Attempt::Signal { pid } => {
            let pid = rustix::process::Pid::from_raw(pid).expect("is not 0");
            rustix::process::test_kill_process(pid)?;
            Ok("may be signalled".to_owned())
        }
        Attempt::Read { path } => {
            let mut bytes = Vec::new();
            std::fs::File::open(path)?.take(4096).read_to_end(&mut bytes)?;
            if bytes.is_empty() {
                return Err(io::Error::other("nothing to be read"));
            }
            Ok(format!("{} bytes", bytes.len()))
        }
    }
}

fn again(role: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .args([MARKER, role])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}
