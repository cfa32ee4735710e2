//! Claim: tokens decide who connects and subscribes, and how long; the subscriptions that a token grants come with the
//! reply to connect.

use std::time::{SystemTime, UNIX_EPOCH};

use corecast_centrifuge::{ReplyBody, Request, SubRefreshRequest};
use corecast_gateway::auth::{Algorithm, AuthConfig, KeyConfig, KeyMaterial, NewToken, TokenSigner};
use corecast_gateway::control::DisconnectRequest;

use crate::Edge;
use crate::client::{Client, In, fresh};

fn keyed(change: impl FnOnce(&mut corecast_gateway::config::GatewayConfig)) -> (Edge, TokenSigner) {
    let secret = "a secret that is long enough for HS256";
    let key = KeyConfig { id: None, algorithm: Algorithm::Hs256, material: KeyMaterial::Secret(secret.into()) };
    let signer = TokenSigner::new(&key).unwrap();
    let edge = Edge::with(1, |config| {
        config.auth = AuthConfig { keys: vec![key], anonymous: false, ..AuthConfig::standalone() };
        change(config);
    });
    (edge, signer)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn open(edge: &Edge) -> Client {
    Client::open(edge.gateway().local_addr(), "", None)
}

#[test]
fn wrong_tokens_are_refused_and_nothing_behind_them_is_done() {
    let (edge, signer) = keyed(|_| {});
    let mut client = open(&edge);
    client.send([Request::Connect(corecast_centrifuge::ConnectRequest {
        token: "garbage".into(),
        ..Default::default()
    })]);
    assert_eq!(client.closed(), 3500);
    let mut client = open(&edge);
    let expired =
        signer.sign(&NewToken { user: "u".into(), expires_at: Some(now() - 10), ..Default::default() }).unwrap();
    let connect = Request::Connect(corecast_centrifuge::ConnectRequest { token: expired, ..Default::default() });
    let ids = client.send([connect, Request::Subscribe(fresh("a"))]);
    assert_eq!(client.reply_to(ids[0]).unwrap_err().code, 109);
    assert_eq!(client.closed(), 3502, "closed after a while, without an answer to the subscribe");
    assert_eq!(open(&edge).connect_with("").unwrap_err().code, 101);
    assert_eq!(edge.router().seen().subscribes, 0);
}

#[test]
fn granted_subscriptions_come_with_connect() {
    let (edge, signer) = keyed(|_| {});
    edge.router().publish("b", "1");
    let token = signer
        .sign(&NewToken { user: "u".into(), channels: vec!["a".into(), "b".into()], ..Default::default() })
        .unwrap();
    let mut client = open(&edge);
    let result = client.connect_with(&token).unwrap();
    assert_eq!(
        result.subs.iter().map(|(name, sub)| (name.as_str(), sub.offset)).collect::<Vec<_>>(),
        [("a", 0), ("b", 1)]
    );
    client.positions.insert("b".into(), 1);
    edge.router().publish("b", "2");
    assert_eq!(client.expect("b"), (2, "2".into()));
}

#[test]
fn a_connection_that_is_not_refreshed_is_closed_3005() {
    let (edge, signer) = keyed(|config| config.timing.expiry_grace = std::time::Duration::from_millis(200));
    let token = signer.sign(&NewToken { user: "u".into(), expires_at: Some(now() + 2), ..Default::default() }).unwrap();
    let mut client = open(&edge);
    let result = client.connect_with(&token).unwrap();
    assert!(result.expires && (1..=2).contains(&result.ttl));
    assert_eq!(client.closed(), 3005);
}

#[test]
fn a_subscription_that_is_not_refreshed_is_ended_2501() {
    let (edge, signer) = keyed(|config| config.timing.expiry_grace = std::time::Duration::from_millis(200));
    let sign = |channel: Option<&str>, expires_at| {
        let channel = channel.map(Into::into);
        signer.sign(&NewToken { user: "u".into(), channel, expires_at, ..Default::default() }).unwrap()
    };
    let mut client = open(&edge);
    client.connect_with(&sign(None, None)).unwrap();
    let request = corecast_centrifuge::SubscribeRequest { token: sign(Some("a"), Some(now() + 2)), ..fresh("a") };
    let result = client.subscribe_with(request).unwrap();
    assert!(result.expires && (1..=2).contains(&result.ttl));
    let refresh = SubRefreshRequest { channel: "a".into(), token: sign(Some("a"), Some(now() + 3)), r#type: 0 };
    match client.call(Request::SubRefresh(refresh)).unwrap() {
        ReplyBody::SubRefresh(result) => assert!(result.expires),
        other => panic!("{other:?}"),
    }
    match client.next() {
        In::Unsubscribed(chat, 2501) => assert_eq!(chat, "a"),
        other => panic!("{other:?}"),
    }
    client.subscribe("b");
}

#[test]
fn disconnect_by_user_reaches_all_connections_of_that_user() {
    let (edge, signer) = keyed(|config| config.cores = 2);
    let sign = |user: &str| signer.sign(&NewToken { user: user.into(), ..Default::default() }).unwrap();
    let mut clients: Vec<Client> = ["eve", "eve", "bob"]
        .iter()
        .map(|user| {
            let mut client = open(&edge);
            client.connected = client.connect_with(&sign(user)).unwrap();
            client
        })
        .collect();
    let mut spared = open(&edge);
    let spared_id = spared.connect_with(&sign("eve")).unwrap().client;
    let request = DisconnectRequest {
        user: "eve".into(),
        client: None,
        code: 3503,
        reason: "force disconnect".into(),
        whitelist: vec![spared_id],
    };
    edge.gateway().control().disconnect(request).unwrap();
    assert_eq!(clients[0].closed(), 3503);
    assert_eq!(clients[1].closed(), 3503);
    clients[2].subscribe("a");
    spared.subscribe("a");
}
