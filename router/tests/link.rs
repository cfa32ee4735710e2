//! Claim: gateways that link to a running router over real sockets get what the core promises.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{Gateway, SECRET, eventually, unix_config};
use corecast_router::{Listen, ListenAddr, Router, RouterConfig, StartError};
use corecast_wire::message::{GoAwayReason, HelloRefusal, RefusalReason, ToGateway, ToRouter};

#[test]
fn a_message_reaches_every_subscribed_gateway_and_is_acknowledged() {
    let router = Router::start(unix_config()).expect("a router");
    let endpoint = &router.endpoints()[0];
    let (mut first, mut second) = (Gateway::link(endpoint, "a"), Gateway::link(endpoint, "b"));
    let subscribed = first.subscribe(3, "chat", None);
    second.subscribe(8, "chat", None);
    assert_eq!(second.publish("chat", Some("k"), "hello"), (1, false));
    assert_eq!(second.publish("chat", Some("k"), "hello"), (1, true));
    assert_eq!(second.publish("chat", None, "world"), (2, false));
    for (gateway, handle) in [(&mut first, 3), (&mut second, 8)] {
        assert_eq!(gateway.update(), (handle, 1, "hello".into()));
        assert_eq!(gateway.update(), (handle, 2, "world".into()));
    }
    assert_eq!(first.history("chat", None), [(1, "hello".into()), (2, "world".into())]);
    drop(first);
    let mut again = Gateway::link(endpoint, "a");
    let position = corecast_wire::Position { epoch: subscribed.epoch, offset: 1 };
    assert_eq!(again.subscribe(1, "chat", Some(position)).start, 1);
    assert_eq!(again.update(), (1, 2, "world".into()));
    eventually("figures are published", || router.stats()[0].core.committed == 2);
    assert_eq!(router.stats()[0].core.duplicates, 1);
}

#[test]
fn many_messages_travel_in_few_frames_and_stay_in_order() {
    const MESSAGES: u64 = 20_000;
    let router = Router::start(unix_config()).expect("a router");
    let endpoint = router.endpoints()[0].clone();
    let mut publisher = Gateway::link(&endpoint, "a");
    let mut reader = Gateway::link(&endpoint, "b");
    reader.subscribe(1, "chat", None);
    let reading = std::thread::spawn(move || {
        for offset in 1..=MESSAGES {
            assert_eq!(reader.update(), (1, offset, format!("message {offset}")));
        }
    });
    for batch in 0..MESSAGES / 200 {
        let messages: Vec<ToRouter> =
            (1..=200).map(|n| publisher.publication("chat", None, &format!("message {}", batch * 200 + n))).collect();
        publisher.send(&messages);
        for number in 1..=200 {
            let ToGateway::Ack { offset, .. } = publisher.next() else { panic!("not an acknowledgement") };
            assert_eq!(offset, batch * 200 + number);
        }
    }
    reading.join().expect("every message in order");
    eventually("figures are published", || router.stats()[0].core.updates == MESSAGES);
    let frames = router.stats()[0].core.sent_frames;
    assert!(frames < MESSAGES / 20, "{frames} frames for {MESSAGES} updates and as many acknowledgements");
}

#[test]
fn a_gateway_without_the_secret_is_refused_over_tcp() {
    let listen = Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let router = Router::start(RouterConfig::new(listen, SECRET.to_vec())).expect("a router");
    let endpoint = &router.endpoints()[0];
    let mut stranger = Gateway::connect(endpoint);
    let ToGateway::Refused(refused) = stranger.greet("stranger", b"another secret") else { panic!("not refused") };
    assert_eq!(refused.reason, HelloRefusal::Unauthenticated);
    assert_eq!(stranger.try_next(), None, "and the connection is closed");
    let mut friend = Gateway::link(endpoint, "friend");
    assert_eq!(friend.publish("chat", None, "1"), (1, false));
}

