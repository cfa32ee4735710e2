//! Bytes on the wire are exactly those of a session recorded between the published JavaScript SDK and a server.
#![allow(clippy::unwrap_used)] // a failed unwrap is a failed test

use Encoding::{Json, Protobuf};
use bytes::Bytes;
use corecast_centrifuge::client::{Incoming, PublicationRef, decode_replies, encode_command};
use corecast_centrifuge::codes::{ErrorCode, UnsubscribeCode};
use corecast_centrifuge::{
    Command, ConnectRequest, ConnectResult, DecodeLimits, Encoding, HistoryResult, PingResult, PresenceResult,
    PresenceStatsResult, Publication, PublicationEncoder, PublishRequest, PublishResult, Push, RefreshResult,
    ReplyBody, Request, RpcResult, SubRefreshResult, SubscribeRequest, SubscribeResult, UnsubscribeResult,
    decode_commands, encode_error, encode_ping, encode_publication, encode_push, encode_reply, encode_unsubscribe_push,
};

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn commands(encoding: Encoding, frame: &[u8]) -> Vec<Command> {
    decode_commands(encoding, frame, DecodeLimits::default()).map(|command| command.unwrap()).collect()
}

fn connect(id: u32) -> Command {
    let request = ConnectRequest { token: "JWT".into(), name: "js".into(), ..Default::default() };
    Command { id, request: Request::Connect(request) }
}

fn subscribe(id: u32) -> Command {
    let request = SubscribeRequest { channel: "chat:1".into(), flag: 1, ..Default::default() };
    Command { id, request: Request::Subscribe(request) }
}

fn recover(id: u32) -> Command {
    let request = SubscribeRequest {
        channel: "chat:1".into(),
        flag: 1,
        recover: true,
        offset: 7,
        epoch: "ep1".into(),
        ..Default::default()
    };
    Command { id, request: Request::Subscribe(request) }
}

fn connected(client: &str) -> ReplyBody {
    ReplyBody::Connect(ConnectResult { client: client.into(), ping: 25, pong: true, ..Default::default() })
}

fn subscribed(offset: u64) -> SubscribeResult {
    SubscribeResult { recoverable: true, positioned: true, epoch: "ep1".into(), offset, ..Default::default() }
}

fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    String::from_utf8(encoded(write)).unwrap()
}

