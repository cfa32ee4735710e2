//! Outgoing connections: a socket of our own, bound if a source address was given, moved into the file table like an
//! accepted one, then connected by the ring.
//!
//! Invariants worth naming:
//! - The address that the kernel reads stays in `addresses` until the kernel has consumed the entry.
//! - Nothing is sent before the connect has ended: `CONNECTING` bars sends.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use io_uring::{opcode, types};

use crate::event::{ConnId, Event};
use crate::net::Target;
use crate::reactor::Reactor;
use crate::socket::{self, RawAddress};
use crate::table::Flags;
use crate::user_data::{self, Kind};

impl Reactor {
    /// Starts to connect; [`Connected`](Event::Connected) or [`ConnectFailed`](Event::ConnectFailed) follows, unless
    /// the caller closes the connection before (its way to end a connect that takes too long). Until then sends are
    /// answered `Busy`, and as always such a connection stays blocked until the caller has sent its outbox (on
    /// `Connected`) and unblocks it. TCP sockets get TCP_NODELAY.
    ///
    /// Fails at once if no slot or descriptor is free (`ENFILE`, `EMFILE`), the source address is not ours, or the
    /// target's name is too long.
    pub fn connect(&mut self, target: &Target) -> io::Result<ConnId> {
        let (socket, address) = open(target)?;
        let conn = self.register(&socket)?;
        // From here on the file table holds the socket.
        drop(socket);
        if let Some(entry) = self.table.get_mut(conn) {
            entry.flags.set(Flags::CONNECTING);
        }
        let address = Box::new(address);
        let connect = opcode::Connect::new(types::Fixed(conn.slot), address.as_ptr(), address.len()).build();
        self.addresses.push(address);
        self.push(connect.user_data(user_data::of(Kind::Connect, conn.slot, conn.generation)));
        self.stats.connects += 1;
        Ok(conn)
    }

    pub(crate) fn handle_connected(&mut self, conn: ConnId, result: i32, events: &mut Vec<Event>) {
        let Some(entry) = self.table.get_mut(conn) else {
            self.stats.stale_completions += 1;
            return;
        };
        entry.flags.clear(Flags::CONNECTING);
        if entry.flags.any(Flags::CLOSING) {
            self.close_if_idle(conn);
        } else if result >= 0 {
            self.arm_receive(conn);
            events.push(Event::Connected { conn });
        } else {
            self.stats.failed_connects += 1;
            self.close(conn);
            events.push(Event::ConnectFailed { conn, error: io::Error::from_raw_os_error(-result) });
        }
    }
}

/// A socket ready to connect, and where to.
fn open(target: &Target) -> io::Result<(OwnedFd, RawAddress)> {
    match target {
        Target::Tcp { addr, source } => {
            let address = RawAddress::inet(*addr);
            let socket = socket::stream_socket(address.family())?;
            socket::set_option(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
            if let Some(source) = source {
                // Also works for IPv6 sockets. Without it `bind` would reserve a port against all targets at once.
                socket::set_option(socket.as_fd(), libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
                socket::bind(socket.as_fd(), &RawAddress::inet(*source))?;
            }
            Ok((socket, address))
        }
        Target::Unix(name) => Ok((socket::stream_socket(libc::AF_UNIX)?, RawAddress::unix(name)?)),
    }
}
