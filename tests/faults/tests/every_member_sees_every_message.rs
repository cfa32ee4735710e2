//! Claim: with 3 gateways and 2 routers, 2,000 members of one chat and 500 small chats each see every message once, in order, intact.

use std::sync::Arc;
use std::time::Duration;

use corecast_faults::cluster::Cluster;
use corecast_faults::ledger::{Ledger, body};
use corecast_faults::member::{Member, Options};
use corecast_faults::{block_on, eventually};

const MEMBERS: usize = 2_000;
const SMALL_CHATS: usize = 500;
const MEMBERS_OF_A_SMALL_CHAT: usize = 3;
const BIG_MESSAGES: usize = 50;
const SMALL_MESSAGES: usize = 4;

#[test]
fn every_member_sees_every_message() {
    block_on(async {
        let cluster = Cluster::start(3, 2, 2, |_, address| address).await;
        let ledger = Arc::new(Ledger::default());
        let member = |number: usize, chat: String| {
            let options = Options { gateways: cluster.addresses(), chats: vec![chat], receive_buffer: None, number };
            Member::start(options, Arc::clone(&ledger))
        };
        let big: Vec<_> = (0..MEMBERS).map(|number| member(number, "big".to_owned())).collect();
        eventually("members of the big chat subscribed", Duration::from_secs(60), || big.iter().all(Member::is_live))
            .await;
        let small: Vec<_> = (0..SMALL_CHATS * MEMBERS_OF_A_SMALL_CHAT)
            .map(|number| member(number, format!("small:{}", number / MEMBERS_OF_A_SMALL_CHAT)))
            .collect();
        eventually("members of small chats subscribed", Duration::from_secs(60), || small.iter().all(Member::is_live))
            .await;

        for message in 0..BIG_MESSAGES {
            big[message * 37 % MEMBERS].publish("big", body(&format!("big-{message}"), 40));
            // A share of the small chats in each step, so that both kinds of traffic run side by side.
            for chat in (message..SMALL_CHATS).step_by(BIG_MESSAGES) {
                for round in 0..SMALL_MESSAGES {
                    let publisher = chat * MEMBERS_OF_A_SMALL_CHAT + round % MEMBERS_OF_A_SMALL_CHAT;
                    small[publisher].publish(&format!("small:{chat}"), body(&format!("{chat}-{round}"), 40));
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }

        let published = BIG_MESSAGES + SMALL_CHATS * SMALL_MESSAGES;
        let deliveries = (BIG_MESSAGES * MEMBERS + SMALL_CHATS * SMALL_MESSAGES * MEMBERS_OF_A_SMALL_CHAT) as u64;
        eventually("all acknowledged", Duration::from_secs(60), || ledger.acknowledgements() == published).await;
        eventually("all delivered", Duration::from_secs(60), || ledger.deliveries() >= deliveries).await;
        // Anything beyond would be a duplicate: give it time to show.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(ledger.deliveries(), deliveries);
        assert_eq!((ledger.resets(), ledger.cuts()), (0, 0), "nobody was cut");
        assert!(big.iter().all(|member| member.view("big").offset == BIG_MESSAGES as u64));
        assert!((0..SMALL_CHATS * MEMBERS_OF_A_SMALL_CHAT).all(|number| {
            small[number].view(&format!("small:{}", number / MEMBERS_OF_A_SMALL_CHAT)).offset == SMALL_MESSAGES as u64
        }));
        ledger.assert_clean();
        ledger.assert_acknowledged_once();
    });
}
