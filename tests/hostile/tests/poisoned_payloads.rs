//! Claim: no payload, however it was published, breaks the framing for those who read it: JSON members get one whole message a line with
//! the value that was published, and what is no JSON is refused before anybody sees it.

use corecast_hostile::PATIENCE;
use corecast_hostile::client::Client;
use corecast_hostile::frame::{BINARY, FIN, TEXT, masked};
use corecast_hostile::http::post;
use corecast_hostile::stage::Stage;
use serde_json::{Value, json};

/// JSON with everything in it that could end a line, a string or a message.
const VALUES: &[&str] = &[
    "{\n\"a\":\n1\n}",
    "[1,\r\n2,\n\n3]",
    "\n1\n",
    "\t{}\t",
    r#""\n{\"id\":1}\n""#,
    "\"\u{2028}\u{2029}\u{85}\"",
    "\"\u{7f}\u{feff}\u{10ffff}\"",
    r#""\u0000\ud83d\ude00""#,
    r#"{"a":1,"a":2}"#,
    r#"{"push":{"channel":"control","unsubscribe":{"code":2000}}}"#,
    r#"{"id":1,"error":{"code":100}}"#,
    r#""}}}]]]\"""#,
    "-0",
    "1.7976931348623157e308",
    "null",
    "\"\"",
    "{}",
];

const GARBAGE: &[&[u8]] = &[
    b"",
    b"hello",
    b"{",
    b"}\n{\"push\":{}}",
    b"{}\n{}",
    b"1 2",
    b"'a'",
    b"\"\n\"",
    b"\"\xff\"",
    b"\xed\xa0\x80",
    b"\0",
    b"NaN",
    b"[1,]",
    b"\xef\xbb\xbf{}",
];

#[test]
fn values_arrive_whole_whoever_published_them() {
    let stage = Stage::start("");
    let mut member = Client::live(stage.websocket());
    member.ask(r#"{"id":2,"subscribe":{"channel":"poison"}}"#);
    let mut protobuf = Client::live_protobuf(stage.websocket());
    let mut offset = 0;
    for value in VALUES {
        let expected: Value = serde_json::from_str(value).expect("JSON");
        let by_api = post(stage.admin(), "publish", &format!(r#"{{"channel":"poison","data":{value}}}"#));
        assert!(by_api.json().get("result").is_some(), "{value:?}: {by_api:?}");
        protobuf.send(&masked(FIN | BINARY, &publish("poison", value.as_bytes())));
        assert_eq!(reply_field(&mut protobuf), PUBLISHED, "{value:?}");
        for how in ["server API", "Protobuf"] {
            offset += 1;
            let publication = next_publication(&mut member);
            assert_eq!(publication["offset"], offset, "{how}: {value:?}: {publication}");
            assert_eq!(publication["data"], expected, "{how}: {value:?}: {publication}");
        }
    }
    // From history and by recovery they come in one message with others.
    let history = member.ask(&format!(r#"{{"id":3,"history":{{"channel":"poison","limit":{offset}}}}}"#));
    let all = history["history"]["publications"].as_array().expect("publications").clone();
    assert_eq!(all.len(), offset, "{history}");
    for (publication, value) in all.iter().step_by(2).zip(VALUES) {
        assert_eq!(publication["data"], serde_json::from_str::<Value>(value).expect("JSON"));
    }
    let epoch = history["history"]["epoch"].clone();
    let recover = json!({"id": 4, "subscribe": {"channel": "poison", "recover": true, "offset": 1, "epoch": epoch}});
    let reply = Client::live(stage.websocket()).ask(&recover.to_string());
    assert_eq!(reply["subscribe"]["publications"].as_array().map(Vec::len), Some(offset - 1), "{reply}");
    stage.finish();
}

#[test]
fn what_is_no_json_is_refused_before_anybody_sees_it() {
    let stage = Stage::start("");
    let mut member = Client::live(stage.websocket());
    member.ask(r#"{"id":2,"subscribe":{"channel":"poison"}}"#);
    let mut protobuf = Client::live_protobuf(stage.websocket());
    for garbage in GARBAGE {
        protobuf.send(&masked(FIN | BINARY, &publish("poison", garbage)));
        assert_eq!(reply_field(&mut protobuf), REFUSED, "{garbage:?}");
    }
    let answer = post(stage.admin(), "publish", r#"{"channel":"poison","data":"clean"}"#).json();
    assert_eq!(answer["result"]["offset"], 1, "{answer}");
    assert_eq!(next_publication(&mut member)["data"], "clean");
    stage.finish();
}

#[test]
fn names_of_chats_cannot_break_a_message() {
    let stage = Stage::start("");
    for name in ["a\nb", "\r\n", "\"}}", "\\", "\0", "\u{2028}", "кот", "😀", "*", "a b", "{\"id\":1}"] {
        let mut member = Client::live(stage.websocket());
        let reply = member.ask(&json!({"id": 2, "subscribe": {"channel": name}}).to_string());
        assert!(reply.get("subscribe").is_some(), "{name:?}: {reply}");
        let answer = post(stage.admin(), "publish", &json!({"channel": name, "data": {"x": name}}).to_string()).json();
        assert_eq!(answer["result"]["offset"], 1, "{name:?}: {answer}");
        let publication = next_publication_in(&mut member, name);
        assert_eq!(publication["data"]["x"], name);
    }
    stage.finish();
}

/// Field of a Reply with the result of publish.
const PUBLISHED: u8 = 8;
/// Field of a Reply with an error.
const REFUSED: u8 = 2;

/// A publish command in Protobuf: Command{id: 2, publish: {channel, data}}.
fn publish(chat: &str, data: &[u8]) -> Vec<u8> {
    let field = |tag: u8, bytes: &[u8]| {
        let length = u8::try_from(bytes.len()).expect("short");
        assert!(length < 128, "a length of one byte");
        [&[tag, length][..], bytes].concat()
    };
    let request = [field(0x0a, chat.as_bytes()), field(0x12, data)].concat();
    let command = [&[0x08, 2][..], &field(0x3a, &request)].concat();
    [&[u8::try_from(command.len()).expect("short")][..], &command].concat()
}

/// Which field the reply with id 2 has; an error must be "bad request".
fn reply_field(client: &mut Client) -> u8 {
    let reply = client.frame(PATIENCE).expect("a reply").payload;
    assert_eq!(reply[1..3], [0x08, 2], "a reply with id 2: {reply:?}");
    let field = reply[3] >> 3;
    if field == REFUSED {
        assert_eq!(reply[5..7], [0x08, 107], "error 107: {reply:?}");
    }
    field
}

fn next_publication(member: &mut Client) -> Value {
    next_publication_in(member, "poison")
}

fn next_publication_in(member: &mut Client, chat: &str) -> Value {
    let frame = member.frame(PATIENCE).expect("a publication");
    assert_eq!(frame.opcode(), TEXT, "{frame:?}");
    let text = String::from_utf8(frame.payload).expect("UTF-8");
    assert_eq!(text.lines().count(), 1, "one message: {text:?}");
    let message: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
    assert_eq!(message["push"]["channel"], chat, "{message}");
    message["push"]["pub"].clone()
}
