//! Whatever can be said in one encoding survives it, and says the same in the other.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

use std::collections::BTreeMap;

use bytes::Bytes;
use corecast_centrifuge::client::{Incoming, Reply, decode_replies, encode_command};
use corecast_centrifuge::{
    ClientInfo, Command, ConnectRequest, ConnectResult, DecodeLimits, Disconnect, Encoding, HistoryRequest,
    HistoryResult, Join, Leave, Message, PingRequest, PingResult, PresenceRequest, PresenceResult,
    PresenceStatsRequest, PresenceStatsResult, ProtocolError, Publication, PublishRequest, PublishResult, Push,
    RefreshRequest, RefreshResult, ReplyBody, Request, RpcRequest, RpcResult, SendRequest, StreamPosition,
    SubRefreshRequest, SubRefreshResult, Subscribe, SubscribeRequest, SubscribeResult, Unsubscribe, UnsubscribeRequest,
    UnsubscribeResult, decode_commands, encode_error, encode_publication, encode_push, encode_reply, sanitize_json,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

/// JSON as applications write it, newlines included.
fn json() -> impl Strategy<Value = Bytes> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(|value| format!("{value:e}")),
        any::<String>().prop_map(|value| serde_json::to_string(&value).unwrap()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|values| format!("[{}]", values.join(" ,"))),
            vec((any::<String>(), inner), 0..4).prop_map(|fields| {
                let fields: Vec<_> =
                    fields.iter().map(|(k, v)| format!("{}: {v}", serde_json::to_string(k).unwrap())).collect();
                format!("{{{}}}", fields.join(",\r "))
            }),
        ]
    })
    .prop_map(Bytes::from)
}

/// A body that may be absent.
fn body() -> impl Strategy<Value = Bytes> {
    prop_oneof![Just(Bytes::new()), json()]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z0-9:]{1,20}", any::<String>()]
}

prop_compose! {
    fn info()(user in name(), client in name(), conn_info in body(), chan_info in body()) -> ClientInfo {
        ClientInfo { user, client, conn_info, chan_info }
    }
}

prop_compose! {
    fn publication()(
        data in body(),
        info in option::of(info()),
        offset: u64,
        tags in btree_map(name(), name(), 0..3),
        time: i64,
        channel in name(),
        epoch in name(),
    ) -> Publication {
        Publication { data, info, offset, tags, time, channel, epoch }
    }
}

prop_compose! {
    fn subscribe_request()(
        channel in name(),
        token in name(),
        flags in any::<[bool; 4]>(),
        epoch in name(),
        offset: u64,
        data in body(),
        flag: i64,
        r#type: i32,
    ) -> SubscribeRequest {
        let [recover, positioned, recoverable, join_leave] = flags;
        SubscribeRequest {
            channel, token, recover, epoch, offset, data, positioned, recoverable, join_leave, flag, r#type
        }
    }
}

prop_compose! {
    fn subscribe_result()(
        flags in any::<[bool; 5]>(),
        ttl: u32,
        epoch in name(),
        publications in vec(publication(), 0..3),
        offset: u64,
        data in body(),
    ) -> SubscribeResult {
        let [expires, recoverable, recovered, positioned, was_recovering] = flags;
        SubscribeResult {
            expires, ttl, recoverable, epoch, publications, recovered, offset, positioned, data, was_recovering
        }
    }
}

fn connect_request() -> impl Strategy<Value = ConnectRequest> {
    let headers = btree_map(name(), name(), 0..3);
    let subs = btree_map(name(), subscribe_request(), 0..3);
    (name(), body(), subs, name(), name(), headers, any::<i64>()).prop_map(
        |(token, data, subs, name, version, headers, flag)| ConnectRequest {
            token,
            data,
            subs,
            name,
            version,
            headers,
            flag,
        },
    )
}

