//! A TCP proxy in user space: the kernel under test has no netem, so cuts, stalls and damage happen here.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    /// Passes everything on at once with one bit flipped in every so many bytes (1 or more) on average, in both directions.
    /// Which bits is random, but the same in each run.
    Flip(usize),
}

/// A listening proxy; dropping it ends it.
pub struct Proxy {
    /// Where to connect in place of the target.
    pub address: SocketAddr,
    mode: Arc<watch::Sender<Mode>>,
    connections: Arc<AtomicUsize>,
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
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = counter.fetch_add(1, Ordering::Relaxed) as u64;
                if *modes.borrow() == Mode::Cut {
                    continue;
                }
                let modes = modes.clone();
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(target).await {
                        let (client_in, client_out) = client.into_split();
                        let (server_in, server_out) = server.into_split();
                        tokio::spawn(pump(client_in, server_out, modes.clone(), Damage::new(2 * number)));
                        pump(server_in, client_out, modes, Damage::new(2 * number + 1)).await;
                    }
                });
            }
        });
        Ok(Self { address, mode, connections })
    }

    /// Connections that were opened to it so far, refused ones included.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
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
    mut damage: Damage,
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
        if let Mode::Flip(every) = mode {
            damage.apply(&mut buffer[..count], every);
        }
        let pieces = buffer[..count].chunks(if mode == Mode::Dribble { 1 } else { count });
        for piece in pieces {
            if to.write_all(piece).await.is_err() {
                return;
            }
        }
    }
}

/// Where the next bit flips: splitmix64, seeded by the number of the connection and its direction.
struct Damage {
    state: u64,
    /// Bytes that still pass intact; not known before the first ones come.
    intact: Option<usize>,
}

impl Damage {
    fn new(seed: u64) -> Self {
        Self { state: seed, intact: None }
    }

    /// Flips one random bit in every so many bytes on average.
    fn apply(&mut self, bytes: &mut [u8], every: usize) {
        let mut at = self.intact.unwrap_or_else(|| self.distance(every) - 1);
        while let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << (self.random() % 8);
            at += self.distance(every);
        }
        self.intact = Some(at - bytes.len());
    }

    /// From one damaged byte to the next: 1 to `2 * every - 1`.
    fn distance(&mut self, every: usize) -> usize {
        1 + usize::try_from(self.random() >> 8).unwrap_or(0) % (2 * every - 1)
    }

    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_as_frequent_as_asked_for_however_the_bytes_are_cut() {
        let mut whole = vec![0; 100_000];
        Damage::new(7).apply(&mut whole, 100);
        let flipped: u32 = whole.iter().map(|byte| byte.count_ones()).sum();
        assert!((800..1_200).contains(&flipped), "{flipped}");

        let mut pieces = vec![0; 100_000];
        let mut damage = Damage::new(7);
        for piece in pieces.chunks_mut(33) {
            damage.apply(piece, 100);
        }
        assert_eq!(whole, pieces);
    }
}
