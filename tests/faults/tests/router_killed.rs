//! Claim: a router that is killed and restarted takes a new epoch; every member is told within 2 s of its return, and no position is reused.

use std::sync::Arc;
use std::time::Duration;

use corecast_faults::cluster::Cluster;
use corecast_faults::ledger::{Ledger, body};
use corecast_faults::member::{Member, Options};
use corecast_faults::{block_on, eventually};

const CHATS: usize = 60;
const MEMBERS: usize = 600;
const ROUNDS: usize = 3;
/// What `reliability` promises: nobody takes silence for health for longer.
const SILENCE_MAX: Duration = Duration::from_secs(2);

#[test]
fn a_killed_router_comes_back_under_a_new_epoch_and_everyone_is_told() {
    block_on(async {
        let mut cluster = Cluster::start(3, 2, 1, |_, address| address).await;
        let ledger = Arc::new(Ledger::default());
        let chat = |number: usize| format!("chat:{}", number % CHATS);
        let members: Vec<_> = (0..MEMBERS)
            .map(|number| {
                let options =
                    Options { gateways: cluster.addresses(), chats: vec![chat(number)], receive_buffer: None, number };
                Member::start(options, Arc::clone(&ledger))
            })
            .collect();
        eventually("all subscribed", Duration::from_secs(30), || members.iter().all(Member::is_live)).await;

        let mut message = 0;
        let mut publish_everywhere = || {
            message += 1;
            for (number, member) in members.iter().take(CHATS).enumerate() {
                member.publish(&chat(number), body(&format!("{number}-{message}"), 20));
            }
        };
        for round in 0..ROUNDS {
            ledger.forget_silence();
            for step in 0..20 {
                publish_everywhere();
                if step == 5 {
                    let router = &mut cluster.routers[round % 2];
                    router.kill();
                    router.start().await;
                }
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
            eventually("all subscribed again", Duration::from_secs(10), || members.iter().all(Member::is_live)).await;
            let silence = ledger.longest_silence();
            assert!(silence <= SILENCE_MAX, "a member heard nothing for {silence:?} in round {round}");
        }

        // All members of a chat agree on the sequence again and get what follows.
        publish_everywhere();
        eventually("members of each chat stand at one position", Duration::from_secs(10), || {
            (CHATS..MEMBERS).all(|number| {
                let (first, this) = (members[number % CHATS].view(&chat(number)), members[number].view(&chat(number)));
                first.live && this.live && (first.epoch, first.offset) == (this.epoch, this.offset)
            })
        })
        .await;
        assert!(ledger.resets() > 0, "members of a killed router's chats cannot recover");
        assert!((0..CHATS).any(|number| ledger.epochs(&chat(number)).len() > 1), "a restart is a new epoch");
        ledger.assert_clean();
    });
}
