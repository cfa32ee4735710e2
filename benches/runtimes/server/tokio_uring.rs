//! tokio-uring: one write operation for each delivery; all of a fan-out are in flight together, so that they share system calls.

use anyhow::Result;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio_uring::net::{TcpListener, TcpStream};

use super::{Meter, frame, listen};
use crate::Load;

pub(super) fn run(load: Load) -> Result<()> {
    let entries = u32::try_from(load.members.next_power_of_two())?.min(32_768);
    let mut builder = tokio_uring::builder();
    builder.entries(entries);
    builder.start(async {
        let listener = TcpListener::from_std(listen()?);
        let mut members: Vec<TcpStream> = Vec::with_capacity(load.members);
        while members.len() < load.members {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            members.push(stream);
        }
        let frame = frame(load);
        let meter = Meter::start(load)?;
        for _ in 0..load.fanouts {
            let mut writes: FuturesUnordered<_> = members.iter().map(|member| member.write_all(frame)).collect();
            while let Some((outcome, _)) = writes.next().await {
                outcome?;
            }
        }
        meter.stop()
    })
}
