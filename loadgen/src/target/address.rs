//! Where a target is: `ws://host:port/path`, `host:port`, or `unix:/path` (`unix:@name` for an abstract one).

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs as _};

/// A parsed, resolved target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// As the user wrote it.
    pub text: String,
    pub peer: Peer,
    /// For the `Host` header.
    pub host: String,
    /// Empty if the user gave none: the protocol's convention applies.
    pub path: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Peer {
    Tcp(SocketAddr),
    Unix(String),
}

/// Why a target cannot be used. Blame: the command line, except for names that do not resolve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("{0}: TLS is not supported yet; use ws:// and, for the comparison, the target's plain port")]
    Tls(String),
    #[error("{0}: not a target; write ws://HOST:PORT/PATH, HOST:PORT or unix:/path/to/socket")]
    Malformed(String),
    #[error("{0}: the host name does not resolve: {1}")]
    Unresolved(String, String),
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Self, AddressError> {
        let malformed = || AddressError::Malformed(text.to_owned());
        if text.starts_with("wss://") || text.starts_with("https://") {
            return Err(AddressError::Tls(text.to_owned()));
        }
        if let Some(path) = text.strip_prefix("unix:") {
            let peer = Peer::Unix(path.to_owned());
            let host = "localhost".to_owned();
            let usable = !path.is_empty();
            return usable
                .then_some(Self { text: text.to_owned(), peer, host, path: String::new() })
                .ok_or_else(malformed);
        }
        let rest = text.strip_prefix("ws://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        if rest.contains("://") || rest.is_empty() {
            return Err(malformed());
        }
        let slash = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(slash);
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let bare = authority.starts_with('[') && authority.ends_with(']');
        let with_port = if has_port && !bare { authority.to_owned() } else { format!("{authority}:80") };
        let resolved = with_port
            .to_socket_addrs()
            .map_err(|error| match authority.contains(char::is_whitespace) || authority.is_empty() {
                true => malformed(),
                false => AddressError::Unresolved(text.to_owned(), error.to_string()),
            })?
            .next()
            .ok_or_else(|| AddressError::Unresolved(text.to_owned(), "no address".to_owned()))?;
        Ok(Self { text: text.to_owned(), peer: Peer::Tcp(resolved), host: authority.to_owned(), path: path.to_owned() })
    }

    /// On this host, so that one clock, its CPU figures and its memory are within reach.
    pub(crate) fn is_local(&self) -> bool {
        match self.peer {
            Peer::Tcp(address) => address.ip().is_loopback(),
            Peer::Unix(_) => true,
        }
    }

    pub(crate) fn port(&self) -> Option<u16> {
        match self.peer {
            Peer::Tcp(address) => Some(address.port()),
            Peer::Unix(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_people_write() {
        for (text, port, path) in [
            ("ws://127.0.0.1:8000/connection/websocket", 8000, "/connection/websocket"),
            ("127.0.0.1:9000", 9000, ""),
            ("ws://[::1]:7/x?y=1", 7, "/x?y=1"),
            ("ws://127.0.0.1/", 80, "/"),
            ("[::1]", 80, ""),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.port(), address.path.as_str()), (Some(port), path), "{text}");
            assert!(address.is_local());
        }
        assert_eq!(Address::parse("unix:@x").unwrap().peer, Peer::Unix("@x".to_owned()));
    }

    #[test]
    fn what_is_no_target_is_refused_with_a_hint() {
        assert!(matches!(Address::parse("wss://a:1/"), Err(AddressError::Tls(_))));
        for text in ["", "ftp://x:1", "unix:", "a b:1"] {
            assert!(matches!(Address::parse(text), Err(AddressError::Malformed(_))), "{text}");
        }
    }
}
