//! Claim: a token that is forged, of another algorithm, for another audience or garbage is final (close 3500), an expired one is answered
//! with error 109, and the subscribes and publishes that came in the same frame are never looked at.

use std::fs;

use corecast_hostile::PATIENCE;
use corecast_hostile::client::Client;
use corecast_hostile::control::CHAT;
use corecast_hostile::stage::Stage;
use corecast_hostile::token::{hs256, seconds, unsigned};
use serde_json::{Value, json};

const SECRET: &[u8] = b"a secret for tokens of the hostile tests";
const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
/// A public key of tests, which everybody may know.
const PUBLIC_KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../gateway/src/auth/test_keys/rsa_public.pem");

fn claims(more: Value) -> String {
    let mut claims = json!({"sub": "mallory", "exp": seconds(600), "aud": "chat", "iss": "us"});
    for (name, value) in more.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    claims.to_string()
}

fn good() -> String {
    hs256(HS256, &claims(json!({})), SECRET)
}

#[test]
fn forged_tokens_are_final() {
    let stage = Stage::start(&config());
    let right = claims(json!({}));
    let header = |algorithm: &str| format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#);
    let good = good();
    let (signed, signature) = good.rsplit_once('.').expect("a signature");
    let tampered = unsigned(HS256, &claims(json!({"sub": "admin"})));
    let forged = [
        ("no algorithm", format!("{}.", unsigned(&header("none"), &right))),
        ("no algorithm, in capitals", format!("{}.", unsigned(&header("None"), &right))),
        ("no algorithm, but a signature", format!("{}.{signature}", unsigned(&header("none"), &right))),
        ("no signature", format!("{signed}.")),
        ("no third part", signed.to_owned()),
        ("four parts", format!("{good}.{signature}")),
        ("another secret", hs256(HS256, &right, b"another secret for tokens of the tests")),
        ("empty secret", hs256(HS256, &right, b"")),
        ("a signature cut short", good[..good.len() - 4].to_owned()),
        ("the signature of other claims", format!("{tampered}.{signature}")),
        ("algorithm HS512 in words only", hs256(&header("HS512"), &right, SECRET)),
        ("algorithm RS256 in words only", hs256(&header("RS256"), &right, SECRET)),
        ("algorithm ES256 in words only", hs256(&header("ES256"), &right, SECRET)),
        ("algorithm that nobody knows", hs256(&header("XS1"), &right, SECRET)),
        ("a header that is no object", hs256("[]", &right, SECRET)),
        ("claims that are no object", hs256(HS256, "[]", SECRET)),
        ("another audience", hs256(HS256, &claims(json!({"aud": "mail"})), SECRET)),
        ("no audience", hs256(HS256, &claims(json!({"aud": null})), SECRET)),
        ("another issuer", hs256(HS256, &claims(json!({"iss": "them"})), SECRET)),
        ("a user that is no text", hs256(HS256, &claims(json!({"sub": 5})), SECRET)),
        ("an expiry that is no time", hs256(HS256, &claims(json!({"exp": "soon"})), SECRET)),
        ("garbage", "x".repeat(8 * 1024)),
        ("dots", ".".repeat(8 * 1024)),
        ("two dots", "..".to_owned()),
        ("a null", "null".to_owned()),
        ("zero bytes", "\0.\0.\0".to_owned()),
    ];
    for (name, token) in &forged {
        let mut client = Client::greeted(stage.websocket());
        client.say(&frame(token, CHAT));
        let outcome = client.outcome(PATIENCE);
        assert_eq!(outcome.close, Some((3500, "invalid token".to_owned())), "{name}: {outcome:?}");
        assert!(outcome.frames.is_empty(), "{name}: {outcome:?}");
    }
    welcomes(&stage, &good);
    stage.finish();
}

#[test]
fn a_public_key_is_no_secret() {
    let pem = fs::read_to_string(PUBLIC_KEY).expect("a public key of the gateway's tests");
    let stage = Stage::start(&format!("[auth]\ntoken_keys = [\"RS256:{PUBLIC_KEY}\"]\n"));
    for secret in [pem.as_str(), pem.trim_end(), &pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()]
    {
        let mut client = Client::greeted(stage.websocket());
        client.say(&frame(&hs256(HS256, &claims(json!({})), secret.as_bytes()), CHAT));
        let outcome = client.outcome(PATIENCE);
        assert_eq!(outcome.code(), Some(3500), "{outcome:?}");
    }
    stage.finish();
}

#[test]
fn expired_tokens_are_told_to_come_back_with_a_fresh_one() {
    let stage = Stage::start(&config());
    for expired in [seconds(-1), seconds(-1_000_000), 1, 0] {
        let token = hs256(HS256, &claims(json!({"exp": expired})), SECRET);
        let mut client = Client::greeted(stage.websocket());
        client.say(&frame(&token, CHAT));
        let reply = client.reply(&json!(1));
        assert_eq!(reply["error"]["code"], 109, "{reply}");
        // Whatever is said now is no `connect` that succeeds.
        client.say(r#"{"id":9,"subscribe":{"channel":"control"}}"#);
        let outcome = client.outcome(PATIENCE);
        assert!(outcome.frames.is_empty(), "{outcome:?}");
        assert_eq!(outcome.code(), Some(3501), "{outcome:?}");
    }
    stage.finish();
}

/// `connect` with a token, and behind it in the same frame what only a connected client may do.
fn frame(token: &str, chat: &str) -> String {
    let connect = json!({"id": 1, "connect": {"token": token}});
    // A publish that was obeyed would show in the control client's chat as a message that nobody sent.
    format!(
        "{connect}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"{chat}\"}}}}\n{{\"id\":3,\"publish\":{{\"channel\":\"{chat}\",\"data\":1}}}}"
    )
}

fn config() -> String {
    let secret = std::str::from_utf8(SECRET).expect("text");
    format!(
        "[auth]\ntoken_secret = \"{secret}\"\naudience = \"chat\"\nissuer = \"us\"\nanonymous = true\n\
         [timing]\nconnect = \"2s\"\n"
    )
}

/// The counter-test: the right token is let in.
fn welcomes(stage: &Stage, token: &str) {
    let mut client = Client::greeted(stage.websocket());
    client.say(&frame(token, "other"));
    for id in 1..=3 {
        let reply = client.reply(&json!(id));
        assert!(reply.get("error").is_none(), "{reply}");
    }
}
