//! One blocking `send` call for each delivery.

use std::io::Write;

use anyhow::Result;

use super::{Meter, frame, listen};
use crate::Load;

pub(super) fn run(load: Load) -> Result<()> {
    let listener = listen()?;
    let mut members = Vec::with_capacity(load.members);
    while members.len() < load.members {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        members.push(stream);
    }
    let frame = frame(load);
    let meter = Meter::start(load)?;
    for _ in 0..load.fanouts {
        for member in &mut members {
            member.write_all(frame)?;
        }
    }
    meter.stop()
}