#[test]
fn json_client_to_server() {
    let first = b"{\"connect\":{\"token\":\"JWT\",\"name\":\"js\"},\"id\":1}\n{\"subscribe\":{\"channel\":\"chat:1\",\"flag\":1},\"id\":2}";
    assert_eq!(commands(Json, first), [connect(1), subscribe(2)]);

    let again = br#"{"subscribe":{"channel":"chat:1","flag":1,"recover":true,"offset":7,"epoch":"ep1"},"id":5}"#;
    assert_eq!(commands(Json, again), [recover(5)]);

    assert_eq!(commands(Json, b"{}"), [Command { id: 0, request: Request::Pong }]);

    let publish = br#"{"publish":{"channel":"chat:1","data":{"t":"yo"}},"id":3}"#;
    let request = PublishRequest { channel: "chat:1".into(), data: br#"{"t":"yo"}"#.as_slice().into(), r#type: 0 };
    assert_eq!(commands(Json, publish), [Command { id: 3, request: Request::Publish(request) }]);
}

#[test]
fn json_server_to_client() {
    assert_eq!(
        text(|out| encode_reply(Json, 1, &connected("c1"), out)),
        r#"{"id":1,"connect":{"client":"c1","ping":25,"pong":true}}"#
    );
    assert_eq!(
        text(|out| encode_reply(Json, 2, &ReplyBody::Subscribe(subscribed(5)), out)),
        r#"{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"ep1","offset":5}}"#
    );
    assert_eq!(
        text(|out| encode_publication(Json, "chat:1", 6, br#"{"t":"hi"}"#, out)),
        r#"{"push":{"channel":"chat:1","pub":{"data":{"t":"hi"},"offset":6}}}"#
    );
    assert_eq!(text(|out| encode_ping(Json, out)), "{}");
    assert_eq!(
        text(|out| encode_reply(Json, 3, &ReplyBody::Publish(PublishResult {}), out)),
        r#"{"id":3,"publish":{}}"#
    );
    let missed = Publication { data: br#"{"t":"missed"}"#.as_slice().into(), offset: 8, ..Default::default() };
    let recovered =
        SubscribeResult { was_recovering: true, recovered: true, publications: vec![missed], ..subscribed(7) };
    assert_eq!(
        text(|out| encode_reply(Json, 5, &ReplyBody::Subscribe(recovered), out)),
        concat!(
            r#"{"id":5,"subscribe":{"recoverable":true,"positioned":true,"epoch":"ep1","was_recovering":true,"#,
            r#""recovered":true,"offset":7,"publications":[{"data":{"t":"missed"},"offset":8}]}}"#
        )
    );
    assert_eq!(
        text(|out| encode_unsubscribe_push(Json, "chat:1", UnsubscribeCode::InsufficientState, out)),
        r#"{"push":{"channel":"chat:1","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#
    );
    assert_eq!(
        text(|out| encode_error(Json, 4, &ErrorCode::Internal.into(), out)),
        r#"{"id":4,"error":{"code":100,"message":"internal server error","temporary":true}}"#
    );
    assert_eq!(
        text(|out| encode_error(Json, 4, &ErrorCode::TokenExpired.into(), out)),
        r#"{"id":4,"error":{"code":109,"message":"token expired"}}"#
    );
}

#[test]
fn protobuf_session() {
    let connect_frame = hex("0d 08 01 22 09 0a 03 4a 57 54 22 02 6a 73");
    let subscribe_frame = hex("0e 08 02 2a 0a 0a 06 63 68 61 74 3a 31 70 01");
    let both = [connect_frame.clone(), subscribe_frame.clone()].concat();
    assert_eq!(commands(Protobuf, &both), [connect(1), subscribe(2)]);
    assert_eq!(encoded(|out| encode_command(Protobuf, &connect(1), out)), connect_frame);
    assert_eq!(encoded(|out| encode_command(Protobuf, &subscribe(2), out)), subscribe_frame);

    let recover_frame = hex("17 08 04 2a 13 0a 06 63 68 61 74 3a 31 18 01 32 03 65 70 31 38 07 70 01");
    assert_eq!(commands(Protobuf, &recover_frame), [recover(4)]);
    assert_eq!(encoded(|out| encode_command(Protobuf, &recover(4), out)), recover_frame);

    assert_eq!(
        encoded(|out| encode_reply(Protobuf, 1, &connected("c1"), out)),
        hex("0c 08 01 2a 08 0a 02 63 31 38 19 40 01")
    );
    assert_eq!(
        encoded(|out| encode_reply(Protobuf, 2, &ReplyBody::Subscribe(subscribed(5)), out)),
        hex("0f 08 02 32 0b 18 01 32 03 65 70 31 48 05 50 01")
    );
    let publication = hex("1a 22 18 12 06 63 68 61 74 3a 31 22 0e 22 0a 7b 22 74 22 3a 22 68 69 22 7d 30 06");
    assert_eq!(encoded(|out| encode_publication(Protobuf, "chat:1", 6, br#"{"t":"hi"}"#, out)), publication);
    let expected = PublicationRef { channel: "chat:1", offset: 6, data: br#"{"t":"hi"}"# };
    let incoming: Vec<_> = decode_replies(Protobuf, &publication).collect();
    assert_eq!(incoming, [Ok(Incoming::Publication(expected))]);
    assert_eq!(
        encoded(|out| encode_unsubscribe_push(Protobuf, "chat:1", UnsubscribeCode::InsufficientState, out)),
        hex(
            "23 22 21 12 06 63 68 61 74 3a 31 3a 17 10 c4 13 1a 12 69 6e 73 75 66 66 69 63 69 65 6e 74 20 73 74 61 74 65"
        )
    );
    assert_eq!(encoded(|out| encode_ping(Protobuf, out)), hex("00"));
    assert_eq!(commands(Protobuf, &hex("00")), [Command { id: 0, request: Request::Pong }]);
    assert_eq!(
        encoded(|out| encode_reply(Protobuf, 3, &ReplyBody::Publish(PublishResult {}), out)),
        hex("04 08 03 42 00")
    );
}

#[test]
fn an_empty_result_is_still_there() {
    let replies = [
        (ReplyBody::Connect(ConnectResult::default()), "connect", "2a 00"),
        (ReplyBody::Subscribe(SubscribeResult::default()), "subscribe", "32 00"),
        (ReplyBody::Unsubscribe(UnsubscribeResult {}), "unsubscribe", "3a 00"),
        (ReplyBody::Publish(PublishResult {}), "publish", "42 00"),
        (ReplyBody::Presence(PresenceResult::default()), "presence", "4a 00"),
        (ReplyBody::PresenceStats(PresenceStatsResult::default()), "presence_stats", "52 00"),
        (ReplyBody::History(HistoryResult::default()), "history", "5a 00"),
        (ReplyBody::Ping(PingResult {}), "ping", "62 00"),
        (ReplyBody::Rpc(RpcResult::default()), "rpc", "6a 00"),
        (ReplyBody::Refresh(RefreshResult::default()), "refresh", "72 00"),
        (ReplyBody::SubRefresh(SubRefreshResult::default()), "sub_refresh", "7a 00"),
    ];
    for (reply, name, field) in replies {
        assert_eq!(text(|out| encode_reply(Json, 9, &reply, out)), format!(r#"{{"id":9,"{name}":{{}}}}"#));
        assert_eq!(encoded(|out| encode_reply(Protobuf, 9, &reply, out)), hex(&format!("04 08 09 {field}")));
    }
}

#[test]
fn several_messages_share_a_frame() {
    let write = |encoding, out: &mut Vec<u8>| {
        encode_reply(encoding, 3, &ReplyBody::Publish(PublishResult {}), out);
        encode_ping(encoding, out);
        encode_publication(encoding, "c", 1, b"1", out);
    };
    assert_eq!(
        text(|out| write(Json, out)),
        "{\"id\":3,\"publish\":{}}\n{}\n{\"push\":{\"channel\":\"c\",\"pub\":{\"data\":1,\"offset\":1}}}"
    );
    assert_eq!(encoded(|out| write(Protobuf, out)), hex("04 08 03 42 00 00 0c 22 0a 12 01 63 22 05 22 01 31 30 01"));
}

#[test]
fn encoder_of_a_chat_writes_the_same_behind_a_header_and_within_the_announced_length() {
    for channel in ["chat:1", "a\"b\\c\n\u{1}é"] {
        let encoder = PublicationEncoder::new(channel);
        assert_eq!(encoder.channel(), channel);
        for encoding in Encoding::ALL {
            for offset in [0, 1, 9, 10, 127, 128, (1 << 53) - 1, u64::MAX] {
                for data in [b"".as_slice(), b"0", &[b'7'; 100], &[b'7'; 20_000]] {
                    let plain = encoded(|out| encode_publication(encoding, channel, offset, data, out));
                    let mut out = b"head".to_vec();
                    out.reserve_exact(plain.len());
                    let room = out.capacity();
                    encoder.write(encoding, offset, data, &mut out);
                    assert_eq!(&out[4..], plain);
                    assert_eq!(out.capacity(), room, "no growth");
                    assert_eq!(encoder.encoded_len(encoding, offset, data), plain.len());

                    let publication = Publication { data: Bytes::copy_from_slice(data), offset, ..Default::default() };
                    let push = Push { channel: channel.into(), publication: Some(publication), ..Default::default() };
                    assert_eq!(encoded(|out| encode_push(encoding, &push, out)), plain, "hot path = general path");
                }
            }
        }
    }
}
