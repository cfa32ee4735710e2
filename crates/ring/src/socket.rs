//! Thin safe wrappers around the socket calls that std does not offer before `bind`.
//!
//! Invariant: a descriptor is owned (`OwnedFd`) from the moment the kernel returned it, so an early return closes it.

use std::ffi::c_int;
use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use crate::net::{PeerAddr, UnixAddr};

/// A socket address in the kernel's form.
#[derive(Clone, Copy)]
pub(crate) struct RawAddress {
    storage: libc::sockaddr_storage,
    length: libc::socklen_t,
}

impl RawAddress {
    /// An address to be filled in by the kernel.
    fn empty() -> Self {
        Self {
            // SAFETY: `sockaddr_storage` is plain data; all zeroes is the valid value of family AF_UNSPEC.
            storage: unsafe { mem::zeroed() },
            length: size_of::<libc::sockaddr_storage>() as libc::socklen_t,
        }
    }

    fn of<T>(address: T) -> Self {
        const { assert!(size_of::<T>() <= size_of::<libc::sockaddr_storage>()) };
        let mut raw = Self::empty();
        // SAFETY: `storage` is at least as large and as aligned as any sockaddr type, and `T` is such a plain type.
        unsafe { (&raw mut raw.storage).cast::<T>().write(address) };
        raw.length = size_of::<T>() as libc::socklen_t;
        raw
    }

    pub(crate) fn inet(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => Self::of(libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(v6) => Self::of(libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            }),
        }
    }

    pub(crate) fn unix(address: &UnixAddr) -> io::Result<Self> {
        let (name, offset) = match address {
            UnixAddr::Path(path) => (path.as_os_str().as_bytes(), 0),
            UnixAddr::Abstract(name) => (name.as_slice(), 1),
        };
        let mut raw = libc::sockaddr_un { sun_family: libc::AF_UNIX as libc::sa_family_t, sun_path: [0; 108] };
        // A path keeps its terminating zero; an abstract name starts with one and has no terminator (unix(7)).
        if name.is_empty() || name.len() > raw.sun_path.len() - 1 || (offset == 0 && name.contains(&0)) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a Unix socket name has 1 to 107 bytes, a path no zero byte",
            ));
        }
        for (to, from) in raw.sun_path[offset..].iter_mut().zip(name) {
            *to = *from as libc::c_char;
        }
        let mut address = Self::of(raw);
        address.length = (mem::offset_of!(libc::sockaddr_un, sun_path) + 1 + name.len()) as libc::socklen_t;
        Ok(address)
    }

    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    pub(crate) fn len(&self) -> libc::socklen_t {
        self.length
    }

    pub(crate) fn family(&self) -> c_int {
        c_int::from(self.storage.ss_family)
    }

    /// The IP form; `None` for other families.
    pub(crate) fn to_inet(self) -> Option<SocketAddr> {
        match self.family() {
            libc::AF_INET => {
                // SAFETY: the family says that the storage holds a `sockaddr_in`, which any bit pattern is valid for.
                let v4 = unsafe { (&raw const self.storage).cast::<libc::sockaddr_in>().read() };
                let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: the family says that the storage holds a `sockaddr_in6`, which any bit pattern is valid for.
                let v6 = unsafe { (&raw const self.storage).cast::<libc::sockaddr_in6>().read() };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), v6.sin6_flowinfo, v6.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}

/// A blocking, close-on-exec stream socket. Blocking on purpose: io_uring answers `EAGAIN` instead of waiting on a
/// non-blocking descriptor, and nothing here ever calls a blocking operation on it directly.
pub(crate) fn stream_socket(family: c_int) -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd = check(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just returned this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(crate) fn set_option(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    set_option_to(fd, level, name, &value)
}

/// `setsockopt` with a plain-data value of any type.
pub(crate) fn set_option_to<T: Copy>(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: pointer and length describe `value`, which lives across the call.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const *value).cast(), length) })?;
    Ok(())
}

pub(crate) fn option(fd: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<c_int> {
    let mut value: c_int = 0;
    let mut length = size_of::<c_int>() as libc::socklen_t;
    let target = (&raw mut value).cast();
    // SAFETY: pointer and length describe `value`, which lives across the call.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, target, &raw mut length) })?;
    Ok(value)
}

pub(crate) fn bind(fd: BorrowedFd<'_>, address: &RawAddress) -> io::Result<()> {
    // SAFETY: pointer and length describe `address`, which lives across the call.
    check(unsafe { libc::bind(fd.as_raw_fd(), address.as_ptr(), address.len()) })?;
    Ok(())
}

pub(crate) fn listen(fd: BorrowedFd<'_>, backlog: u32) -> io::Result<()> {
    let backlog = c_int::try_from(backlog).unwrap_or(c_int::MAX);
    // SAFETY: no pointers are passed.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) })?;
    Ok(())
}

/// Connects at once; used only to ask whether anybody listens on a Unix path.
pub(crate) fn connect_now(fd: BorrowedFd<'_>, address: &RawAddress) -> io::Result<()> {
    // SAFETY: pointer and length describe `address`, which lives across the call.
    check(unsafe { libc::connect(fd.as_raw_fd(), address.as_ptr(), address.len()) })?;
    Ok(())
}

pub(crate) fn local_address(fd: BorrowedFd<'_>) -> io::Result<RawAddress> {
    let mut address = RawAddress::empty();
    let (storage, length) = ((&raw mut address.storage).cast(), &raw mut address.length);
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `storage`.
    check(unsafe { libc::getsockname(fd.as_raw_fd(), storage, length) })?;
    Ok(address)
}

/// The peer's address; fails with `ENOTCONN` if the peer has left already.
pub(crate) fn peer_address(fd: BorrowedFd<'_>) -> io::Result<PeerAddr> {
    let mut address = RawAddress::empty();
    let (storage, length) = ((&raw mut address.storage).cast(), &raw mut address.length);
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `storage`.
    check(unsafe { libc::getpeername(fd.as_raw_fd(), storage, length) })?;
    Ok(address.to_inet().map_or(PeerAddr::Unix, PeerAddr::Tcp))
}

/// Turns the C convention (−1 and `errno`) into a `Result`.
pub(crate) fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inet_addresses_survive_the_round_trip() {
        for text in ["127.0.0.1:80", "[::1]:65535", "[fe80::1%7]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(RawAddress::inet(address).to_inet(), Some(address));
        }
    }

    #[test]
    fn unix_names_have_limits() {
        assert!(RawAddress::unix(&UnixAddr::Abstract(vec![b'a'; 107])).is_ok());
        assert!(RawAddress::unix(&UnixAddr::Abstract(vec![b'a'; 108])).is_err());
        assert!(RawAddress::unix(&UnixAddr::Abstract(Vec::new())).is_err());
        assert!(RawAddress::unix(&UnixAddr::Path("/tmp/a\0b".into())).is_err());
        assert_eq!(RawAddress::unix(&UnixAddr::Path("/a".into())).unwrap().len(), 2 + 2 + 1);
    }
}
