//! Claim: a publish repeated with its idempotency key, through any gateway, happens once and names the original offset.

use std::sync::Arc;
use std::time::Duration;

use corecast_faults::cluster::{API_KEY, Cluster};
use corecast_faults::http::Api;
use corecast_faults::ledger::{Ledger, body};
use corecast_faults::member::{Member, Options};
use corecast_faults::{block_on, eventually};
use serde_json::{Value, json};

#[test]
fn a_repeated_publish_with_a_key_happens_once() {
    block_on(async {
        let cluster = Cluster::start(2, 1, 2, |_, address| address).await;
        let ledger = Arc::new(Ledger::default());
        let options =
            Options { gateways: cluster.addresses(), chats: vec!["chat".to_owned()], receive_buffer: None, number: 0 };
        let member = Member::start(options, Arc::clone(&ledger));
        eventually("subscribed", Duration::from_secs(10), || member.is_live()).await;

        for message in 1..=20_u64 {
            let data: Value = serde_json::from_str(&body(&message.to_string(), 10)).unwrap();
            let params = json!({"channel": "chat", "data": data, "idempotency_key": format!("key-{message}")});
            let (mut first, mut second) = (
                Api::connect(cluster.gateways[0].admin, API_KEY).await.unwrap(),
                Api::connect(cluster.gateways[1].admin, API_KEY).await.unwrap(),
            );
            // At once through both gateways, then once more.
            let (one, two) = tokio::join!(first.call("publish", &params), second.call("publish", &params));
            let three = first.call("publish", &params).await;
            for answer in [one, two, three] {
                let (status, answer) = answer.unwrap();
                assert_eq!((status, answer["result"]["offset"].as_u64()), (200, Some(message)), "{answer}");
            }
        }
        eventually("delivered", Duration::from_secs(10), || member.view("chat").offset == 20).await;
        assert_eq!(ledger.deliveries(), 20);
        ledger.assert_clean();
    });
}
