//! Claim: a client that names ever new chats fills neither gateway nor router: beyond the limit it is refused for the time being, those
//! who are in chats notice nothing, and room comes back when chats are forgotten.

use corecast_hostile::client::Client;
use corecast_hostile::stage::Stage;
use corecast_hostile::{PATIENCE, eventually};
use serde_json::{Value, json};

const CHATS: usize = 100;

fn start() -> Stage {
    Stage::start(&format!("[router]\nchats = {CHATS}\nidle_retention = \"2s\"\n[timing]\nlinger = \"200ms\"\n"))
}

#[test]
fn subscribes_to_ever_new_chats_are_refused_at_the_limit() {
    let stage = start();
    let mut attackers: Vec<Client> = (0..3).map(|_| Client::live(stage.websocket())).collect();
    let mut replies = Vec::new();
    for (number, attacker) in attackers.iter_mut().enumerate() {
        for chat in 0..CHATS {
            let command = format!(r#"{{"id":{},"subscribe":{{"channel":"new:{number}:{chat}"}}}}"#, chat + 2);
            replies.push(attacker.ask(&command));
        }
    }
    bounded(&replies, "subscribe");
    let mut friend = Client::live(stage.websocket());
    let reply = friend.ask(r#"{"id":2,"subscribe":{"channel":"control"}}"#);
    assert_eq!(reply["subscribe"]["recoverable"], true, "a chat that is there stays open to others: {reply}");
    drop(attackers);
    comes_back(&stage);
    stage.finish();
}

#[test]
fn publishes_into_ever_new_chats_are_refused_at_the_limit() {
    let stage = start();
    let mut attacker = Client::live(stage.websocket());
    let publish = |chat| format!(r#"{{"id":{},"publish":{{"channel":"new:{chat}","data":1}}}}"#, chat + 2);
    // In one frame, so that none is forgotten before the last.
    attacker.say(&(0..3 * CHATS).map(publish).collect::<Vec<_>>().join("\n"));
    let replies: Vec<Value> = (0..3 * CHATS).map(|chat| attacker.reply(&json!(chat + 2))).collect();
    bounded(&replies, "publish");
    comes_back(&stage);
    stage.finish();
}

/// As many succeed as there is room for, and the others are told that it will pass.
fn bounded(replies: &[Value], result: &str) {
    let (done, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.get(result).is_some());
    assert!(done.len() < CHATS && done.len() >= CHATS / 2, "{} of {} succeed", done.len(), replies.len());
    for reply in refused {
        assert_eq!(reply["error"]["temporary"], json!(true), "{reply}");
    }
}

fn comes_back(stage: &Stage) {
    let mut late = Client::live(stage.websocket());
    eventually("there is room again", PATIENCE, || {
        late.ask(r#"{"id":9,"publish":{"channel":"late","data":1}}"#).get("publish").is_some()
    });
}
