//! Claim: a client that breaks the client protocol is closed with 3501 without having changed anything; one that asks for what it may not
//! have is told so and stays.

use corecast_hostile::PATIENCE;
use corecast_hostile::client::{CONNECT, CONNECT_PROTOBUF, Client, Outcome};
use corecast_hostile::control::CHAT;
use corecast_hostile::frame::{BINARY, FIN, masked, text};
use corecast_hostile::stage::Stage;
use serde_json::json;

const BAD_REQUEST: u16 = 3501;
/// Most commands of one frame.
const COMMANDS_MAX: usize = 1_024;

#[test]
fn the_first_command_is_connect_and_it_comes_once() {
    let stage = Stage::start("");
    let subscribe = format!(r#"{{"id":1,"subscribe":{{"channel":"{CHAT}"}}}}"#);
    let publish = format!(r#"{{"id":1,"publish":{{"channel":"{CHAT}","data":1}}}}"#);
    for first in [
        subscribe.as_str(),
        &publish,
        r#"{"id":1,"history":{"channel":"control"}}"#,
        r#"{"id":1,"presence_stats":{"channel":"control"}}"#,
        r#"{"id":1,"unsubscribe":{"channel":"control"}}"#,
        r#"{"id":1,"refresh":{"token":"x"}}"#,
        r#"{"id":1,"ping":{}}"#,
        r#"{"id":1,"rpc":{"data":1}}"#,
        r#"{"send":{"data":1}}"#,
        "{}",
    ] {
        let mut client = Client::greeted(stage.websocket());
        client.say(&format!("{first}\n{CONNECT}\n{publish}"));
        is_refused(&client.outcome(PATIENCE), first);
    }
    for second in [CONNECT, r#"{"id":2,"connect":{"token":"x"}}"#] {
        let mut client = Client::live(stage.websocket());
        client.say(&format!("{second}\n{publish}"));
        is_refused(&client.outcome(PATIENCE), second);

        let mut client = Client::greeted(stage.websocket());
        client.say(&format!("{CONNECT}\n{second}\n{publish}"));
        assert_eq!(client.outcome(PATIENCE).code(), Some(BAD_REQUEST), "{second} in the frame of the first");
    }
    stage.finish();
}

#[test]
fn what_is_no_command_ends_the_connection() {
    let stage = Stage::start("");
    let deep = |open: &str, count: usize| open.repeat(count);
    let frames = [
        String::new(),
        "\n".to_owned(),
        "\n\n\n".to_owned(),
        " ".to_owned(),
        "{}".to_owned(), // A pong that nobody asked for.
        "{}\n{}".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        "1".to_owned(),
        "\"connect\"".to_owned(),
        "{".to_owned(),
        "}".to_owned(),
        "hello".to_owned(),
        "\0".to_owned(),
        "{\"id\":2,".to_owned(),
        r#"{"id":2,"unsubscribe":{"channel":"a"}} x"#.to_owned(),
        r#"{"id":2,"unsubscribe":{"channel":"a"}}{"id":3,"unsubscribe":{"channel":"a"}}"#.to_owned(),
        r#"{"id":2}"#.to_owned(),
        r#"{"id":2,"nonsense":{}}"#.to_owned(),
        r#"{"id":2,"unsubscribe":[]}"#.to_owned(),
        r#"{"id":2,"unsubscribe":5}"#.to_owned(),
        r#"{"id":2,"unsubscribe":{"channel":5}}"#.to_owned(),
        r#"{"id":2,"publish":{"channel":"control","data":1}"#.to_owned(),
        r#"{"id":0,"unsubscribe":{"channel":"a"}}"#.to_owned(),
        r#"{"unsubscribe":{"channel":"a"}}"#.to_owned(),
        r#"{"id":-1,"unsubscribe":{"channel":"a"}}"#.to_owned(),
        r#"{"id":4294967296,"unsubscribe":{"channel":"a"}}"#.to_owned(),
        r#"{"id":1.5,"unsubscribe":{"channel":"a"}}"#.to_owned(),
        r#"{"id":"2","unsubscribe":{"channel":"a"}}"#.to_owned(),
        r#"{"id":2,"unsubscribe":{"channel":"\ud800"}}"#.to_owned(),
        format!("{{\"id\":2,\"x\":{}", deep("[", 100_000)),
        deep("[", 100_000),
        deep("{\"a\":", 20_000),
        format!("{{\"id\":2,\"unsubscribe\":{}{}}}", deep("{\"channel\":", 5_000), "}".repeat(5_000)),
    ];
    for frame in &frames {
        let name = &frame[..frame.len().min(60)];
        let mut client = Client::live(stage.websocket());
        client.say(frame);
        is_refused(&client.outcome(PATIENCE), name);
    }
    stage.finish();
}

#[test]
fn what_is_no_protobuf_command_ends_the_connection() {
    let stage = Stage::start("");
    let frames: &[(&str, &[u8])] = &[
        ("nothing", &[]),
        ("a pong that nobody asked for", &[0]),
        ("a length without an end", &[0xff; 16]),
        ("a length in eleven bytes", &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1]),
        ("a length beyond the frame", &[5, 8, 2]),
        ("the longest length", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 8]),
        ("field 0", &[2, 0, 0]),
        ("an unknown wire type", &[2, 0x0f, 0]),
        ("a group", &[2, 0x0b, 0x0c]),
        ("a nested length beyond the message", &[4, 8, 2, 0x32, 0x7f]),
        ("text that is not UTF-8", &[7, 8, 2, 0x32, 3, 0x0a, 1, 0xff]),
        ("an id and nothing else", &[2, 8, 2]),
        ("an unknown field only", &[5, 8, 2, 0xf2, 7, 0]),
        ("a command without an id", &[5, 0x32, 3, 0x0a, 1, b'a']),
        ("JSON", br#"{"id":2,"unsubscribe":{"channel":"a"}}"#),
    ];
    for (name, payload) in frames {
        let mut client = Client::live_protobuf(stage.websocket());
        client.send(&masked(FIN | BINARY, payload));
        is_refused(&client.outcome(PATIENCE), name);
    }
    let mut client = Client::live_protobuf(stage.websocket());
    client.send(&masked(FIN | BINARY, CONNECT_PROTOBUF));
    is_refused(&client.outcome(PATIENCE), "a second connect");
    let mut client = Client::live_protobuf(stage.websocket());
    // 100,000 empty commands.
    client.send(&masked(FIN | BINARY, &vec![0; 100_000]));
    is_refused(&client.outcome(PATIENCE), "100,000 empty commands");
    stage.finish();
}

#[test]
fn a_frame_holds_only_so_many_commands() {
    let stage = Stage::start("");
    let commands = |count: usize| {
        let command = |id: usize| format!(r#"{{"id":{id},"unsubscribe":{{"channel":"a"}}}}"#);
        (2..count + 2).map(command).collect::<Vec<_>>().join("\n")
    };
    let mut client = Client::live(stage.websocket());
    client.say(&commands(COMMANDS_MAX));
    let last = client.reply(&json!(COMMANDS_MAX + 1));
    assert_eq!(last["unsubscribe"], json!({}), "{last}");
    client.say(&commands(COMMANDS_MAX + 1));
    assert_eq!(client.outcome(PATIENCE).code(), Some(BAD_REQUEST));

    // In Protobuf 26,000 of them fit one message; they must not become as many replies.
    let mut client = Client::live_protobuf(stage.websocket());
    client.send(&masked(FIN | BINARY, &[4, 8, 2, 0x32, 0].repeat(26_000)));
    let outcome = client.outcome(PATIENCE);
    assert_eq!(outcome.code(), Some(BAD_REQUEST), "{outcome:?}");
    let bytes: usize = outcome.frames.iter().map(|frame| frame.payload.len()).sum();
    assert!(bytes <= COMMANDS_MAX * 8, "{bytes} bytes of replies to one frame");
    stage.finish();
}

#[test]
fn what_a_client_may_not_have_is_refused_and_nothing_else_happens() {
    let stage = Stage::start("");
    let long = "x".repeat(256);
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let publish = |data: &str| format!(r#"{{"id":2,"publish":{{"channel":"a","data":{data}}}}}"#);
    let cases = [
        (format!(r#"{{"id":2,"subscribe":{{"channel":"{long}"}}}}"#), 107),
        (r#"{"id":2,"subscribe":{"channel":""}}"#.to_owned(), 107),
        (r#"{"id":2,"subscribe":{}}"#.to_owned(), 107),
        (format!(r#"{{"id":2,"publish":{{"channel":"{long}","data":1}}}}"#), 107),
        (r#"{"id":2,"publish":{"channel":"","data":1}}"#.to_owned(), 107),
        (r#"{"id":2,"publish":{"channel":"a"}}"#.to_owned(), 107),
        (publish(&deep(101)), 107),
        (publish(&deep(30_000)), 107),
        (format!(r#"{{"id":2,"history":{{"channel":"{long}"}}}}"#), 107),
        (format!(r#"{{"id":2,"presence_stats":{{"channel":"{long}"}}}}"#), 107),
        (r#"{"id":2,"rpc":{"method":"x","data":1}}"#.to_owned(), 108),
        (r#"{"id":2,"presence":{"channel":"a"}}"#.to_owned(), 108),
        (r#"{"id":2,"history":{"channel":"a","since":{"offset":1,"epoch":"nobody's"}}}"#.to_owned(), 112),
    ];
    let mut client = Client::live(stage.websocket());
    for (command, code) in &cases {
        client.say(command);
        let reply = client.reply(&json!(2));
        assert_eq!(reply["error"]["code"], json!(code), "{} {reply}", &command[..command.len().min(60)]);
    }
    // Still there, and good for everything else.
    let longest = "x".repeat(255);
    let reply = client.ask(&format!(r#"{{"id":3,"subscribe":{{"channel":"{longest}"}}}}"#));
    assert_eq!(reply["subscribe"]["recoverable"], true, "{reply}");
    let reply = client.ask(&publish(&deep(100)).replace("\"id\":2", "\"id\":4"));
    assert_eq!(reply["publish"], json!({}), "{reply}");
    stage.finish();
}

#[test]
fn a_connection_has_128_chats() {
    const CHATS_MAX: usize = 128;
    let stage = Stage::start("");
    let mut client = Client::greeted(stage.websocket());
    let subscribe = |number: usize| format!(r#"{{"id":{},"subscribe":{{"channel":"chat:{number}"}}}}"#, number + 2);
    let all: Vec<String> = (0..=CHATS_MAX).map(subscribe).collect();
    client.say(&format!("{CONNECT}\n{}", all.join("\n")));
    // Replies may come in any order: routers answer when they do.
    let mut refused = Vec::new();
    let mut left = CHATS_MAX + 1;
    while left > 0 {
        let frame = client.frame(PATIENCE).expect("replies to all subscribes");
        for line in String::from_utf8(frame.payload).expect("text").lines() {
            let reply: serde_json::Value = serde_json::from_str(line).expect("JSON");
            left -= usize::from(reply["id"].as_u64().is_some_and(|id| id > 1));
            if reply.get("error").is_some() {
                refused.push((reply["id"].clone(), reply["error"]["code"].clone()));
            }
        }
    }
    assert_eq!(refused, [(json!(CHATS_MAX + 2), json!(106))]);
    let again = client.ask(r#"{"id":200,"subscribe":{"channel":"chat:5"}}"#);
    assert_eq!(again["error"]["code"], 105, "{again}");
    // Leaving one makes room for one.
    client.ask(r#"{"id":201,"unsubscribe":{"channel":"chat:5"}}"#);
    let reply = client.ask(r#"{"id":202,"subscribe":{"channel":"chat:new"}}"#);
    assert_eq!(reply["subscribe"]["recoverable"], true, "{reply}");
    stage.finish();
}

#[test]
fn messages_over_the_limit_are_final_and_those_at_the_limit_pass() {
    const MESSAGE_MAX: usize = 128 * 1024;
    const FIRST_MAX: usize = 64 * 1024;
    let stage = Stage::start("");
    let padded = |command: &str, length: usize| format!("{command}{}", " ".repeat(length - command.len()));

    let mut client = Client::greeted(stage.websocket());
    client.say(&padded(CONNECT, FIRST_MAX));
    assert!(client.reply(&json!(1)).get("connect").is_some());
    let envelope = r#"{"id":2,"publish":{"channel":"big","data":""}}"#.len();
    let publish =
        format!(r#"{{"id":2,"publish":{{"channel":"big","data":"{}"}}}}"#, "x".repeat(MESSAGE_MAX - envelope));
    client.say(&publish);
    assert_eq!(client.reply(&json!(2))["publish"], json!({}));
    client.send(&text(&format!("{publish} ")));
    assert_eq!(client.outcome(PATIENCE).code(), Some(1009));

    let mut client = Client::greeted(stage.websocket());
    client.say(&padded(CONNECT, FIRST_MAX + 1));
    let outcome = client.outcome(PATIENCE);
    assert_eq!((outcome.code(), outcome.frames.len()), (Some(1009), 0));
    stage.finish();
}

fn is_refused(outcome: &Outcome, what: &str) {
    assert_eq!(outcome.close, Some((BAD_REQUEST, "bad request".to_owned())), "{what}: {outcome:?}");
    assert!(outcome.frames.is_empty(), "{what}: a reply before the close: {outcome:?}");
}
