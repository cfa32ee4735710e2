//! A TCP proxy in user space: the kernel under test has no netem, so cuts and stalls happen here.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the proxy does to the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Passes everything on at once.
    Pass,
    /// Passes everything on in pieces of one byte.
    Dribble,
    /// Holds everything back; connections stay open.
    Stall,
    /// Closes connections and refuses new ones.
    Cut,
}

/// A listening proxy; dropping it ends it.
pub struct Proxy {
    /// Where to connect in place of the target.
    pub address: SocketAddr,
    mode: Arc<watch::Sender<Mode>>,
}

impl Proxy {
    /// Starts a proxy to `target` on a free port of loopback.
    ///
    /// # Errors
    /// Of the listening socket.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mode = Arc::new(watch::Sender::new(Mode::Pass));
        let modes = mode.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *modes.borrow() == Mode::Cut {
                    continue;
                }
                let modes = modes.clone();
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(target).await {
                        let (client_in, client_out) = client.into_split();
                        let (server_in, server_out) = server.into_split();
                        tokio::spawn(pump(client_in, server_out, modes.clone()));
                        pump(server_in, client_out, modes).await;
                    }
                });
            }
        });
        Ok(Self { address, mode })
    }

    /// Changes what happens to bytes from now on.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut modes: watch::Receiver<Mode>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let mode = *modes.borrow_and_update();
        let read = tokio::select! {
            changed = modes.changed() => if changed.is_err() { return } else { continue },
            read = from.read(&mut buffer), if mode != Mode::Stall && mode != Mode::Cut => read,
            () = std::future::ready(()), if mode == Mode::Cut => return,
        };
        let Ok(count @ 1..) = read else { return };
        let pieces = buffer[..count].chunks(if mode == Mode::Dribble { 1 } else { count });
        for piece in pieces {
            if to.write_all(piece).await.is_err() {
                return;
            }
        }
    }
}
