//! Claim: members of a gateway that is killed find another and recover; members elsewhere notice nothing.

use std::sync::Arc;
use std::time::Duration;

use corecast_faults::cluster::Cluster;
use corecast_faults::ledger::{Ledger, body};
use corecast_faults::member::{Member, Options};
use corecast_faults::{block_on, eventually};

const MEMBERS: usize = 300;

#[test]
fn members_of_a_killed_gateway_recover_on_another() {
    block_on(async {
        let mut cluster = Cluster::start(3, 2, 1, |_, address| address).await;
        let addresses = cluster.addresses();
        let (lost, unharmed) = (Arc::new(Ledger::default()), Arc::new(Ledger::default()));
        let start = |number: usize, gateways: Vec<_>, ledger: &Arc<Ledger>| {
            Member::start(
                Options { gateways, chats: vec!["chat".to_owned()], receive_buffer: None, number },
                Arc::clone(ledger),
            )
        };
        // Even numbers start on gateway 0 and know gateway 1 as the next.
        let victims: Vec<_> =
            (0..MEMBERS).map(|number| start(number * 2, vec![addresses[0], addresses[1]], &lost)).collect();
        let others: Vec<_> = (0..MEMBERS).map(|number| start(number, vec![addresses[2]], &unharmed)).collect();
        eventually("all subscribed", Duration::from_secs(30), || victims.iter().chain(&others).all(Member::is_live))
            .await;

        for message in 0..60_u64 {
            others[0].publish("chat", body(&message.to_string(), 50));
            if message == 20 {
                cluster.gateways[0].kill();
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        eventually("everyone has everything", Duration::from_secs(20), || {
            victims.iter().chain(&others).all(|member| member.view("chat").offset == 60)
        })
        .await;
        assert!(lost.cuts() >= MEMBERS as u64);
        assert_eq!((lost.resets(), unharmed.resets(), unharmed.cuts()), (0, 0, 0));
        lost.assert_clean();
        unharmed.assert_clean();
    });
}
