//! Claim: SIGTERM drains a gateway: not ready any more, every member told 3001 within the window, exit code 0, nothing acknowledged is lost.

use std::sync::Arc;
use std::time::Duration;

use corecast_faults::cluster::Cluster;
use corecast_faults::ledger::{Ledger, body};
use corecast_faults::member::{Member, Options};
use corecast_faults::{block_on, eventually};

const MEMBERS: usize = 200;

#[test]
fn a_drained_gateway_loses_nothing_and_exits_with_zero() {
    block_on(async {
        let mut cluster = Cluster::start(2, 1, 2, |_, address| address).await;
        let addresses = cluster.addresses();
        let ledger = Arc::new(Ledger::default());
        let member = |number: usize| {
            let options =
                Options { gateways: addresses.clone(), chats: vec!["chat".to_owned()], receive_buffer: None, number };
            Member::start(options, Arc::clone(&ledger))
        };
        let members: Vec<_> = (0..MEMBERS).map(member).collect();
        eventually("all subscribed", Duration::from_secs(30), || members.iter().all(Member::is_live)).await;

        let mut published = 0;
        for message in 0..100 {
            // Odd members start on gateway 1, which stays.
            members[1].publish("chat", body(&message.to_string(), 30));
            published += 1;
            if message == 30 {
                cluster.gateways[0].signal("TERM");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let code = cluster.gateways[0].exited(Duration::from_secs(40)).await;
        assert_eq!(code, Some(0), "{}", cluster.gateways[0].log_end());
        eventually("everyone has everything", Duration::from_secs(20), || {
            ledger.acknowledgements() == published
                && members.iter().all(|member| member.is_live() && member.view("chat").offset == published as u64)
        })
        .await;
        assert!(ledger.cuts() >= MEMBERS as u64 / 2, "members of the drained gateway were told");
        assert_eq!(ledger.resets(), 0);
        ledger.assert_clean();
        ledger.assert_acknowledged_once();
    });
}
