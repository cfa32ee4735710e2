//! NATS over WebSocket: its text protocol, whose lines may be cut anywhere by WebSocket messages.
//!
//! `SUB` is not acknowledged; a `PING` behind it is answered by `PONG` once it is in effect.

use super::{Frames, Incoming, Join, Names, Unreadable};

const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":true,\"lang\":\"corecast-load\",\
                       \"version\":\"1\",\"protocol\":1,\"headers\":false,\"no_responders\":false}\r\n";

/// The longest line that is kept while its end is missing: `INFO` of a cluster is some KiB.
const LINE_BYTES_MAX: usize = 64 * 1024;

pub(super) fn greet(names: &Names, joins: &[Join<'_>], frames: &mut Frames) {
    let out = frames.shared();
    out.extend_from_slice(CONNECT.as_bytes());
    for (index, join) in joins.iter().enumerate() {
        write_sub(names, index as u16, join.chat, out);
    }
    out.extend_from_slice(b"PING\r\n");
}

pub(super) fn subscribe(names: &Names, index: u16, chat: u32, frames: &mut Frames) {
    let out = frames.shared();
    write_sub(names, index, chat, out);
    out.extend_from_slice(b"PING\r\n");
}

pub(super) fn unsubscribe(index: u16, frames: &mut Frames) {
    let line = format!("UNSUB {}\r\n", u32::from(index) + 1);
    frames.shared().extend_from_slice(line.as_bytes());
}

pub(super) fn publish(names: &Names, chat: u32, body: &[u8], frames: &mut Frames) {
    let out = frames.shared();
    out.extend_from_slice(b"PUB ");
    names.write(chat, out);
    out.extend_from_slice(format!(" {}\r\n", body.len()).as_bytes());
    out.extend_from_slice(body);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn pong(frames: &mut Frames) {
    frames.shared().extend_from_slice(b"PONG\r\n");
}

fn write_sub(names: &Names, index: u16, chat: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"SUB ");
    names.write(chat, out);
    out.extend_from_slice(format!(" {}\r\n", u32::from(index) + 1).as_bytes());
}

pub(super) fn read(
    names: &Names,
    payload: &[u8],
    carry: &mut Option<Vec<u8>>,
    sink: &mut impl FnMut(Incoming<'_>),
) -> Result<(), Unreadable> {
    let joined = carry.take().map(|mut held| {
        held.extend_from_slice(payload);
        held
    });
    let input = joined.as_deref().unwrap_or(payload);
    let mut at = 0;
    while let Some(used) = operation(names, &input[at..], sink)? {
        at += used;
    }
    let rest = &input[at..];
    if !rest.is_empty() {
        *carry = Some(rest.to_vec());
    }
    Ok(())
}

/// Reads one operation; `None` if its end has not come yet.
fn operation(names: &Names, input: &[u8], sink: &mut impl FnMut(Incoming<'_>)) -> Result<Option<usize>, Unreadable> {
    let Some(end) = input.windows(2).position(|pair| pair == b"\r\n") else {
        if input.len() > LINE_BYTES_MAX {
            return Err(Unreadable("a NATS line without an end".to_owned()));
        }
        return Ok(None);
    };
    let line = &input[..end];
    let after = end + 2;
    if let Some(arguments) = line.strip_prefix(b"MSG ") {
        return message(names, arguments, input, after, sink);
    }
    if line.starts_with(b"PONG") {
        sink(Incoming::AllSubscribed);
    } else if line.starts_with(b"PING") {
        sink(Incoming::Ping);
    } else if let Some(reason) = line.strip_prefix(b"-ERR") {
        let message = String::from_utf8_lossy(reason).trim().to_owned();
        sink(Incoming::Refused { what: "request", code: 0, message, temporary: false });
    } else if line.starts_with(b"INFO") || line.starts_with(b"+OK") {
        sink(Incoming::Other);
    } else {
        let start = String::from_utf8_lossy(&line[..line.len().min(40)]).into_owned();
        return Err(Unreadable(format!("not a NATS operation: {start}")));
    }
    Ok(Some(after))
}

/// `MSG subject sid [reply-to] bytes`, then the body and a line end.
fn message(
    names: &Names,
    arguments: &[u8],
    input: &[u8],
    after: usize,
    sink: &mut impl FnMut(Incoming<'_>),
) -> Result<Option<usize>, Unreadable> {
    let wrong = || Unreadable("a NATS message with a wrong head".to_owned());
    let subject_end = arguments.iter().position(|byte| *byte == b' ').ok_or_else(wrong)?;
    let digits_start = arguments.iter().rposition(|byte| *byte == b' ').ok_or_else(wrong)? + 1;
    let mut length = 0_usize;
    for digit in &arguments[digits_start..] {
        if !digit.is_ascii_digit() || length > LINE_BYTES_MAX * 1_024 {
            return Err(wrong());
        }
        length = length * 10 + usize::from(digit - b'0');
    }
    let Some(body) = input.get(after..after + length) else { return Ok(None) };
    if input.len() < after + length + 2 {
        return Ok(None);
    }
    sink(Incoming::Publication { chat: names.index(&arguments[..subject_end]), position: None, body });
    Ok(Some(after + length + 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &[u8] = b"INFO {\"x\":1}\r\nPONG\r\nMSG c5 1 5\r\nhello\r\nMSG ca 2 reply 2\r\nhi\r\nPING\r\n+OK\r\n";

    fn read_all(chunks: &[&[u8]]) -> Vec<String> {
        let names = Names::new("c");
        let (mut seen, mut carry) = (Vec::new(), None);
        for chunk in chunks {
            read(&names, chunk, &mut carry, &mut |incoming| {
                seen.push(match incoming {
                    Incoming::Publication { chat, body, .. } => format!("{chat:?} {}", String::from_utf8_lossy(body)),
                    other => format!("{other:?}"),
                });
            })
            .unwrap();
        }
        assert_eq!(carry, None);
        seen
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same(cuts in prop::collection::vec(0..STREAM.len(), 0..6)) {
            let mut cuts = cuts;
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &STREAM[pair[0]..pair[1]]).collect();
            let seen = read_all(&chunks);
            prop_assert_eq!(seen, ["Other", "AllSubscribed", "Some(5) hello", "Some(10) hi", "Ping", "Other"]);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&Names::new("c"), &bytes, &mut None, &mut |_| ());
        }
    }

    #[test]
    fn a_wrong_length_is_an_error_not_an_allocation() {
        let stream = b"MSG c1 1 99999999999999999999999\r\n";
        assert!(read(&Names::new("c"), stream, &mut None, &mut |_| ()).is_err());
    }
}