fn connect_result() -> impl Strategy<Value = ConnectResult> {
    let subs = btree_map(name(), subscribe_result(), 0..3);
    (name(), name(), any::<(bool, u32, u32, bool)>(), body(), subs, name(), any::<(i64, i64)>()).prop_map(
        |(client, version, (expires, ttl, ping, pong), data, subs, session, (time, flag))| ConnectResult {
            client,
            version,
            expires,
            ttl,
            data,
            subs,
            ping,
            pong,
            node: session.clone(),
            session,
            time,
            flag,
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    let since = option::of((any::<u64>(), name()).prop_map(|(offset, epoch)| StreamPosition { offset, epoch }));
    prop_oneof![
        connect_request().prop_map(Request::Connect),
        subscribe_request().prop_map(Request::Subscribe),
        name().prop_map(|channel| Request::Unsubscribe(UnsubscribeRequest { channel })),
        (name(), body(), any::<i32>()).prop_map(|(channel, data, r#type)| Request::Publish(PublishRequest {
            channel,
            data,
            r#type
        })),
        name().prop_map(|channel| Request::Presence(PresenceRequest { channel })),
        name().prop_map(|channel| Request::PresenceStats(PresenceStatsRequest { channel })),
        (name(), any::<(i32, bool)>(), since).prop_map(|(channel, (limit, reverse), since)| {
            Request::History(HistoryRequest { channel, limit, since, reverse })
        }),
        Just(Request::Ping(PingRequest {})),
        body().prop_map(|data| Request::Send(SendRequest { data })),
        (body(), name()).prop_map(|(data, method)| Request::Rpc(RpcRequest { data, method })),
        name().prop_map(|token| Request::Refresh(RefreshRequest { token })),
        (name(), name(), any::<i32>())
            .prop_map(|(channel, token, r#type)| { Request::SubRefresh(SubRefreshRequest { channel, token, r#type }) }),
    ]
}

fn reply() -> impl Strategy<Value = ReplyBody> {
    prop_oneof![
        connect_result().prop_map(ReplyBody::Connect),
        subscribe_result().prop_map(ReplyBody::Subscribe),
        Just(ReplyBody::Unsubscribe(UnsubscribeResult {})),
        Just(ReplyBody::Publish(PublishResult {})),
        btree_map(name(), info(), 0..3).prop_map(|presence| ReplyBody::Presence(PresenceResult { presence })),
        any::<(u32, u32)>().prop_map(|(num_clients, num_users)| {
            ReplyBody::PresenceStats(PresenceStatsResult { num_clients, num_users })
        }),
        (vec(publication(), 0..4), name(), any::<u64>()).prop_map(|(publications, epoch, offset)| {
            ReplyBody::History(HistoryResult { publications, epoch, offset })
        }),
        Just(ReplyBody::Ping(PingResult {})),
        body().prop_map(|data| ReplyBody::Rpc(RpcResult { data })),
        (name(), name(), any::<(bool, u32)>()).prop_map(|(client, version, (expires, ttl))| {
            ReplyBody::Refresh(RefreshResult { client, version, expires, ttl })
        }),
        any::<(bool, u32)>().prop_map(|(expires, ttl)| ReplyBody::SubRefresh(SubRefreshResult { expires, ttl })),
    ]
}

fn push() -> impl Strategy<Value = Push> {
    let pushed = prop_oneof![
        publication().prop_map(|body| Push { publication: Some(body), ..Default::default() }),
        option::of(info()).prop_map(|info| Push { join: Some(Join { info }), ..Default::default() }),
        option::of(info()).prop_map(|info| Push { leave: Some(Leave { info }), ..Default::default() }),
        (any::<u32>(), name())
            .prop_map(|(code, reason)| Push { unsubscribe: Some(Unsubscribe { code, reason }), ..Default::default() }),
        body().prop_map(|data| Push { message: Some(Message { data }), ..Default::default() }),
        (any::<(bool, bool)>(), name(), any::<u64>(), body()).prop_map(
            |((recoverable, positioned), epoch, offset, data)| Push {
                subscribe: Some(Subscribe { recoverable, epoch, offset, positioned, data }),
                ..Default::default()
            }
        ),
        (any::<u32>(), name(), any::<bool>()).prop_map(|(code, reason, reconnect)| Push {
            disconnect: Some(Disconnect { code, reason, reconnect }),
            ..Default::default()
        }),
    ];
    (name(), pushed).prop_map(|(channel, push)| Push { channel, ..push })
}

fn from_server(encoding: Encoding, frame: &[u8]) -> Reply {
    match decode_replies(encoding, frame).collect::<Result<Vec<_>, _>>().unwrap().as_slice() {
        [Incoming::Reply(reply)] => Reply::clone(reply),
        [Incoming::Publication(publication)] => {
            let body = Publication {
                data: Bytes::copy_from_slice(publication.data),
                offset: publication.offset,
                ..Default::default()
            };
            let push = Push { channel: publication.channel.into(), publication: Some(body), ..Default::default() };
            Reply { push: Some(push), ..Default::default() }
        }
        other => panic!("one message expected, not {other:?}"),
    }
}

proptest! {
    #[test]
    fn commands_survive(requests in vec(request(), 1..4), first in 1u32..) {
        for encoding in Encoding::ALL {
            let commands: Vec<_> = requests.iter().cloned().zip(first..=u32::MAX)
                .map(|(request, id)| Command { id, request }).collect();
            let mut frame = Vec::new();
            for command in &commands {
                encode_command(encoding, command, &mut frame);
            }
            let decoded: Result<Vec<_>, _> = decode_commands(encoding, &frame, DecodeLimits::default()).collect();
            prop_assert_eq!(decoded.unwrap(), commands);
        }
    }

    #[test]
    fn replies_survive(body in reply(), id in 1u32..) {
        for encoding in Encoding::ALL {
            let mut frame = Vec::new();
            encode_reply(encoding, id, &body, &mut frame);
            let expected = Reply { id, body: Some(body.clone()), ..Default::default() };
            prop_assert_eq!(from_server(encoding, &frame), expected);
        }
    }

    #[test]
    fn errors_survive(code: u32, message in name(), temporary: bool, id in 1u32..) {
        for encoding in Encoding::ALL {
            let error = ProtocolError { code, message: message.clone(), temporary };
            let mut frame = Vec::new();
            encode_error(encoding, id, &error, &mut frame);
            let expected = Reply { id, error: Some(error), ..Default::default() };
            prop_assert_eq!(from_server(encoding, &frame), expected);
        }
    }

    #[test]
    fn pushes_survive(push in push()) {
        for encoding in Encoding::ALL {
            let mut frame = Vec::new();
            encode_push(encoding, &push, &mut frame);
            let expected = Reply { push: Some(push.clone()), ..Default::default() };
            prop_assert_eq!(from_server(encoding, &frame), expected);
        }
    }

    /// The way through the gateway: into JSON, out of JSON, and into Protobuf, never another byte in the body.
    #[test]
    fn bodies_are_carried_verbatim(data in json(), channel in name(), offset in 1u64..) {
        let command = Command {
            id: 1,
            request: Request::Publish(PublishRequest { channel: channel.clone(), data: data.clone(), r#type: 0 }),
        };
        let mut frame = Vec::new();
        encode_command(Encoding::Json, &command, &mut frame);
        let Some(Ok(Command { request: Request::Publish(publish), .. })) =
            decode_commands(Encoding::Json, &frame, DecodeLimits::default()).next()
        else {
            panic!("a publish went in");
        };
        prop_assert_eq!(&publish.data, &data);
        let clean = sanitize_json(publish.data).unwrap();
        prop_assert_eq!(&clean, &data);
        for encoding in Encoding::ALL {
            let mut frame = Vec::new();
            encode_publication(encoding, &channel, offset, &clean, &mut frame);
            let expected = Publication { data: data.clone(), offset, ..Default::default() };
            prop_assert_eq!(from_server(encoding, &frame).push.unwrap().publication.unwrap(), expected);
        }
    }

    /// An independent parser reads the same out of our JSON.
    #[test]
    fn json_is_json_in_one_line(body in reply(), id in 1u32..) {
        let mut frame = Vec::new();
        encode_reply(Encoding::Json, id, &body, &mut frame);
        prop_assert!(!frame.contains(&b'\n'));
        let value: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&frame).unwrap();
        prop_assert_eq!(value.len(), 2);
        prop_assert_eq!(value.get("id").and_then(serde_json::Value::as_u64), Some(u64::from(id)));
    }
}
