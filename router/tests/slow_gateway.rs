//! Claim: a gateway that does not read costs a bounded queue; the others notice nothing; when it reads again it finds a
//! contiguous run of updates, then `Lagged`, and history has the rest.

mod common;

use common::{Gateway, eventually, unix_config};
use corecast_router::Router;
use corecast_wire::Position;
use corecast_wire::message::ToGateway;

#[test]
fn a_gateway_that_does_not_read_lags_and_repairs() {
    const MESSAGES: u64 = 900;
    let mut config = unix_config();
    config.limits.link_soft_bytes = 256 << 10;
    config.limits.link_drained_bytes = 16 << 10;
    config.limits.silence = common::PATIENCE;
    let router = Router::start(config).expect("a router");
    let endpoint = &router.endpoints()[0];
    let (mut slow, mut quick) = (Gateway::link(endpoint, "slow"), Gateway::link(endpoint, "quick"));
    let epoch = slow.subscribe(1, "chat", None).epoch;
    quick.subscribe(2, "chat", None);
    let body = |offset: u64| format!("{offset} {}", "x".repeat(1_000));
    for offset in 1..=MESSAGES {
        assert_eq!(quick.publish("chat", None, &body(offset)), (offset, false));
        assert_eq!(quick.update(), (2, offset, body(offset)));
    }
    eventually("figures are published", || router.stats()[0].core.committed == MESSAGES);
    let stats = router.stats()[0].core;
    assert!(stats.withheld > 0 && stats.queued_bytes < 300 << 10, "{stats:?}");
    let mut next = 1;
    let top = loop {
        match slow.next() {
            ToGateway::Update(update) => {
                assert_eq!((update.offset, common::text(&update.payload)), (next, body(next).as_str()));
                next += 1;
            }
            ToGateway::Lagged { handle: 1, epoch: same, offset } if same == epoch => break offset,
            other => panic!("unexpected {other:?}"),
        }
    };
    assert_eq!(top, MESSAGES);
    assert!(next > 100 && next < MESSAGES, "{next}");
    while next <= top {
        let missed = slow.history("chat", Some(Position { epoch, offset: next - 1 }));
        assert!(!missed.is_empty());
        for (offset, text) in missed {
            assert_eq!((offset, text), (next, body(next)));
            next += 1;
        }
    }
    quick.publish("chat", None, "live again");
    assert_eq!(slow.update(), (1, MESSAGES + 1, "live again".into()));
}
