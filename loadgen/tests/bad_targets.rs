//! Claim: whatever is wrong with a target is said in a sentence with the right exit code, and a target that dies in mid-run
//! leaves a partial result that says so.

mod common;

use common::{execute, options, server, small_chats};
use corecast_loadgen::Protocol;
use corecast_loadgen::null::Faults;
use corecast_loadgen::run::{RunOptions, Silent, run};
use corecast_loadgen::summary::Outcome;

fn error_of(options: &RunOptions) -> (u8, String) {
    let error = run(options, &mut Silent).expect_err("the run cannot work");
    (error.exit_code(), error.to_string())
}

#[test]
fn nobody_listens() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (code, text) = error_of(&options(small_chats(), Protocol::CentrifugeJson, address));
    assert_eq!(code, 69);
    assert!(text.contains("cannot reach") && text.contains("refused"), "{text}");
}

#[test]
fn the_upgrade_is_refused() {
    let server = server(Faults { refuse_upgrades: true, ..Faults::default() });
    let (code, text) = error_of(&options(small_chats(), Protocol::CentrifugeJson, server.address()));
    assert_eq!(code, 69);
    assert!(text.contains("503") && text.contains("refused on purpose"), "{text}");
}

#[test]
fn something_else_listens_there() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut stream, b"220 mail.example ESMTP\r\n\r\n").unwrap();
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
    });
    let (code, text) = error_of(&options(small_chats(), Protocol::CentrifugeJson, address));
    assert_eq!(code, 69);
    assert!(text.contains("does not speak centrifuge-json"), "{text}");
    answer.join().unwrap();
}

#[test]
fn the_command_line_is_wrong() {
    let mut wrong = RunOptions::new(small_chats());
    assert_eq!(error_of(&wrong).0, 2);
    wrong.targets = vec!["ftp://x".to_owned()];
    assert_eq!(error_of(&wrong).0, 2);
    wrong.targets = vec!["127.0.0.1:1".to_owned()];
    wrong.scenario.thresholds = vec!["delivery.p99<5ms".to_owned()];
    let (code, text) = error_of(&wrong);
    assert_eq!(code, 2);
    assert!(text.contains("there are deliver"), "{text}");
    wrong.scenario.chats[0].size = 1;
    assert_eq!(error_of(&wrong).0, 78);
}

#[test]
fn a_target_that_dies_leaves_a_partial_result() {
    let faults = Faults { die: Some(300), ..Faults::default() };
    let summary = execute(small_chats(), Protocol::CentrifugeJson, faults).unwrap().summary;
    assert_eq!(summary.verdict.outcome, Outcome::Partial, "{:?}", summary.verdict);
    assert!(summary.verdict.reasons[0].contains("ended early"), "{:?}", summary.verdict);
    assert!(summary.counts.truth.received > 1_000, "what came before is kept: {:?}", summary.counts.truth);
    assert!(summary.latencies["deliver"].percentiles.count > 1_000);
    assert!(summary.counts.disconnected() > 0);
}
