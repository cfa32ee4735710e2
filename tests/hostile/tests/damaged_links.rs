//! Claim: a link between gateway and router on which bits flip closes, comes back and repairs itself; no wrong message is ever delivered
//! or sequenced, and none is lost that was acknowledged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use corecast_faults::cluster::Cluster;
use corecast_faults::ledger::{Ledger, body};
use corecast_faults::member::{Member, Options};
use corecast_faults::proxy::{Mode, Proxy};
use corecast_faults::{block_on, eventually};

const CHATS: usize = 10;
const MEMBERS: usize = 40;
const STEP: Duration = Duration::from_millis(50);

#[test]
fn flipped_bits_never_become_messages() {
    block_on(async {
        let routers = Cluster::start(0, 1, 1, |_, address| address).await;
        let proxy = Proxy::start(routers.routers[0].listen).await.expect("proxy");
        let gateway = Cluster::gateways_of(&routers, 1, 1, |_, _| proxy.address).await;
        let ledger = Arc::new(Ledger::default());
        let chat = |number: usize| format!("chat:{}", number % CHATS);
        let members: Vec<_> = (0..MEMBERS)
            .map(|number| {
                let options =
                    Options { gateways: gateway.addresses(), chats: vec![chat(number)], receive_buffer: None, number };
                Member::start(options, Arc::clone(&ledger))
            })
            .collect();
        let all_live = || members.iter().all(Member::is_live);
        eventually("all subscribed", Duration::from_secs(30), all_live).await;

        let mut message = 0;
        // A bit now and then; so often that some handshakes fail; in every byte, so that nothing gets through.
        for (every, steps) in [(20_000, 60), (1_000, 40), (1, 20)] {
            let links = proxy.connections();
            for step in 0..steps + 10 {
                proxy.set(if step < steps { Mode::Flip(every) } else { Mode::Pass });
                message += 1;
                for (number, member) in members.iter().enumerate().take(CHATS) {
                    member.publish(&chat(number), body(&format!("{number}-{message}"), 200));
                }
                tokio::time::sleep(STEP).await;
            }
            eventually("all subscribed again after the damage", Duration::from_secs(30), all_live).await;
            // A publish into a link that is just coming back is refused, so this takes a few attempts.
            let acknowledged = ledger.acknowledgements();
            let healed = Instant::now();
            while ledger.acknowledgements() < acknowledged + CHATS {
                assert!(
                    healed.elapsed() < Duration::from_secs(20),
                    "nothing can be published {:?} later",
                    healed.elapsed()
                );
                message += 1;
                for (number, member) in members.iter().enumerate().take(CHATS) {
                    member.publish(&chat(number), body(&format!("{number}-{message}"), 200));
                }
                tokio::time::sleep(4 * STEP).await;
            }
            assert!(proxy.connections() > links, "a flipped bit in {every} bytes closed no link");
            println!(
                "a bit in {every} bytes: {} links, {} messages acknowledged, {} cuts and {} resets so far",
                proxy.connections() - links,
                ledger.acknowledgements(),
                ledger.cuts(),
                ledger.resets()
            );
        }
        eventually("all members of a chat stand at the same position", Duration::from_secs(20), || {
            (0..MEMBERS).all(|number| {
                let (first, this) = (members[number % CHATS].view(&chat(number)), members[number].view(&chat(number)));
                this.live && this.epoch == first.epoch && this.offset == first.offset
            })
        })
        .await;
        ledger.assert_clean();
        ledger.assert_acknowledged_once();
        assert_eq!(ledger.resets(), 0, "the router kept everything, so everything is recoverable");
    });
}
