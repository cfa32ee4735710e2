//! Claim: two clients, whatever their encoding, chat over one gateway; every command gets its reply.

use corecast_centrifuge::{HistoryRequest, Request, SubscribeRequest};

use crate::client::{Client, fresh, publication};
use crate::{Edge, wait_until};

#[test]
fn json_and_protobuf_members_get_the_same_messages_in_order() {
    let edge = Edge::start();
    let address = edge.gateway().local_addr();
    let mut clients = [Client::connect(address), Client::connect_protobuf(address)];
    for client in &mut clients {
        let result = client.subscribe("chat:1");
        assert_eq!((result.offset, result.was_recovering, result.recovered), (0, false, false));
    }
    clients[0].publish("chat:1", r#"{"t":"hi"}"#).unwrap();
    clients[1].publish("chat:1", r#"{"t":"yo"}"#).unwrap();
    for client in &mut clients {
        client.read_to("chat:1", 2);
        let bodies: Vec<&str> = client.received.iter().map(|(_, _, data)| data.as_str()).collect();
        assert_eq!(bodies, [r#"{"t":"hi"}"#, r#"{"t":"yo"}"#]);
    }
    assert_eq!(edge.counted("deliveries", 4), 4);
    assert_eq!(edge.router().seen().subscribes, 1, "one subscription per chat, not per member");
}

#[test]
fn connect_and_subscribes_in_one_frame_are_all_answered() {
    let edge = Edge::start();
    edge.router().publish("b", "1");
    let mut client = Client::open(edge.gateway().local_addr(), "", None);
    let names = ["a", "b", "c"];
    let connect = Request::Connect(corecast_centrifuge::ConnectRequest::default());
    let ids = client.send([connect].into_iter().chain(names.map(|name| Request::Subscribe(fresh(name)))));
    assert!(client.reply_to(ids[0]).is_ok());
    for (id, (name, offset)) in ids[1..].iter().zip([("a", 0), ("b", 1), ("c", 0)]) {
        assert_eq!(client.subscribed(*id).unwrap().offset, offset, "{name}");
    }
}

#[test]
fn a_chat_is_subscribed_once_and_left_whatever_happens() {
    let edge = Edge::start();
    let mut client = edge.client();
    client.subscribe("a");
    assert_eq!(client.subscribe_with(fresh("a")).unwrap_err().code, 105);
    client.unsubscribe("a");
    client.unsubscribe("a");
    client.unsubscribe("never heard of");
    edge.router().publish("a", "1");
    edge.counted("updates", 1);
    let result = client.subscribe("a");
    assert_eq!(result.offset, 1);
    // Left and joined again within the linger: the router did not notice.
    assert_eq!(edge.router().seen().subscribes, 1);
}

#[test]
fn a_subscribe_that_is_taken_back_at_once_is_answered_too() {
    let edge = Edge::start();
    let mut client = edge.client();
    let unsubscribe = Request::Unsubscribe(corecast_centrifuge::UnsubscribeRequest { channel: "a".into() });
    let ids = client.send([Request::Subscribe(fresh("a")), unsubscribe, Request::Subscribe(fresh("a"))]);
    let first = client.reply_to(ids[0]).unwrap_err();
    assert_eq!((first.code, first.temporary), (100, true));
    client.reply_to(ids[1]).unwrap();
    client.subscribed(ids[2]).unwrap();
    client.publish("a", "1").unwrap();
    client.read_to("a", 1);
}

#[test]
fn history_and_member_counts_come_from_the_router() {
    let edge = Edge::start();
    let (mut one, mut other) = (edge.client(), edge.client());
    one.subscribe("a");
    other.subscribe("a");
    for n in 1..=5 {
        one.publish("a", &n.to_string()).unwrap();
    }
    let ask = |limit, reverse| HistoryRequest { channel: "a".into(), limit, since: None, reverse };
    let page = one.history(ask(3, false)).unwrap();
    assert_eq!(page.offset, 5);
    assert_eq!(page.publications.iter().map(|p| p.offset).collect::<Vec<_>>(), [1, 2, 3]);
    let page = one.history(ask(2, true)).unwrap();
    assert_eq!(page.publications.iter().map(|p| p.offset).collect::<Vec<_>>(), [5, 4]);
    assert!(one.history(ask(0, false)).unwrap().publications.is_empty());
    wait_until("members are counted", || one.member_count("a") == 2);
    drop(other);
    wait_until("a member left", || one.member_count("a") == 1);
}

#[test]
fn the_last_member_leaves_the_router_after_a_while() {
    let edge = Edge::with(1, |config| config.timing.linger = std::time::Duration::from_millis(200));
    let mut client = edge.client();
    client.subscribe("a");
    client.unsubscribe("a");
    wait_until("the chat is left", || edge.router().seen().unsubscribes == 1);
    client.subscribe("a");
    assert_eq!(edge.router().seen().subscribes, 2);
    client.publish("a", "1").unwrap();
    client.read_to("a", 1);
}

#[test]
fn many_publishes_in_one_frame_are_all_answered_and_come_back_in_order() {
    let edge = Edge::start();
    let mut client = edge.client();
    client.subscribe("a");
    let ids = client.send((0..200).map(|n| publication("a", &n.to_string())));
    for id in ids {
        client.reply_to(id).unwrap();
    }
    client.read_to("a", 200);
    let bodies: Vec<String> = client.received.iter().map(|(_, _, data)| data.clone()).collect();
    assert_eq!(bodies, (0..200).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn what_is_not_allowed_is_refused_and_what_is_not_served_is_named() {
    let edge = Edge::with(1, |config| {
        config.auth = corecast_gateway::auth::AuthConfig { anonymous: true, ..Default::default() };
        config.auth.anonymous_users.subscribe = vec!["open:*".parse().unwrap()];
        config.auth.origins = corecast_gateway::auth::OriginPolicy::any();
    });
    let mut client = edge.client();
    client.subscribe("open:1");
    assert_eq!(client.subscribe_with(fresh("closed")).unwrap_err().code, 103);
    assert_eq!(client.publish("open:1", "1").unwrap_err().code, 103);
    let other_kind = SubscribeRequest { r#type: 1, ..fresh("open:2") };
    assert_eq!(client.subscribe_with(other_kind).unwrap_err().code, 108);
}
