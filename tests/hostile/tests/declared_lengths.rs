//! Claim: memory follows what has arrived, never what a peer declares; a length over the limit ends the connection at the header.

use corecast_hostile::PATIENCE;
use corecast_hostile::client::Client;
use corecast_hostile::frame::{BINARY, CONTINUATION, FIN, Length, TEXT, header, mask, masked};
use corecast_hostile::stage::{STEADY, Stage};

/// What an allocator may keep or return between two looks, however many connections there were.
const NOISE: i64 = 256 * 1024;

#[test]
fn enormous_lengths_leave_no_trace() {
    const TRIES: usize = 2_000;
    let stage = Stage::start(STEADY);
    stage.warm_up();
    let process = stage.process();
    let play = |tries: usize| {
        for number in 0..tries {
            // 2^63 - 1, then nothing, before and after `connect`.
            let mut client =
                if number % 4 == 0 { Client::live(stage.websocket()) } else { Client::greeted(stage.websocket()) };
            client.send(&header(FIN | [TEXT, BINARY][number % 2], Length::Long((1 << 63) - 1)));
            assert_eq!(client.outcome(PATIENCE).code(), Some(1009));
        }
    };
    play(TRIES / 4);
    let before = process.resident();
    play(TRIES);
    let grown = process.resident() - before;
    println!("{grown} bytes more after {TRIES} tries");
    assert!(grown < NOISE, "{grown} bytes more after {TRIES} tries");
    stage.finish();
}

#[test]
fn announced_messages_that_do_not_come_cost_nothing() {
    const CONNECTIONS: usize = 1_000;
    /// The start of a message, the state of a connection, and the rounding of the allocator.
    const EACH_MAX: i64 = 3 * 1024;
    let stage = Stage::start(STEADY);
    stage.warm_up();
    let process = stage.process();
    for opening in [
        header(FIN | TEXT, Length::Shortest(64 * 1024)),
        header(TEXT, Length::Shortest(60_000)),
        [masked(TEXT, b"{"), header(CONTINUATION, Length::Shortest(60_000))].concat(),
    ] {
        let play = |connections: usize| {
            let before = process.resident();
            let mut clients: Vec<Client> = (0..connections)
                .map(|_| {
                    let mut client = Client::greeted(stage.websocket());
                    client.send(&opening);
                    client.send(&mask(b"xxxxxxxxxx"));
                    client
                })
                .collect();
            // One round trip behind the last of them: all have been looked at.
            drop(Client::live(stage.websocket()));
            let each = (process.resident() - before) / connections as i64;
            assert!(clients.iter_mut().all(Client::is_quiet), "messages within the limit may be announced");
            println!("{each} bytes for each announced message");
            assert!(each < EACH_MAX, "{each} bytes for each announced message");
        };
        // The first time takes what is kept for the next.
        play(CONNECTIONS);
        play(CONNECTIONS);
    }
    stage.finish();
}

#[test]
fn unauthenticated_input_has_a_total() {
    const TOTAL: i64 = 1 << 20;
    const CONNECTIONS: usize = 200;
    let stage = Stage::start(&format!("{STEADY}unauthenticated = \"1MiB\"\n"));
    stage.warm_up();
    let process = stage.process();
    let part = [header(FIN | TEXT, Length::Shortest(64 * 1024)), mask(&[b'x'; 60_000])].concat();
    let play = || {
        let before = process.resident();
        let mut clients: Vec<Client> = (0..CONNECTIONS)
            .map(|_| {
                let mut client = Client::greeted(stage.websocket());
                let _ = client.socket.send_some(&part);
                client
            })
            .collect();
        drop(Client::live(stage.websocket()));
        let grown = process.resident() - before;
        let refused = clients.iter_mut().filter_map(Client::close_code).collect::<Vec<_>>();
        (grown, refused)
    };
    play();
    let (grown, refused) = play();
    println!("{grown} bytes for {CONNECTIONS} unfinished first frames of 60,000 bytes");
    // A buffer that doubles takes up to twice the bytes in it, and the connections take something themselves.
    assert!(grown < 3 * TOTAL, "{grown} bytes for unauthenticated input");
    assert!(refused.len() >= CONNECTIONS / 2, "{} of {CONNECTIONS} were refused", refused.len());
    stage.finish();
}
