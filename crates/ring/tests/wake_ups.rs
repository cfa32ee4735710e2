//! A sleeping reactor is woken by wakers and mailboxes, never by chance missed, and not disturbed while awake.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use common::{Driver, PATIENCE, Seen, small};
use corecast_ring::mailbox::{Mailboxes, mesh};
use corecast_ring::{Event, Reactor, Wait};

/// A sleep that ends by itself only when the test has failed.
fn long_sleep() -> Wait {
    Wait::Until { deadline: Some(Instant::now() + PATIENCE), window: Duration::ZERO }
}

#[test]
fn a_foreign_thread_wakes_a_sleeping_reactor() {
    let mut driver = Driver::new(&small());
    driver.turn(Wait::Poll);
    for round in 0..20 {
        let waker = driver.reactor.waker();
        let start = Instant::now();
        let thread = std::thread::spawn(move || {
            // Every other time before the sleep begins, every other time most likely within it.
            std::thread::sleep(Duration::from_millis(round % 2 * 20));
            waker.wake();
        });
        while !driver.log.iter().any(|event| matches!(event, Seen::Woken)) {
            driver.turn(long_sleep());
            assert!(start.elapsed() < PATIENCE, "round {round}: the wake-up was lost");
        }
        driver.log.clear();
        thread.join().unwrap();
    }
    // One event per wish, and none without.
    driver.turn(Wait::Poll);
    assert!(driver.log.is_empty());
    assert_eq!(driver.reactor.stats().woken, 20);
}

#[test]
fn a_wake_up_before_the_turn_forbids_the_sleep() {
    let mut driver = Driver::new(&small());
    driver.reactor.waker().wake();
    let start = Instant::now();
    driver.turn(long_sleep());
    assert!(start.elapsed() < PATIENCE);
    assert!(matches!(driver.log[..], [Seen::Woken]));
}

#[test]
fn may_sleep_is_asked_after_the_announcement_and_obeyed() {
    let mut reactor = Reactor::new(&small()).unwrap();
    let mut events = Vec::new();
    let waker = reactor.waker();
    let start = Instant::now();
    reactor
        .turn(long_sleep(), &mut events, || {
            assert!(waker.wake_if_sleeping(), "the sleep is announced by now");
            false
        })
        .unwrap();
    assert!(start.elapsed() < PATIENCE);
    assert!(matches!(events[..], [Event::Woken]));
    let mut asked = false;
    reactor
        .turn(Wait::Poll, &mut events, || {
            asked = true;
            true
        })
        .unwrap();
    assert!(!asked, "a poll does not sleep");
}

#[test]
fn a_waker_outlives_its_reactor() {
    let reactor = Reactor::new(&small()).unwrap();
    let waker = reactor.waker();
    drop(reactor);
    waker.wake();
    assert!(!waker.wake_if_sleeping());
}

/// Two cores play ping-pong and sleep between the strokes: a lost wake-up stops the game.
#[test]
fn mailboxes_lose_no_wake_up() {
    const STROKES: u64 = 20_000;
    let played = Arc::new(AtomicU64::new(0));
    let mut ends = mesh::<u64>(2, 8).into_iter();
    let players: Vec<_> = (0..2)
        .map(|core| {
            let mailboxes = ends.next().unwrap();
            let played = Arc::clone(&played);
            std::thread::spawn(move || play(mailboxes, core, STROKES, &played))
        })
        .collect();
    let wakes: u64 = players.into_iter().map(|player| player.join().unwrap()).sum();
    assert_eq!(played.load(Ordering::Relaxed), STROKES);
    assert!(wakes > 0 && wakes <= STROKES + 2, "{wakes} wake-ups");
}

fn play(mut mailboxes: Mailboxes<u64>, core: usize, strokes: u64, played: &AtomicU64) -> u64 {
    let mut reactor = Reactor::new(&small()).unwrap();
    mailboxes.attach(&reactor);
    let mut events = Vec::new();
    if core == 0 {
        mailboxes.send(1, 0).unwrap();
    }
    loop {
        mailboxes.flush(&mut reactor);
        let start = Instant::now();
        reactor.turn(long_sleep(), &mut events, || mailboxes.is_empty()).unwrap();
        assert!(start.elapsed() < PATIENCE, "core {core} slept over a message");
        while let Some((sender, stroke)) = mailboxes.receive() {
            assert_eq!(sender, 1 - core);
            played.store(stroke, Ordering::Relaxed);
            if stroke < strokes {
                mailboxes.send(sender, stroke + 1).unwrap();
            }
            if stroke + 1 >= strokes {
                mailboxes.flush(&mut reactor);
                reactor.turn(Wait::Poll, &mut events, || true).unwrap(); // the wake-up rides along
                return reactor.stats().wakes_sent;
            }
        }
    }
}

/// A busy receiver is sent messages without a single system call for waking it.
#[test]
fn a_busy_core_is_not_woken() {
    let (ready, is_ready) = mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let mut ends = mesh::<u64>(2, 64);
    let mut receiving = ends.pop().unwrap();
    let mut sending = ends.pop().unwrap();
    let thread = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            let mut reactor = Reactor::new(&small()).unwrap();
            receiving.attach(&reactor);
            ready.send(()).unwrap();
            let mut events = Vec::new();
            let mut sum = 0;
            while !stop.load(Ordering::Relaxed) || !receiving.is_empty() {
                reactor.turn(Wait::Poll, &mut events, || true).unwrap();
                while let Some((_, message)) = receiving.receive() {
                    sum += message;
                }
                std::thread::yield_now();
            }
            (sum, reactor.stats().woken)
        })
    };
    is_ready.recv().unwrap();
    let mut reactor = Reactor::new(&small()).unwrap();
    for message in 1..=1_000 {
        while sending.send(1, message).is_err() {
            std::thread::yield_now();
        }
        sending.flush(&mut reactor);
    }
    stop.store(true, Ordering::Relaxed);
    assert_eq!(thread.join().unwrap(), (500_500, 0));
    assert_eq!(reactor.stats().wakes_sent, 0);
}
