//! Claim: connections that never finish their upgrade, or never say who they are, are closed at their deadline, cost little until then,
//! and keep nobody else from connecting.

use std::thread;
use std::time::{Duration, Instant};

use corecast_hostile::client::{Client, PATH, upgrade_request};
use corecast_hostile::eventually;
use corecast_hostile::frame::text;
use corecast_hostile::http::Response;
use corecast_hostile::socket::Socket;
use corecast_hostile::stage::Stage;

const DEADLINE: Duration = Duration::from_millis(1_500);
/// Resolution of the server's timers, and the time that a busy machine may add.
const LATE_MAX: Duration = Duration::from_secs(1);
const ATTACKERS: usize = 600;
/// Memory that one of them may hold on the server's side.
const RESIDENT_EACH_MAX: i64 = 4 * 1024;
/// Between two bytes of an attacker.
const DRIP: Duration = Duration::from_millis(200);

#[test]
fn upgrades_that_drip_are_closed_at_the_deadline() {
    let stage = Stage::start("[timing]\nhandshake = \"1500ms\"\n");
    let request = upgrade_request(PATH, "");
    // Warm up: what the allocator keeps after the first attack is no leak.
    for resident_max in [i64::MAX, RESIDENT_EACH_MAX] {
        let before = stage.process().resident();
        let opened = Instant::now();
        let mut attackers: Vec<(Socket, usize)> = (0..ATTACKERS)
            .map(|number| {
                let mut socket = Socket::connect(stage.websocket()).expect("connect");
                // One third sends nothing at all, one third a byte now and then, one third all but the last byte.
                let sent = [0, 1, request.len() - 1][number % 3];
                socket.send(&request.as_bytes()[..sent]).expect("send");
                (socket, sent)
            })
            .collect();
        let all_opened = Instant::now();
        let (mut new_clients, mut held, mut open) = (Vec::new(), 0, ATTACKERS);
        while open > 0 {
            for (number, (socket, sent)) in attackers.iter_mut().enumerate() {
                if number % 3 == 1 {
                    let _ = socket.send_some(&request.as_bytes()[*sent..*sent + 1]);
                    *sent += 1;
                }
            }
            let begin = Instant::now();
            drop(Client::live(stage.websocket()));
            new_clients.push(begin.elapsed());
            thread::sleep(DRIP);
            let resident = stage.process().resident();
            let elapsed = opened.elapsed();
            open = attackers.iter_mut().filter_map(|(socket, _)| (!socket.has_ended()).then_some(())).count();
            if elapsed < DEADLINE / 2 {
                assert_eq!(open, ATTACKERS, "connections that are open long before the deadline");
            } else if open == ATTACKERS {
                held = held.max(resident - before);
            }
            let late = all_opened.elapsed().saturating_sub(DEADLINE);
            assert!(open == 0 || late < LATE_MAX, "{open} connections still open {late:?} after the deadline");
        }
        for (socket, _) in &mut attackers {
            if !socket.input.is_empty() {
                assert_eq!(Response::read(socket, DEADLINE).map(|response| response.status), Some(408));
            }
        }
        let each = held / ATTACKERS as i64;
        new_clients.sort();
        let median = new_clients[new_clients.len() / 2];
        println!(
            "{each} bytes for each of them; {} others connected meanwhile, half within {median:?}",
            new_clients.len()
        );
        assert!(each <= resident_max, "{each} bytes for each slow upgrade");
        assert!(median < Duration::from_millis(250), "half of the new clients took more than {median:?}");
    }
    let process = stage.process();
    let websocket = stage.websocket();
    eventually("the kernel has forgotten all attackers", Duration::from_secs(5), || {
        process.connections(websocket) == 1
    });
    stage.finish();
}

#[test]
fn clients_that_never_connect_are_closed_as_stale() {
    let stage = Stage::start("[timing]\nconnect = \"1s\"\n");
    let command = text(r#"{"id":1,"connect":{"token":"x","name":"slow"}}"#);
    let mut clients: Vec<(Client, usize)> = (0..100)
        .map(|number| {
            let mut client = Client::greeted(stage.websocket());
            // Nothing, half a frame, or a ping now and then, which is no `connect`.
            client.send([&[][..], &command[..command.len() / 2], &[0x89, 0x80, 1, 2, 3, 4]][number % 3]);
            (client, number)
        })
        .collect();
    for (client, number) in &mut clients {
        let outcome = client.outcome(Duration::from_secs(1) + LATE_MAX);
        assert_eq!(outcome.close, Some((3502, "stale".to_owned())), "client {number}");
    }
    stage.finish();
}
