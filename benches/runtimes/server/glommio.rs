//! glommio: one write for each delivery; all of a fan-out are in flight together.

use anyhow::{Result, anyhow};
use futures_util::stream::FuturesUnordered;
use futures_util::{AsyncWriteExt, StreamExt};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement};

use super::{Meter, frame};
use crate::Load;

pub(super) fn run(load: Load, cpu: Option<usize>) -> Result<()> {
    let placement = cpu.map_or(Placement::Unbound, Placement::Fixed);
    let executor = LocalExecutorBuilder::new(placement).make().map_err(|error| anyhow!("{error}"))?;
    executor.run(async {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| anyhow!("{error}"))?;
        println!("listening {}", listener.local_addr().map_err(|error| anyhow!("{error}"))?);
        let mut members: Vec<TcpStream> = Vec::with_capacity(load.members);
        while members.len() < load.members {
            let stream = listener.accept().await.map_err(|error| anyhow!("{error}"))?;
            stream.set_nodelay(true).map_err(|error| anyhow!("{error}"))?;
            members.push(stream);
        }
        let frame = frame(load);
        let meter = Meter::start(load)?;
        for _ in 0..load.fanouts {
            let mut writes: FuturesUnordered<_> = members.iter_mut().map(|member| member.write_all(frame)).collect();
            while let Some(outcome) = writes.next().await {
                outcome?;
            }
        }
        meter.stop()
    })
}
