//! Claim: the control client, on which all attacks rely, notices a process that dies and one that hangs.

use std::time::Duration;

use corecast_hostile::stage::Stage;

#[test]
#[should_panic(expected = "disconnects and resets of the control client")]
fn a_process_that_dies() {
    let stage = Stage::start("");
    stage.node().signal("KILL");
    std::thread::sleep(Duration::from_millis(500));
    stage.finish();
}

#[test]
#[should_panic(expected = "the control client heard nothing for")]
fn a_process_that_hangs() {
    let stage = Stage::start("");
    stage.node().signal("STOP");
    std::thread::sleep(Duration::from_millis(2_500));
    stage.node().signal("CONT");
    stage.finish();
}
