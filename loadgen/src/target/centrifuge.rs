//! The Centrifuge client protocol v2, from the client's side, JSON and Protobuf.
//!
//! A publication is found by walking the usual layout once; any other layout goes through the full decoder of
//! `corecast_centrifuge`, with the same result.

use bytes::Bytes;
use corecast_centrifuge::client::{self, Reply};
use corecast_centrifuge::{
    Command, ConnectRequest, Encoding, PublishRequest, ReplyBody, Request, SubscribeRequest, SubscribeResult,
    UnsubscribeRequest,
};

use super::{Frames, Incoming, Join, Names, PUBLISH_ID_MIN, Place, Recovery, Subscribed, Unreadable};
use crate::body;

const CONNECT_ID: u32 = 1;
/// Subscribe to the chat in place `k`: this + k.
const SUBSCRIBE_ID: u32 = 2;
/// Unsubscribe from the chat in place `k`: this + k. A member has at most 128 places.
const UNSUBSCRIBE_ID: u32 = 1_024;

pub(super) fn greet(encoding: Encoding, names: &Names, token: Option<&str>, joins: &[Join<'_>], frames: &mut Frames) {
    let connect = ConnectRequest {
        token: token.unwrap_or_default().to_owned(),
        name: "corecast-load".to_owned(),
        ..ConnectRequest::default()
    };
    command(encoding, CONNECT_ID, Request::Connect(connect), frames);
    for (index, join) in joins.iter().enumerate() {
        subscribe(encoding, names, index as u16, join, frames);
    }
}

pub(super) fn subscribe(encoding: Encoding, names: &Names, index: u16, join: &Join<'_>, frames: &mut Frames) {
    let mut request = SubscribeRequest { channel: names.name(join.chat), ..SubscribeRequest::default() };
    if let Some((epoch, offset)) = join.resume {
        request.recover = true;
        request.epoch = epoch.to_owned();
        request.offset = offset;
    }
    command(encoding, SUBSCRIBE_ID + u32::from(index), Request::Subscribe(request), frames);
}

pub(super) fn unsubscribe(encoding: Encoding, names: &Names, index: u16, chat: u32, frames: &mut Frames) {
    let request = UnsubscribeRequest { channel: names.name(chat) };
    command(encoding, UNSUBSCRIBE_ID + u32::from(index), Request::Unsubscribe(request), frames);
}

pub(super) fn publish(encoding: Encoding, names: &Names, id: u32, chat: u32, body: &[u8], frames: &mut Frames) {
    let request =
        PublishRequest { channel: names.name(chat), data: Bytes::copy_from_slice(body), ..PublishRequest::default() };
    command(encoding, id, Request::Publish(request), frames);
}

fn command(encoding: Encoding, id: u32, request: Request, frames: &mut Frames) {
    client::encode_command(encoding, &Command { id, request }, frames.shared());
}

pub(super) fn read_json(names: &Names, payload: &[u8], sink: &mut impl FnMut(Incoming<'_>)) -> Result<(), Unreadable> {
    let mut rest = payload;
    while let Some((publication, after)) = json_publication(names, rest) {
        sink(publication);
        rest = after;
    }
    if rest.is_empty() { Ok(()) } else { read_slowly(Encoding::Json, names, rest, sink) }
}

/// `{"push":{"channel":"c1","pub":{"data":"…","offset":5}}}` (chats without history have no offset), and what follows it.
#[inline]
fn json_publication<'a>(names: &Names, frame: &'a [u8]) -> Option<(Incoming<'a>, &'a [u8])> {
    let rest = frame.strip_prefix(b"{\"push\":{\"channel\":\"")?;
    let name_end = rest.iter().take(300).position(|byte| *byte == b'"')?;
    let (name, rest) = rest.split_at(name_end);
    let rest = rest.strip_prefix(b"\",\"pub\":{\"data\":")?;
    let (body, rest) = rest.split_at(body::length_at(rest)?);
    let (position, rest) = match rest.strip_prefix(b",\"offset\":") {
        Some(digits) => decimal(digits).map(|(offset, rest)| (Some(offset), rest))?,
        None => (None, rest),
    };
    let rest = rest.strip_prefix(b"}}}")?;
    let rest = rest.strip_prefix(b"\n").unwrap_or(rest);
    Some((Incoming::Publication { chat: names.index(name), position, body }, rest))
}

#[inline]
fn decimal(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    // 2^53, the largest offset, has 16 digits.
    for (at, byte) in text.iter().take(20).enumerate() {
        if !byte.is_ascii_digit() {
            return (at > 0).then_some((number, &text[at..]));
        }
        number = number.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    None
}

pub(super) fn read_protobuf(
    names: &Names,
    payload: &[u8],
    sink: &mut impl FnMut(Incoming<'_>),
) -> Result<(), Unreadable> {
    let mut rest = payload;
    while let Some((publication, after)) = protobuf_publication(names, rest) {
        sink(publication);
        rest = after;
    }
    if rest.is_empty() { Ok(()) } else { read_slowly(Encoding::Protobuf, names, rest, sink) }
}

/// Reply { push(4): Push { channel(2), pub(4): Publication { data(4), offset(6) } } } behind its length, and what follows.
#[inline]
fn protobuf_publication<'a>(names: &Names, frame: &'a [u8]) -> Option<(Incoming<'a>, &'a [u8])> {
    let (length, rest) = varint(frame)?;
    let (reply, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let (push, rest) = field(reply, 0x22)?;
    let (name, rest_of_push) = field(push, 0x12)?;
    let (publication, rest_of_pub) = field(rest_of_push, 0x22)?;
    let (body, tail) = field(publication, 0x22)?;
    let (position, tail) = match tail.strip_prefix(&[0x30]) {
        Some(tail) => varint(tail).map(|(offset, tail)| (Some(offset), tail))?,
        None => (None, tail),
    };
    if !(rest.is_empty() && rest_of_pub.is_empty() && tail.is_empty()) {
        return None;
    }
    Some((Incoming::Publication { chat: names.index(name), position, body }, after))
}

#[inline]
fn field(input: &[u8], key: u8) -> Option<(&[u8], &[u8])> {
    let (length, rest) = varint(input.strip_prefix(&[key])?)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

#[inline]
fn varint(input: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    for (at, byte) in input.iter().take(10).enumerate() {
        number |= u64::from(byte & 0x7f).checked_shl(7 * at as u32)?;
        if byte & 0x80 == 0 {
            return Some((number, &input[at + 1..]));
        }
    }
    None
}

/// Everything but usual publications.
#[cold]
fn read_slowly(
    encoding: Encoding,
    names: &Names,
    frame: &[u8],
    sink: &mut impl FnMut(Incoming<'_>),
) -> Result<(), Unreadable> {
    for message in client::decode_replies(encoding, frame) {
        match message.map_err(|error| Unreadable(error.to_string()))? {
            client::Incoming::Publication(publication) => sink(Incoming::Publication {
                chat: names.index(publication.channel.as_bytes()),
                position: known(publication.offset),
                body: publication.data,
            }),
            client::Incoming::Ping => sink(Incoming::Ping),
            client::Incoming::Reply(reply) => answer(names, &reply, sink),
        }
    }
    Ok(())
}

/// Offsets start at 1; 0 is how an absent field reads.
fn known(offset: u64) -> Option<u64> {
    (offset != 0).then_some(offset)
}

fn answer(names: &Names, reply: &Reply, sink: &mut impl FnMut(Incoming<'_>)) {
    if let Some(push) = &reply.push {
        let chat = names.index(push.channel.as_bytes());
        if let Some(publication) = &push.publication {
            sink(Incoming::Publication { chat, position: known(publication.offset), body: &publication.data });
        } else if let Some(unsubscribe) = &push.unsubscribe {
            sink(Incoming::Unsubscribed { chat, code: unsubscribe.code });
        } else {
            sink(Incoming::Other);
        }
        return;
    }
    if let Some(error) = &reply.error {
        if reply.id >= PUBLISH_ID_MIN {
            sink(Incoming::Published { id: reply.id, refused: Some(error.code) });
            return;
        }
        let what = if reply.id == CONNECT_ID { "connect" } else { "subscribe" };
        let (code, message, temporary) = (error.code, error.message.clone(), error.temporary);
        sink(Incoming::Refused { what, code, message, temporary });
        return;
    }
    match &reply.body {
        Some(ReplyBody::Connect(_)) => sink(Incoming::Connected),
        Some(ReplyBody::Subscribe(result)) => subscribed(reply.id, result, sink),
        Some(ReplyBody::Publish(_)) => sink(Incoming::Published { id: reply.id, refused: None }),
        _ => sink(Incoming::Other),
    }
}

fn subscribed(id: u32, result: &SubscribeResult, sink: &mut impl FnMut(Incoming<'_>)) {
    let missed: Vec<(u64, Bytes)> =
        result.publications.iter().map(|publication| (publication.offset, publication.data.clone())).collect();
    let recovery = match (result.was_recovering, result.recovered) {
        (_, true) => Recovery::Recovered,
        (true, false) => Recovery::Lost,
        (false, false) => Recovery::Fresh,
    };
    sink(Incoming::Subscribed(Subscribed {
        place: Place::Index(id.saturating_sub(SUBSCRIBE_ID) as u16),
        position: result.positioned.then_some((result.epoch.as_str(), result.offset)),
        recovery,
        missed: &missed,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Stamp;
    use corecast_centrifuge::codes::UnsubscribeCode;
    use corecast_centrifuge::{
        DecodeLimits, ProtocolError, Publication, PublishResult, Push, decode_commands, encode_error, encode_ping,
        encode_publication, encode_push, encode_reply, encode_unsubscribe_push,
    };
    use proptest::prelude::*;

    fn body(size: usize) -> Vec<u8> {
        let mut out = Vec::new();
        body::encode(&Stamp { run: 1, chat: 7, sequence: 2, id: 3, intended_ns: 4 }, size, &mut out);
        out
    }

    fn read(encoding: Encoding, frame: &[u8]) -> Result<Vec<String>, Unreadable> {
        let names = Names::new("c");
        let mut seen = Vec::new();
        let mut sink = |incoming: Incoming<'_>| {
            seen.push(match incoming {
                Incoming::Publication { chat, position, body } => format!("{chat:?} {position:?} {}", body.len()),
                other => format!("{other:?}"),
            });
        };
        match encoding {
            Encoding::Json => read_json(&names, frame, &mut sink)?,
            Encoding::Protobuf => read_protobuf(&names, frame, &mut sink)?,
        }
        Ok(seen)
    }

    proptest! {
        #[test]
        fn publications_are_found_by_the_quick_road(
            chats in prop::collection::vec((0_u32..1 << 24, 1_u64..1 << 53, 59_usize..400), 1..5)
        ) {
            for encoding in Encoding::ALL {
                let (mut frame, mut expected) = (Vec::new(), Vec::new());
                for (chat, offset, size) in &chats {
                    encode_publication(encoding, &Names::new("c").name(*chat), *offset, &body(*size), &mut frame);
                    expected.push(format!("Some({chat}) Some({offset}) {size}"));
                }
                let quick = match encoding {
                    Encoding::Json => json_publication(&Names::new("c"), &frame).is_some(),
                    Encoding::Protobuf => protobuf_publication(&Names::new("c"), &frame).is_some(),
                };
                prop_assert!(quick);
                prop_assert_eq!(read(encoding, &frame).unwrap(), expected);
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for encoding in Encoding::ALL {
                let _ = read(encoding, &bytes);
            }
        }
    }

    #[test]
    fn other_layouts_and_pushes_take_the_slow_road_to_the_same_result() {
        for encoding in Encoding::ALL {
            let mut frame = Vec::new();
            let publication = Publication {
                data: body(100).into(),
                offset: 9,
                tags: [("a".to_owned(), "b".to_owned())].into(),
                ..Publication::default()
            };
            encode_push(
                encoding,
                &Push { channel: "c7".to_owned(), publication: Some(publication), ..Push::default() },
                &mut frame,
            );
            encode_publication(encoding, "c8", 10, &body(60), &mut frame);
            encode_unsubscribe_push(encoding, "c7", UnsubscribeCode::InsufficientState, &mut frame);
            encode_ping(encoding, &mut frame);
            let seen = read(encoding, &frame).unwrap();
            assert_eq!(seen[0], "Some(7) Some(9) 100");
            assert_eq!(seen[1], "Some(8) Some(10) 60");
            assert_eq!(seen[2], "Unsubscribed { chat: Some(7), code: 2500 }");
            assert_eq!(seen[3], "Ping");
        }
    }

    #[test]
    fn chats_without_history_have_no_offset() {
        for encoding in Encoding::ALL {
            let mut frame = Vec::new();
            encode_publication(encoding, "c1", 0, &body(80), &mut frame);
            assert_eq!(read(encoding, &frame).unwrap(), ["Some(1) None 80"]);
        }
    }

    #[test]
    fn answers_find_their_commands() {
        for encoding in Encoding::ALL {
            let mut frame = Vec::new();
            let result = SubscribeResult {
                recoverable: true,
                positioned: true,
                epoch: "ep".to_owned(),
                offset: 4,
                was_recovering: true,
                recovered: true,
                publications: vec![Publication { data: body(60).into(), offset: 5, ..Publication::default() }],
                ..SubscribeResult::default()
            };
            encode_reply(encoding, SUBSCRIBE_ID + 3, &ReplyBody::Subscribe(result), &mut frame);
            encode_reply(encoding, PUBLISH_ID_MIN + 1, &ReplyBody::Publish(PublishResult {}), &mut frame);
            let error = ProtocolError { code: 111, message: "too many".to_owned(), temporary: true };
            encode_error(encoding, PUBLISH_ID_MIN + 2, &error, &mut frame);
            encode_error(encoding, CONNECT_ID, &error, &mut frame);
            let seen = read(encoding, &frame).unwrap();
            assert!(seen[0].contains("Index(3)") && seen[0].contains("Recovered") && seen[0].contains("(\"ep\", 4)"));
            assert_eq!(seen[1], format!("Published {{ id: {}, refused: None }}", PUBLISH_ID_MIN + 1));
            assert_eq!(seen[2], format!("Published {{ id: {}, refused: Some(111) }}", PUBLISH_ID_MIN + 2));
            assert!(seen[3].contains("connect") && seen[3].contains("too many"), "{}", seen[3]);
        }
    }

    #[test]
    fn one_frame_greets_and_joins() {
        for encoding in Encoding::ALL {
            let mut frames = Frames::new(encoding == Encoding::Protobuf, [9, 9, 9, 9]);
            let joins = [Join { chat: 1, resume: None }, Join { chat: 2, resume: Some(("e", 5)) }];
            greet(encoding, &Names::new("c"), Some("jwt"), &joins, &mut frames);
            let mut bytes = frames.take().to_vec();
            let mut decoder = corecast_websocket::Decoder::server(1 << 20);
            let Ok((_, Some(corecast_websocket::Message::Data { payload, .. }))) = decoder.decode(&mut bytes) else {
                panic!("one message expected");
            };
            let commands: Vec<Command> =
                decode_commands(encoding, payload, DecodeLimits::default()).map(|command| command.unwrap()).collect();
            assert_eq!(commands.iter().map(|command| command.id).collect::<Vec<_>>(), [1, 2, 3]);
            let Request::Subscribe(resumed) = &commands[2].request else { panic!("{:?}", commands[2]) };
            assert_eq!((resumed.recover, resumed.epoch.as_str(), resumed.offset), (true, "e", 5));
        }
    }
}
