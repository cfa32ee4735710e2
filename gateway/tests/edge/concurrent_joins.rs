//! Claim: whoever joins, leaves, comes back and publishes at the same time, each member sees a contiguous run from its
//! reply on, with the right bodies. (`Client` checks contiguity of everything that it reads.)

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::Edge;
use crate::client::{Client, fresh, recover};

#[test]
fn members_that_come_and_go_while_messages_flow_miss_nothing() {
    let edge = Edge::with(2, |config| config.cores = 2);
    let address = edge.gateway().local_addr();
    let chats = ["a", "b", "c"];
    let (stop, published) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut publisher = Client::connect(address);
            while !stop.load(Ordering::Relaxed) {
                for chat in chats {
                    let n = published.fetch_add(1, Ordering::Relaxed);
                    publisher.publish(chat, &format!("\"{chat} {n}\"")).unwrap();
                }
            }
        });
        let members: Vec<_> = (0..6)
            .map(|n| {
                scope.spawn(move || {
                    let (mut epoch, mut position) = (String::new(), 0);
                    let mut seen = 0;
                    for round in 0..15 {
                        let mut client =
                            if n % 2 == 0 { Client::connect(address) } else { Client::connect_protobuf(address) };
                        let chat = chats[n % 3];
                        let request = if round == 0 { fresh(chat) } else { recover(chat, &epoch, position) };
                        let result = client.subscribe_with(request).unwrap();
                        assert_eq!(result.recovered, round > 0, "{result:?}");
                        epoch = result.epoch;
                        let from = client.positions[chat];
                        client.read_to(chat, from + 40);
                        position = client.positions[chat];
                        seen += client.received.len();
                        assert!(client.received.iter().all(|(_, _, data)| data.starts_with(&format!("\"{chat} "))));
                    }
                    seen
                })
            })
            .collect();
        let seen: usize = members.into_iter().map(|member| member.join().unwrap()).sum();
        stop.store(true, Ordering::Relaxed);
        assert!(seen >= 6 * 15 * 40);
    });
    assert_eq!(edge.counted("not_recovered", 0), 0);
    assert_eq!(edge.counted("resets", 0), 0);
}
