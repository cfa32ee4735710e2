//! Claim: 10,000 reconnects at random moments under load recover exactly the missed messages, on whatever gateway they land.

use std::sync::Arc;
use std::time::Duration;

use corecast_faults::cluster::Cluster;
use corecast_faults::ledger::{Ledger, body};
use corecast_faults::member::{Member, Options};
use corecast_faults::{block_on, eventually};

const RECONNECTS: usize = 10_000;
const MEMBERS: usize = 400;
const CHATS: usize = 40;

#[test]
fn ten_thousand_random_reconnects_recover_exactly_what_was_missed() {
    block_on(async {
        let cluster = Cluster::start(3, 2, 2, |_, address| address).await;
        let ledger = Arc::new(Ledger::default());
        let chats = |number: usize| [number % CHATS, (number * 7 + 1) % CHATS].map(|chat| format!("chat:{chat}"));
        let member = |number: usize| {
            let mut chats = chats(number).to_vec();
            chats.dedup();
            let options = Options { gateways: cluster.addresses(), chats, receive_buffer: None, number };
            Member::start(options, Arc::clone(&ledger))
        };
        let publishers: Vec<_> = (0..CHATS).map(member).collect();
        let members: Vec<_> = (0..MEMBERS).map(member).collect();
        eventually("all subscribed", Duration::from_secs(30), || {
            publishers.iter().chain(&members).all(Member::is_live)
        })
        .await;

        // A fixed sequence (Knuth's MMIX generator): a failing run can be repeated.
        let mut random = 20_261_121_u64;
        let mut next = |bound: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(random >> 33).unwrap_or(0) % bound
        };
        let (mut cuts, mut message) = (0, 0);
        while cuts < RECONNECTS {
            for _ in 0..25 {
                members[next(MEMBERS)].cut();
                cuts += 1;
            }
            message += 1;
            let publisher = next(CHATS);
            publishers[publisher].publish(&chats(publisher)[0], body(&format!("{message}"), 20));
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        eventually("all back and complete", Duration::from_secs(30), || {
            ledger.acknowledgements() == message
                && (0..MEMBERS).all(|number| {
                    chats(number).iter().all(|chat| {
                        let index: usize = chat[5..].parse().unwrap();
                        let (first, this) = (publishers[index].view(chat), members[number].view(chat));
                        this.live && (first.epoch, first.offset) == (this.epoch, this.offset)
                    })
                })
        })
        .await;
        assert_eq!(ledger.resets(), 0, "everything was within the kept history");
        ledger.assert_clean();
        ledger.assert_acknowledged_once();
    });
}
