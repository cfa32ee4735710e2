//! Claim: a link that is cut, stalled or dribbles and then heals costs no message and no duplicate; what cannot be repaired is announced.

use std::sync::Arc;
use std::time::Duration;

use corecast_faults::cluster::Cluster;
use corecast_faults::ledger::{Ledger, body};
use corecast_faults::member::{Member, Options};
use corecast_faults::proxy::{Mode, Proxy};
use corecast_faults::{block_on, eventually};

const CHATS: usize = 20;
const MEMBERS: usize = 100;

#[test]
fn a_link_that_heals_loses_nothing() {
    block_on(async {
        // The proxy needs the router's address and the gateway the proxy's: start the router through a cluster of its own.
        let routers = Cluster::start(0, 1, 1, |_, address| address).await;
        let proxy = Proxy::start(routers.routers[0].listen).await.expect("proxy");
        let direct = Cluster::gateways_of(&routers, 1, 1, |_, address| address).await;
        let behind = Cluster::gateways_of(&routers, 1, 2, |_, _| proxy.address).await;
        let ledger = Arc::new(Ledger::default());
        let chat = |number: usize| format!("chat:{}", number % CHATS);
        let member = |number: usize, cluster: &Cluster| {
            let options =
                Options { gateways: cluster.addresses(), chats: vec![chat(number)], receive_buffer: None, number };
            Member::start(options, Arc::clone(&ledger))
        };
        let publishers: Vec<_> = (0..CHATS).map(|number| member(number, &direct)).collect();
        let members: Vec<_> = (0..MEMBERS).map(|number| member(number, &behind)).collect();
        eventually("all subscribed", Duration::from_secs(30), || {
            publishers.iter().chain(&members).all(Member::is_live)
        })
        .await;

        let mut message = 0;
        for (mode, steps) in
            [(Mode::Cut, 5), (Mode::Dribble, 10), (Mode::Stall, 10), (Mode::Cut, 40), (Mode::Stall, 60)]
        {
            for step in 0..steps + 10 {
                proxy.set(if step < steps { mode } else { Mode::Pass });
                message += 1;
                for (number, publisher) in publishers.iter().enumerate() {
                    publisher.publish(&chat(number), body(&format!("{number}-{message}"), 20));
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            eventually("caught up after the link healed", Duration::from_secs(20), || {
                ledger.acknowledgements() == message * CHATS
                    && (0..MEMBERS).all(|number| {
                        let (first, this) =
                            (publishers[number % CHATS].view(&chat(number)), members[number].view(&chat(number)));
                        this.live && first.offset == message as u64 && this.offset == first.offset
                    })
            })
            .await;
            println!("{mode:?} for {steps} steps: {} cuts, {} resets so far", ledger.cuts(), ledger.resets());
        }
        assert_eq!(ledger.resets(), 0, "the router kept everything, so everything is recoverable");
        ledger.assert_clean();
        ledger.assert_acknowledged_once();
    });
}