#[test]
fn cores_share_nothing() {
    let router = Router::start(RouterConfig { cores: 2, ..unix_config() }).expect("a router");
    let [first, second] = router.endpoints() else { panic!("two endpoints") };
    let (mut first, mut second) = (Gateway::link(first, "a"), Gateway::link(second, "a"));
    let (here, there) = (first.subscribe(1, "chat", None), second.subscribe(1, "chat", None));
    assert_ne!(here.epoch, there.epoch);
    assert_eq!(first.publish("chat", None, "x"), (1, false));
    assert_eq!(second.publish("chat", None, "y"), (1, false));
    assert_eq!((first.update().2, second.update().2), ("x".to_owned(), "y".to_owned()));
}

#[test]
fn damaged_bytes_end_their_link_and_nothing_else() {
    let router = Router::start(unix_config()).expect("a router");
    let endpoint = &router.endpoints()[0];
    let (mut bad, mut good) = (Gateway::link(endpoint, "a"), Gateway::link(endpoint, "b"));
    bad.write(b"GET / HTTP/1.1\r\nHost: router\r\n\r\n").expect("an open link");
    let ToGateway::GoAway(notice) = bad.next() else { panic!("no notice") };
    assert_eq!(notice.reason, GoAwayReason::Corrupt);
    assert_eq!(bad.try_next(), None);
    assert_eq!(good.publish("chat", None, "1"), (1, false));
    let large = "x".repeat(300 << 10);
    let message = good.publication("chat", None, &large);
    good.send(&[message]);
    assert!(matches!(good.next(), ToGateway::Refusal { reason: RefusalReason::TooLarge, .. }));
}

#[test]
fn an_address_in_use_is_an_error_and_starts_nothing() {
    let mut config = unix_config();
    let first = Router::start(RouterConfig { cores: 2, ..config.clone() }).expect("a router");
    config.cores = 3;
    let error = Router::start(config.clone()).expect_err("the address is taken");
    assert!(matches!(error, StartError::Listen { .. }), "{error}");
    drop(first);
    Router::start(config).expect("the addresses are free again");
}

#[test]
fn a_silent_connection_is_closed() {
    let mut config = unix_config();
    config.limits.handshake = Duration::from_millis(50);
    let router = Router::start(config).expect("a router");
    let mut silent = Gateway::connect(&router.endpoints()[0]);
    assert_eq!(silent.try_next(), None);
}

#[test]
fn a_stopping_router_says_so_serves_on_and_ends() {
    let router = Router::start(unix_config()).expect("a router");
    let endpoint = router.endpoints()[0].clone();
    let (mut first, mut second) = (Gateway::link(&endpoint, "a"), Gateway::link(&endpoint, "b"));
    router.shutdown(common::PATIENCE);
    for gateway in [&mut first, &mut second] {
        let ToGateway::GoAway(notice) = gateway.next() else { panic!("no notice") };
        assert_eq!(notice.reason, GoAwayReason::Shutdown);
    }
    assert_eq!(first.publish("chat", None, "in flight"), (1, false));
    assert!(!router.is_finished());
    drop((first, second));
    router.join().expect("a clean end when the last gateway has left");
}

#[test]
fn a_grace_ends_the_links_that_stay() {
    let router = Router::start(unix_config()).expect("a router");
    let mut gateway = Gateway::link(&router.endpoints()[0], "a");
    router.shutdown(Duration::from_millis(50));
    assert!(matches!(gateway.next(), ToGateway::GoAway(_)));
    assert_eq!(gateway.try_next(), None);
    router.join().expect("a clean end");
}

#[test]
fn a_pinned_router_on_a_path_leaves_no_file_behind() {
    let path = std::env::temp_dir().join(format!("corecast-router-test-{}", std::process::id()));
    let listen = Listen::Unix(corecast_router::UnixAddr::Path(path.clone()));
    let mut config = RouterConfig::new(listen, SECRET.to_vec());
    config.cpus = corecast_ring::affinity::available().expect("CPUs");
    config.cores = 2;
    let router = Router::start(config).expect("a router");
    let ListenAddr::Unix(corecast_router::UnixAddr::Path(socket)) = router.endpoints()[1].clone() else {
        panic!("not a path")
    };
    assert_eq!(socket, path.with_extension("1"));
    let mut gateway = Gateway::link(&router.endpoints()[1], "a");
    assert_eq!(gateway.publish("chat", None, "1"), (1, false));
    drop(router);
    assert!(!socket.exists());
}
