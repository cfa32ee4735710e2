//! A send of which the socket takes only a part hands the exact rest back, and the stream stays whole.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::io::Read;

use bytes::Bytes;
use common::{Driver, PATIENCE, pattern, read_exactly, small};
use corecast_ring::SendOutcome;

const FRAMES: usize = 64;
const FRAME_BYTES: usize = 256 * 1024;

#[test]
fn the_rest_of_a_single_frame_follows_without_a_gap() {
    let mut driver = Driver::new(&small());
    let (conn, mut peer) = driver.pair();
    // Larger than any socket buffers of the two sides together.
    let frame = pattern(FRAMES * FRAME_BYTES);
    assert_eq!(driver.send(conn, std::slice::from_ref(&frame)), SendOutcome::Queued);
    let rest = driver.unsent(conn);
    assert_eq!(rest.len(), 1);
    let taken = frame.len() - rest[0].len();
    assert!(taken > 0 && taken < frame.len(), "{taken} bytes were taken");
    assert_eq!(rest[0], frame[taken..]);
    assert_eq!(driver.reactor.stats().short_sends, 1);
    deliver(&mut driver, conn, rest, &frame, &mut peer);
}

#[test]
fn the_rest_of_a_vectored_send_starts_in_the_right_frame() {
    let mut driver = Driver::new(&small());
    let (conn, mut peer) = driver.pair();
    let all = pattern(FRAMES * FRAME_BYTES);
    let frames: Vec<Bytes> =
        (0..FRAMES).map(|index| all.slice(index * FRAME_BYTES..(index + 1) * FRAME_BYTES)).collect();
    assert_eq!(driver.send(conn, &frames), SendOutcome::Queued);
    let rest = driver.unsent(conn);
    assert!(rest.len() <= FRAMES && rest.iter().all(|frame| !frame.is_empty()));
    let left: usize = rest.iter().map(Bytes::len).sum();
    assert_eq!(rest.concat(), all[all.len() - left..]);
    deliver(&mut driver, conn, rest, &all, &mut peer);
}

/// Sends the rest as the owner of an outbox would, while the peer reads slowly, and compares all.
fn deliver(
    driver: &mut Driver,
    conn: corecast_ring::ConnId,
    mut rest: Vec<Bytes>,
    expected: &[u8],
    peer: &mut std::net::TcpStream,
) {
    let mut got = Vec::with_capacity(expected.len());
    let give_up = std::time::Instant::now() + PATIENCE;
    while !rest.is_empty() {
        assert!(std::time::Instant::now() < give_up);
        let mut piece = vec![0; 128 * 1024];
        let count = peer.read(&mut piece).unwrap();
        got.extend_from_slice(&piece[..count]);
        driver.turn(corecast_ring::Wait::Poll);
        let writable = driver.log.iter().any(|event| matches!(event, common::Seen::Writable { .. }));
        if writable {
            driver.log.clear();
            assert_eq!(driver.send_blocked(conn, &rest), SendOutcome::Queued);
            driver.turn(corecast_ring::Wait::Poll);
            rest = driver
                .log
                .iter()
                .find_map(|event| match event {
                    common::Seen::Unsent { rest, .. } => Some(rest.frames.clone()),
                    _ => None,
                })
                .unwrap_or_default();
        }
    }
    got.extend(read_exactly(peer, expected.len() - got.len()));
    assert!(got == expected, "the stream differs");
}
