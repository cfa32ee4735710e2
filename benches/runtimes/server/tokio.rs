//! tokio on epoll: a `try_write` for each delivery, waiting for writability only where the socket is full.

use anyhow::Result;
use tokio::io::AsyncWriteExt;

use super::{Meter, frame, listen};
use crate::Load;

pub(super) fn run(load: Load) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = listen()?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let mut members = Vec::with_capacity(load.members);
        while members.len() < load.members {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            members.push(stream);
        }
        // tokio learns that a fresh socket is writable from its first event only.
        for member in &members {
            member.writable().await?;
        }
        let frame = frame(load);
        let meter = Meter::start(load)?;
        for _ in 0..load.fanouts {
            for member in &mut members {
                let written = member.try_write(frame).unwrap_or(0);
                if written < frame.len() {
                    member.write_all(&frame[written..]).await?;
                }
            }
        }
        meter.stop()
    })
}
