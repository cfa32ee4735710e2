//! Addresses and listeners.
//!
//! Invariants worth naming:
//! - Accepted sockets inherit their options from the listener (TCP_NODELAY, SO_SNDBUF, SO_RCVBUF): a direct descriptor
//!   cannot be given options before kernel 6.7, so they are set here, before `listen`.
//! - Listeners that share a port by SO_REUSEPORT are numbered by the kernel in the order in which they started to
//!   listen; [`Listener::steer_by_cpu`] depends on it.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::socket::{self, RawAddress};

/// Where a Unix stream socket listens. Parsed from text: `@name` is abstract, anything else a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UnixAddr {
    /// A path in the file system, 1 to 107 bytes.
    Path(PathBuf),
    /// A name in the abstract namespace (unix(7)), 1 to 107 bytes; vanishes with its last socket.
    Abstract(Vec<u8>),
}

impl FromStr for UnixAddr {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.strip_prefix('@') {
            Some(name) => Self::Abstract(name.as_bytes().to_vec()),
            None => Self::Path(PathBuf::from(text)),
        })
    }
}

impl fmt::Display for UnixAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
        }
    }
}

/// Whom to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A TCP address.
    Tcp {
        /// The address to connect to.
        addr: SocketAddr,
        /// The local address to use. Port 0 lets the kernel choose the port at connect time
        /// (IP_BIND_ADDRESS_NO_PORT), so that one source address serves as many connections as it has ports *per
        /// target*.
        source: Option<SocketAddr>,
    },
    /// A Unix stream socket.
    Unix(UnixAddr),
}

/// Who connected to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerAddr {
    /// A TCP peer.
    Tcp(SocketAddr),
    /// A process on this host, through a Unix socket.
    Unix,
}

/// Where a listener really listens (port 0 resolved).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddr {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(UnixAddr),
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(addr) => addr.fmt(f),
        }
    }
}

/// Accept backlog asked for by default; the kernel caps it at `net.core.somaxconn`.
pub const DEFAULT_BACKLOG: u32 = 4_096;

/// Options of a TCP listener and, by inheritance, of the sockets that it accepts.
#[derive(Clone, Debug)]
pub struct TcpOptions {
    /// Accept backlog, connections; default [`DEFAULT_BACKLOG`]. Beyond it the kernel drops the final ACK of a
    /// connect, which then retries: connects slow down, none fails.
    pub backlog: u32,
    /// SO_REUSEPORT, so that every core has its own listener on one port; default true.
    pub reuse_port: bool,
    /// SO_SNDBUF in bytes before the kernel doubles it; default: none, the kernel tunes it by `tcp_wmem`. Bounds
    /// kernel memory per slow member; a fixed size turns auto-tuning off.
    pub send_buffer: Option<u32>,
    /// SO_RCVBUF in bytes before the kernel doubles it; default: none, tuned by `tcp_rmem`.
    pub receive_buffer: Option<u32>,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self { backlog: DEFAULT_BACKLOG, reuse_port: true, send_buffer: None, receive_buffer: None }
    }
}

/// A bound, listening socket, ready for [`Reactor::listen`](crate::Reactor::listen).
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    address: ListenAddr,
}

