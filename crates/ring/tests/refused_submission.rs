//! While the kernel refuses submissions for lack of memory, nothing is lost, the owner keeps its frames, and nothing spins.

#![allow(unsafe_code)] // sets up what std cannot

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Driver, small};
use corecast_ring::{ReactorConfig, SendOutcome, Wait};

/// Makes every `io_uring_enter` of the calling thread that has something to submit fail with EAGAIN.
fn refuse_submissions() {
    const LOAD_WORD_ABSOLUTE: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const SECCOMP_RET_ERRNO: u32 = 0x0005_0000;
    const SECCOMP_RET_ALLOW: u32 = 0x7fff_0000;
    /// `seccomp_data.args[1]`, the low half on little-endian machines: `to_submit`.
    const TO_SUBMIT: u32 = if cfg!(target_endian = "little") { 24 } else { 28 };
    let instruction = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        instruction(LOAD_WORD_ABSOLUTE, 0, 0, 0), // seccomp_data.nr
        instruction(JUMP_IF_EQUAL, 0, 3, libc::SYS_io_uring_enter as u32),
        instruction(LOAD_WORD_ABSOLUTE, 0, 0, TO_SUBMIT),
        instruction(JUMP_IF_EQUAL, 1, 0, 0),
        instruction(RETURN, 0, 0, SECCOMP_RET_ERRNO | libc::EAGAIN as u32),
        instruction(RETURN, 0, 0, SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: no pointers are passed.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the filter and its program live across the call, which copies them.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
    assert_eq!(result, 0);
}

#[test]
fn frames_stay_with_their_owner_and_the_reactor_does_not_spin() {
    const SQ_ENTRIES: u32 = 8;
    // The filter holds for the thread that installs it.
    std::thread::spawn(|| {
        let mut driver = Driver::new(&ReactorConfig { sq_entries: SQ_ENTRIES, ..small() });
        let pairs: Vec<_> = (0..20).map(|_| driver.pair()).collect();
        driver.wait();
        refuse_submissions();
        let frame = Bytes::from_static(b"frame");
        let outcomes: Vec<_> = pairs.iter().map(|(conn, _)| driver.send(*conn, std::slice::from_ref(&frame))).collect();
        let queued = outcomes.iter().filter(|&&outcome| outcome == SendOutcome::Queued).count();
        assert_eq!(queued, SQ_ENTRIES as usize, "as many as the queue holds");
        assert!(outcomes[queued..].iter().all(|&outcome| outcome == SendOutcome::Busy), "{outcomes:?}");
        // A connection that is closed now has to wait for better times as well.
        driver.reactor.close(pairs[19].0);
        let before = driver.reactor.stats().enters;
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(200) {
            driver.turn(Wait::Until { deadline: Some(start + Duration::from_millis(500)), window: Duration::ZERO });
        }
        let stats = driver.reactor.stats();
        // About twenty pauses of 10 ms with a handful of attempts each.
        assert!(stats.enters - before < 1_000, "it spins: {stats:?}");
        assert!(stats.partial_submissions > 0 && stats.closes == 0);
        assert!(driver.log.is_empty(), "{:?}", driver.log);
    })
    .join()
    .unwrap();
}
