//! Whatever bytes and messages come, nothing panics, everything stays bounded, and other links are served.

use corecast_wire::limits::MAX_OFFSET;
use corecast_wire::message::{Disconnect, GoAway, GoAwayReason, NodeStats, Signal};
use proptest::prelude::*;

use super::*;

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..5_u64, Just(MAX_OFFSET), Just(MAX_OFFSET - 1), 0..=MAX_OFFSET]
}

fn short() -> impl Strategy<Value = u32> {
    prop_oneof![0..4_u32, Just(u32::MAX), any::<u32>()]
}

fn position() -> impl Strategy<Value = Option<Position>> {
    prop::option::of((0..3_u64, number()).prop_map(|(epoch, offset)| Position { epoch, offset }))
}

fn chat() -> impl Strategy<Value = ChatName> {
    (0..4_u8).prop_map(|number| {
        name(&"n".repeat(usize::from(number) * 85).chars().chain(['.']).take(255).collect::<String>())
    })
}

fn any_message() -> impl Strategy<Value = ToRouter> {
    let text = || "[a-z]{0,3}".prop_map(|text| Text::truncated(&text));
    let bytes = |most: usize| prop::collection::vec(any::<u8>(), 1..most).prop_map(Bytes::from);
    prop_oneof![
        (short(), chat(), position(), any::<u16>())
            .prop_map(|(handle, chat, resume, want)| ToRouter::Subscribe(Subscribe { handle, chat, resume, want })),
        short().prop_map(|handle| ToRouter::Unsubscribe { handle }),
        (number(), chat(), prop::option::of(bytes(255)), bytes(2_000))
            .prop_map(|(request, chat, key, payload)| ToRouter::Publish(Publish { request, chat, key, payload })),
        (number(), chat(), position(), short(), short(), any::<bool>()).prop_map(
            |(request, chat, since, limit, max_bytes, reverse)| {
                ToRouter::History(History { request, chat, since, limit, max_bytes, reverse })
            }
        ),
        (number(), chat()).prop_map(|(request, chat)| ToRouter::PresenceStats { request, chat }),
        (short(), short()).prop_map(|(handle, count)| ToRouter::Members { handle, count }),
        (number(), text(), text()).prop_map(|(request, user, client)| {
            let disconnect = Disconnect { user, client, code: 3_000, reason: Text::default(), except: Vec::new() };
            ToRouter::Signal { request, signal: Signal::Disconnect(Box::new(disconnect)) }
        }),
        short().prop_map(|clients| ToRouter::NodeStats(NodeStats { clients, ..NodeStats::default() })),
        number().prop_map(|request| ToRouter::Nodes { request }),
        number().prop_map(|nonce| ToRouter::Ping { nonce }),
        number().prop_map(|nonce| ToRouter::Pong { nonce }),
        Just(ToRouter::GoAway(GoAway { reason: GoAwayReason::Slow, drain_ms: 1 })),
        Just(ToRouter::Hello(hello("again"))),
        Just(ToRouter::Proof { mac: [0; 32] }),
    ]
}

proptest! {
    #[test]
    fn any_messages_from_a_linked_gateway(messages in prop::collection::vec(any_message(), 1..60), stalled: bool) {
        let mut world = World::new(|config| {
            config.limits.payload_bytes = 1_000;
            config.limits.kept_bytes_total = 5_000;
            config.limits.keys.keys = 5;
            config.limits.chats = 3;
            config.limits.link_soft_bytes = 2_000;
            config.limits.link_drained_bytes = 500;
        });
        let (bad, good) = (world.link("bad"), world.link("good"));
        world.gateways[bad].stalled = stalled;
        for message in messages {
            world.send(bad, message);
            let stats = world.core.stats();
            prop_assert!(stats.chats <= 3 && stats.keys <= 5 && stats.pending == 0);
            prop_assert!(stats.kept_bytes <= 5_000 + 1_064);
        }
        world.inbox(good);
        world.send(good, ToRouter::Ping { nonce: 3 });
        prop_assert_eq!(world.inbox(good), [ToGateway::Pong { nonce: 3 }]);
        world.core.handle_closed(world.gateways[bad].link, world.now);
        world.live(Duration::from_secs(700));
        let stats = world.core.stats();
        prop_assert_eq!((stats.chats, stats.keys, stats.kept_bytes, stats.subscriptions), (0, 0, 0, 0));
    }

    #[test]
    fn any_bytes_from_anyone(bytes in prop::collection::vec(any::<u8>(), 1..400), linked: bool, cut in 1..400_usize) {
        let mut world = World::plain();
        let good = world.link("good");
        let bad = if linked { world.link("bad") } else { world.accept() };
        for part in bytes.chunks(cut) {
            world.core.handle_received(world.gateways[bad].link, part, world.now);
            world.turn();
        }
        world.inbox(good);
        world.send(good, ToRouter::Ping { nonce: 3 });
        prop_assert_eq!(world.inbox(good), [ToGateway::Pong { nonce: 3 }]);
    }
}
