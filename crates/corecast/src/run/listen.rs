//! Taking ports, with messages that name the cause and the fix.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use crate::exit::Failure;

/// The kernel tears a killed process's rings down after its end, and with them the listeners they hold: a restart right
/// after a crash must not fail on its own predecessor.
const PREDECESSOR_GONE: Duration = Duration::from_secs(2);
const RETRY_EVERY: Duration = Duration::from_millis(50);

/// Binds the admin port.
pub(super) fn bind(address: SocketAddr, key: &str, flag: &str) -> Result<TcpListener, Failure> {
    let listener = patiently(address).map_err(|error| explain(address, key, flag, &error))?;
    let ready = listener.set_nonblocking(true);
    ready.map_err(|error| Failure::Runtime(format!("cannot prepare {address} ({key}): {error}")))?;
    Ok(listener)
}

/// Finds out whether a port is free. The gateway's listeners share theirs (`SO_REUSEPORT`), so that without this a second
/// gateway on the same port would start and take half of the first one's clients.
pub(super) fn probe(address: SocketAddr, key: &str, flag: &str) -> Result<(), Failure> {
    if address.port() == 0 {
        return Ok(());
    }
    patiently(address).map(drop).map_err(|error| explain(address, key, flag, &error))
}

fn patiently(address: SocketAddr) -> io::Result<TcpListener> {
    let deadline = Instant::now() + PREDECESSOR_GONE;
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(RETRY_EVERY);
            }
            outcome => return outcome,
        }
    }
}

fn explain(address: SocketAddr, key: &str, flag: &str, error: &io::Error) -> Failure {
    let cause = match error.kind() {
        ErrorKind::AddrInUse => {
            format!("the port is in use. Stop what listens there (`ss -ltnp 'sport = :{}'` shows it)", address.port())
        }
        ErrorKind::AddrNotAvailable => {
            "this host has no such address. Use 0.0.0.0 or one of `ip -brief address`".to_owned()
        }
        ErrorKind::PermissionDenied => "ports below 1024 need the capability CAP_NET_BIND_SERVICE".to_owned(),
        _ => error.to_string(),
    };
    Failure::Unavailable(format!("cannot listen on {address} ({key}): {cause}, or choose another with {flag}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_named_with_the_way_out() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        for failure in [
            probe(address, "gateway.listen", "--listen").unwrap_err(),
            bind(address, "gateway.listen", "--listen").unwrap_err(),
        ] {
            let text = failure.to_string();
            for part in [address.to_string().as_str(), "gateway.listen", "in use", "--listen"] {
                assert!(text.contains(part), "{part} is missing in: {text}");
            }
            assert_eq!(failure.code(), 69);
        }
        drop(taken);
        probe(address, "gateway.listen", "--listen").unwrap();
    }
}
