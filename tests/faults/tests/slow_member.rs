//! Claim: members that stop reading are cut and told, recover when they read again, and nobody else in the chat notices.

use std::sync::Arc;
use std::time::Duration;

use corecast_faults::cluster::Cluster;
use corecast_faults::ledger::{Ledger, body};
use corecast_faults::member::{Member, Options};
use corecast_faults::{block_on, eventually};

const READERS: usize = 200;
const SLEEPERS: usize = 20;
const MESSAGES: usize = 600;
/// Large enough that what a sleeper misses exceeds its socket buffers and the outbox limits.
const PADDING: usize = 4_000;

#[test]
fn members_that_stop_reading_are_cut_and_the_others_do_not_notice() {
    block_on(async {
        let cluster = Cluster::start(1, 1, 1, |_, address| address).await;
        let (readers_ledger, sleepers_ledger) = (Arc::new(Ledger::default()), Arc::new(Ledger::default()));
        let member = |number: usize, ledger: &Arc<Ledger>, receive_buffer| {
            let options =
                Options { gateways: cluster.addresses(), chats: vec!["chat".to_owned()], receive_buffer, number };
            Member::start(options, Arc::clone(ledger))
        };
        let readers: Vec<_> = (0..READERS).map(|number| member(number, &readers_ledger, None)).collect();
        let sleepers: Vec<_> = (0..SLEEPERS).map(|number| member(number, &sleepers_ledger, Some(4_096))).collect();
        eventually("all subscribed", Duration::from_secs(30), || readers.iter().chain(&sleepers).all(Member::is_live))
            .await;

        for sleeper in &sleepers {
            sleeper.pause(Duration::from_secs(8));
        }
        for message in 0..MESSAGES {
            readers[0].publish("chat", body(&message.to_string(), PADDING));
            tokio::time::sleep(Duration::from_millis(8)).await;
        }
        eventually("readers have everything", Duration::from_secs(30), || {
            readers.iter().all(|member| member.view("chat").offset == MESSAGES as u64)
        })
        .await;
        assert_eq!((readers_ledger.cuts(), readers_ledger.resets()), (0, 0), "readers did not notice");
        eventually("sleepers stand at the top again", Duration::from_secs(40), || {
            sleepers.iter().all(|member| member.view("chat").offset == MESSAGES as u64)
        })
        .await;
        assert!(sleepers_ledger.cuts() >= SLEEPERS as u64, "each sleeper was cut and told");
        readers_ledger.assert_clean();
        sleepers_ledger.assert_clean();
    });
}
