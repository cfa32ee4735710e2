//! The client: as many connections as asked for, each read until the server closes it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;

/// Connections of one source address: well below the 28,232 ephemeral ports of the default range.
const PER_SOURCE: usize = 20_000;

/// Connects and reads until all connections are closed.
pub(crate) fn run(target: SocketAddr, members: usize) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut readers = Vec::with_capacity(members);
        for number in 0..members {
            let socket = TcpSocket::new_v4()?;
            let host = u8::try_from(1 + number / PER_SOURCE)?;
            socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, host)), 0))?;
            let mut stream = socket.connect(target).await.with_context(|| format!("connection {number}"))?;
            readers.push(tokio::spawn(async move {
                let mut buffer = [0; 4_096];
                let mut total = 0_u64;
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    total += count as u64;
                }
                total
            }));
        }
        let mut total = 0;
        for reader in readers {
            total += reader.await?;
        }
        println!("{total}");
        Ok(())
    })
}