impl Listener {
    /// Listens on a TCP address (port 0: any free port) with TCP_NODELAY and SO_REUSEADDR. An IPv6 wildcard serves
    /// IPv4 too (`net.ipv6.bindv6only` = 0).
    pub fn tcp(address: SocketAddr, options: &TcpOptions) -> io::Result<Self> {
        let raw = RawAddress::inet(address);
        let fd = socket::stream_socket(raw.family())?;
        let socket = fd.as_fd();
        socket::set_option(socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
        if options.reuse_port {
            socket::set_option(socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        }
        socket::set_option(socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
        for (name, size) in [(libc::SO_SNDBUF, options.send_buffer), (libc::SO_RCVBUF, options.receive_buffer)] {
            if let Some(bytes) = size {
                let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
                socket::set_option(socket, libc::SOL_SOCKET, name, bytes)?;
            }
        }
        socket::bind(socket, &raw)?;
        socket::listen(socket, options.backlog)?;
        let local = socket::local_address(socket)?.to_inet().unwrap_or(address);
        Ok(Self { fd, address: ListenAddr::Tcp(local) })
    }

    /// Listens on a Unix stream socket. A path left behind by a process that is gone is replaced; one that somebody
    /// listens on, or that is not a socket, is an error (`AddrInUse`). The path is removed when the listener is
    /// dropped.
    pub fn unix(address: &UnixAddr, backlog: u32) -> io::Result<Self> {
        let raw = RawAddress::unix(address)?;
        let fd = socket::stream_socket(libc::AF_UNIX)?;
        match socket::bind(fd.as_fd(), &raw) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let UnixAddr::Path(path) = address else {
                    return Err(error);
                };
                remove_abandoned(path, &raw, error)?;
                socket::bind(fd.as_fd(), &raw)?;
            }
            other => other?,
        }
        socket::listen(fd.as_fd(), backlog)?;
        Ok(Self { fd, address: ListenAddr::Unix(address.clone()) })
    }

    /// Where it listens, with the port that the kernel chose.
    pub fn local_addr(&self) -> &ListenAddr {
        &self.address
    }

    /// Steers new connections to the listener of the CPU that received the packet: `cpus[i]` is the CPU of the i-th
    /// listener of this port, in the order in which they started to listen. A packet taken on any other CPU is spread
    /// by hash, as without steering. Worth it only where each listener's core takes its own receive queue's
    /// interrupts. Attach once, to any listener of the group (SO_ATTACH_REUSEPORT_CBPF, socket(7)).
    pub fn steer_by_cpu(&self, cpus: &[usize]) -> io::Result<()> {
        let mut program = steering_program(cpus)?;
        let attached = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        let option = libc::SO_ATTACH_REUSEPORT_CBPF;
        socket::set_option_to(self.fd.as_fd(), libc::SOL_SOCKET, option, &attached)
    }

    /// The send buffer that accepted sockets start with, in bytes, as the kernel counts it (twice what was asked for).
    pub fn send_buffer_bytes(&self) -> io::Result<u32> {
        let bytes = socket::option(self.fd.as_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF)?;
        Ok(u32::try_from(bytes).unwrap_or(0))
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let ListenAddr::Unix(UnixAddr::Path(path)) = &self.address {
            // Nobody can act on a failure here, and the next start replaces an abandoned path anyway.
            let _ = fs::remove_file(path);
        }
    }
}

/// Removes the socket file at `path` if nobody listens on it; otherwise returns `in_use`.
fn remove_abandoned(path: &Path, raw: &RawAddress, in_use: io::Error) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(in_use);
    }
    let probe = socket::stream_socket(libc::AF_UNIX)?;
    match socket::connect_now(probe.as_fd(), raw) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Err(in_use),
    }
}

