//! The smallest protocol that a broadcast server can speak; the servers in `benches/peers` implement it.
//!
//! Text messages, the first byte says what they are. Client: `s<chat>` subscribe, `u<chat>` unsubscribe,
//! `p<chat> <body>` publish. Server: `k<chat>` subscribed; anything else is a body, exactly as it was published (our bodies
//! begin with a quote and name their chat themselves). There are no acknowledgements, offsets or recovery.

use super::{Frames, Incoming, Join, Names, Place, Recovery, Subscribed, Unreadable};

pub(super) fn greet(names: &Names, joins: &[Join<'_>], frames: &mut Frames) {
    for join in joins {
        subscribe(names, join.chat, frames);
    }
}

pub(super) fn subscribe(names: &Names, chat: u32, frames: &mut Frames) {
    frames.message(format!("s{}", names.name(chat)).as_bytes());
}

pub(super) fn unsubscribe(names: &Names, chat: u32, frames: &mut Frames) {
    frames.message(format!("u{}", names.name(chat)).as_bytes());
}

pub(super) fn publish(names: &Names, chat: u32, body: &[u8], frames: &mut Frames) {
    let mut message = Vec::with_capacity(names.prefix().len() + 10 + body.len());
    message.push(b'p');
    names.write(chat, &mut message);
    message.push(b' ');
    message.extend_from_slice(body);
    frames.message(&message);
}

pub(super) fn read(names: &Names, payload: &[u8], sink: &mut impl FnMut(Incoming<'_>)) -> Result<(), Unreadable> {
    match payload.first() {
        Some(b'k') => {
            sink(names.index(&payload[1..]).map_or(Incoming::Other, |chat| {
                let place = Place::Chat(chat);
                Incoming::Subscribed(Subscribed { place, position: None, recovery: Recovery::Fresh, missed: &[] })
            }));
        }
        Some(_) => sink(Incoming::Publication { chat: None, position: None, body: payload }),
        None => sink(Incoming::Other),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confirmations_and_bodies_are_told_apart() {
        let mut seen = Vec::new();
        for payload in [&b"kc5"[..], b"\"C body\"", b"kx", b""] {
            read(&Names::new("c"), payload, &mut |incoming| seen.push(format!("{incoming:?}"))).unwrap();
        }
        assert!(seen[0].contains("Chat(5)"), "{}", seen[0]);
        assert!(seen[1].starts_with("Publication"), "{}", seen[1]);
        assert_eq!(&seen[2..], ["Other", "Other"]);
    }
}