/// Classic BPF: load the current CPU, return the index of the first entry that equals it, otherwise an index that no
/// listener has (the kernel then falls back to hashing).
fn steering_program(cpus: &[usize]) -> io::Result<Vec<libc::sock_filter>> {
    /// `BPF_MAXINSNS` is 4,096; two instructions a CPU, one to load and one to fall back.
    const CPUS_MAX: usize = (4_096 - 2) / 2;
    const LOAD_WORD_ABSOLUTE: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const CURRENT_CPU: u32 = (-0x1000 + 36_i32) as u32; // SKF_AD_OFF + SKF_AD_CPU, linux/filter.h

    let invalid = |message| io::Error::new(io::ErrorKind::InvalidInput, message);
    if cpus.is_empty() || cpus.len() > CPUS_MAX {
        return Err(invalid("steering needs 1 to 2,047 CPUs"));
    }
    let instruction = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = vec![instruction(LOAD_WORD_ABSOLUTE, 0, 0, CURRENT_CPU)];
    for (index, &cpu) in cpus.iter().enumerate() {
        let cpu = u32::try_from(cpu).map_err(|_| invalid("a CPU number has 32 bits"))?;
        program.push(instruction(JUMP_IF_EQUAL, 0, 1, cpu));
        program.push(instruction(RETURN, 0, 0, index as u32));
    }
    program.push(instruction(RETURN, 0, 0, u32::MAX));
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[test]
    fn listeners_share_a_port_and_can_be_steered() {
        let first = Listener::tcp(loopback(), &TcpOptions::default()).unwrap();
        let ListenAddr::Tcp(address) = *first.local_addr() else {
            panic!("a TCP listener has a TCP address");
        };
        assert_ne!(address.port(), 0);
        let second = Listener::tcp(address, &TcpOptions::default()).unwrap();
        assert_eq!(second.local_addr(), first.local_addr());
        second.steer_by_cpu(&[0, 1]).unwrap();
        assert!(second.steer_by_cpu(&[]).is_err());
    }

    /// Where a connection made on `cpu` arrives: loopback takes its packets on the CPU that sends them.
    fn arrives_at(cpu: usize, address: SocketAddr, listeners: &[std::net::TcpListener]) -> usize {
        let client = move || {
            crate::affinity::pin(cpu).unwrap();
            std::net::TcpStream::connect(address).unwrap()
        };
        let _client = std::thread::spawn(client).join().unwrap();
        let accepted = listeners.iter().position(|listener| listener.accept().is_ok());
        accepted.expect("a connection that is established waits at one of the listeners")
    }

    #[test]
    fn connections_go_to_the_listener_of_the_cpu_that_took_them() {
        let cpus = crate::affinity::available().unwrap();
        let options = TcpOptions::default();
        let mut group = vec![Listener::tcp(loopback(), &options).unwrap()];
        let ListenAddr::Tcp(address) = *group[0].local_addr() else {
            panic!("a TCP listener has a TCP address");
        };
        group.extend((1..=cpus.len()).map(|_| Listener::tcp(address, &options).unwrap()));
        let listeners: Vec<std::net::TcpListener> = group
            .iter()
            .map(|listener| listener.as_fd().try_clone_to_owned().unwrap().into())
            .inspect(|listener: &std::net::TcpListener| listener.set_nonblocking(true).unwrap())
            .collect();
        // Backwards, and behind a listener of a CPU that no machine has: the number of a CPU is not that of its listener.
        let map: Vec<usize> = std::iter::once(1 << 20).chain(cpus.iter().rev().copied()).collect();
        group[0].steer_by_cpu(&map).unwrap();
        for _ in 0..20 {
            for (index, &cpu) in map.iter().enumerate().skip(1) {
                assert_eq!(arrives_at(cpu, address, &listeners), index, "CPU {cpu}");
            }
        }
        // Packets of a CPU without a listener are spread by hash: none is lost, none goes astray.
        group[0].steer_by_cpu(&[1 << 20]).unwrap();
        let mut hits = vec![0; listeners.len()];
        for _ in 0..200 {
            hits[arrives_at(cpus[0], address, &listeners)] += 1;
        }
        assert!(hits.iter().all(|hits| *hits > 0), "{hits:?}");
    }

    #[test]
    fn a_taken_port_is_an_error() {
        let options = TcpOptions { reuse_port: false, ..TcpOptions::default() };
        let first = Listener::tcp(loopback(), &options).unwrap();
        let ListenAddr::Tcp(address) = *first.local_addr() else {
            panic!("a TCP listener has a TCP address");
        };
        let error = Listener::tcp(address, &options).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn an_abandoned_path_is_replaced_and_a_live_one_is_not() {
        let path = std::env::temp_dir().join(format!("corecast-ring-{}.sock", std::process::id()));
        let address = UnixAddr::Path(path.clone());
        // std's listener leaves its path behind when dropped.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let live = Listener::unix(&address, 16).unwrap();
        let error = Listener::unix(&address, 16).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(live);
        assert!(!path.exists());
        fs::write(&path, b"not a socket").unwrap();
        let error = Listener::unix(&address, 16).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn unix_addresses_parse_and_print() {
        let named: UnixAddr = "@corecast".parse().unwrap();
        assert_eq!(named, UnixAddr::Abstract(b"corecast".to_vec()));
        assert_eq!(named.to_string(), "@corecast");
        let path: UnixAddr = "/run/corecast.sock".parse().unwrap();
        assert_eq!(path, UnixAddr::Path("/run/corecast.sock".into()));
    }
}
