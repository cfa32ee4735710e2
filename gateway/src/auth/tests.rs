//! Every token that must not open a door, and every one that must; goal 6 of the reliability goals.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use corecast_centrifuge::codes::{CloseCode, ErrorCode};
use serde_json::json;

use super::*;

const NOW: u64 = 1_790_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

const RSA: [&str; 2] = [include_str!("test_keys/rsa_private.pem"), include_str!("test_keys/rsa_public.pem")];
const P256: [&str; 2] = [include_str!("test_keys/p256_private.pem"), include_str!("test_keys/p256_public.pem")];
const P384: [&str; 2] = [include_str!("test_keys/p384_private.pem"), include_str!("test_keys/p384_public.pem")];
const ED25519: [&str; 2] =
    [include_str!("test_keys/ed25519_private.pem"), include_str!("test_keys/ed25519_public.pem")];

/// Every algorithm with its signing and its verifying key.
fn key_pairs() -> Vec<(KeyConfig, KeyConfig)> {
    let pem = |algorithm, [private, public]: [&str; 2]| {
        (KeyConfig::pem(algorithm, private), KeyConfig::pem(algorithm, public))
    };
    let secret = |algorithm| (KeyConfig::secret(algorithm, SECRET), KeyConfig::secret(algorithm, SECRET));
    vec![
        secret(Algorithm::Hs256),
        secret(Algorithm::Hs384),
        secret(Algorithm::Hs512),
        pem(Algorithm::Rs256, RSA),
        pem(Algorithm::Rs384, RSA),
        pem(Algorithm::Rs512, RSA),
        pem(Algorithm::Es256, P256),
        pem(Algorithm::Es384, P384),
        pem(Algorithm::EdDsa, ED25519),
    ]
}

fn hs256() -> KeyConfig {
    KeyConfig::secret(Algorithm::Hs256, SECRET)
}

fn authenticator(config: AuthConfig) -> Authenticator {
    Authenticator::new(&config).unwrap()
}

fn with_key(key: KeyConfig) -> Authenticator {
    authenticator(AuthConfig { keys: vec![key], ..AuthConfig::default() })
}

fn sign(key: &KeyConfig, claims: &serde_json::Value) -> String {
    TokenSigner::new(key).unwrap().sign_claims(claims).unwrap()
}

/// A token with any header, signed with HS256 and `secret`.
fn forge(header: &serde_json::Value, claims: &serde_json::Value, secret: &[u8]) -> String {
    let part = |json: &serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let key = jsonwebtoken::EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn user(name: &str) -> serde_json::Value {
    json!({ "sub": name, "exp": NOW + 60 })
}

fn invalid(cause: InvalidToken) -> Refusal {
    Refusal { answer: Answer::Close(CloseCode::InvalidToken), cause: Some(TokenError::Invalid(cause)) }
}

fn expired() -> Refusal {
    Refusal { answer: Answer::Reply(ErrorCode::TokenExpired), cause: Some(TokenError::Expired) }
}

#[test]
fn every_algorithm_verifies_its_own_tokens_and_no_others() {
    let pairs = key_pairs();
    for (signing, _) in &pairs {
        let token = sign(signing, &user("alice"));
        for (_, verifying) in &pairs {
            let outcome = with_key(verifying.clone()).connect(&token, NOW);
            if verifying.algorithm == signing.algorithm {
                assert_eq!(outcome.unwrap().user, "alice", "{}", signing.algorithm);
            } else {
                assert_eq!(
                    outcome,
                    Err(invalid(InvalidToken::NoKey)),
                    "{} / {}",
                    signing.algorithm,
                    verifying.algorithm
                );
            }
        }
    }
}

#[test]
fn a_changed_byte_anywhere_is_noticed() {
    for (signing, verifying) in key_pairs() {
        let token = sign(&signing, &user("alice"));
        let auth = with_key(verifying);
        for position in (0..token.len()).step_by(7) {
            let mut changed = token.clone().into_bytes();
            changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            let refusal = auth.connect(&changed, NOW).unwrap_err();
            assert_eq!(refusal.answer, Answer::Close(CloseCode::InvalidToken), "{} at {position}", signing.algorithm);
        }
    }
}

/// RFC 8725, 2.1: an attacker chooses `none`.
#[test]
fn alg_none_is_refused() {
    let auth = with_key(hs256());
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let header = json!({ "alg": alg, "typ": "JWT" });
        let signed = forge(&header, &user("root"), SECRET);
        assert_eq!(auth.connect(&signed, NOW), Err(invalid(InvalidToken::NoKey)), "{alg}");
        let unsigned = format!("{}.", signed.rsplit_once('.').unwrap().0);
        assert_eq!(auth.connect(&unsigned, NOW), Err(invalid(InvalidToken::NoKey)), "{alg}");
    }
    let empty_signature = format!("{}.", sign(&hs256(), &user("root")).rsplit_once('.').unwrap().0);
    assert_eq!(auth.connect(&empty_signature, NOW), Err(invalid(InvalidToken::Signature)));
}

/// RFC 8725, 2.1: an attacker signs with HS256 and uses the public key, which he knows, as the secret.
#[test]
fn a_public_key_is_no_secret() {
    for (algorithm, [_, public]) in [(Algorithm::Rs256, RSA), (Algorithm::Es256, P256), (Algorithm::EdDsa, ED25519)] {
        let auth = with_key(KeyConfig::pem(algorithm, public));
        let der = pem_body(public);
        for secret in [public.as_bytes(), public.trim_end().as_bytes(), &der] {
            for alg in ["HS256", algorithm.name()] {
                let token = forge(&json!({ "alg": alg, "typ": "JWT" }), &user("root"), secret);
                let refusal = auth.connect(&token, NOW).unwrap_err();
                assert_eq!(refusal.answer, Answer::Close(CloseCode::InvalidToken), "{algorithm} as {alg}");
            }
        }
    }
    // Nor does the configuration take one for a secret.
    let mixed_up = AuthConfig { keys: vec![KeyConfig::secret(Algorithm::Hs256, RSA[1])], ..AuthConfig::default() };
    assert!(matches!(
        Authenticator::new(&mixed_up),
        Err(AuthConfigError::Key { error: KeyError::NotASecret(Algorithm::Hs256), .. })
    ));
}

fn pem_body(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    base64::engine::general_purpose::STANDARD.decode(body).unwrap()
}

/// A key that the token itself brings or names is never used.
#[test]
fn keys_inside_the_token_are_ignored() {
    let auth = with_key(hs256());
    let own = b"attackers secret, long enough to be a good one";
    for header in [
        json!({ "alg": "HS256", "jwk": { "kty": "oct", "k": URL_SAFE_NO_PAD.encode(own) } }),
        json!({ "alg": "HS256", "jku": "https://evil.example/keys.json" }),
        json!({ "alg": "HS256", "x5u": "https://evil.example/cert.pem" }),
        json!({ "alg": "HS256", "kid": "../../../../dev/null" }),
    ] {
        assert_eq!(auth.connect(&forge(&header, &user("root"), own), NOW), Err(invalid(InvalidToken::Signature)));
        assert_eq!(auth.connect(&forge(&header, &user("root"), b""), NOW), Err(invalid(InvalidToken::Signature)));
    }
}

#[test]
fn other_kinds_of_token_and_critical_extensions_are_refused() {
    let auth = with_key(hs256());
    for header in [
        json!({ "alg": "HS256", "typ": "at+jwt" }),
        json!({ "alg": "HS256", "typ": "secevent+jwt" }),
        json!({ "alg": "HS256", "typ": "JWT", "crit": ["b64"], "b64": false }),
        json!({ "alg": "HS256", "crit": [] }),
    ] {
        assert_eq!(auth.connect(&forge(&header, &user("alice"), SECRET), NOW), Err(invalid(InvalidToken::Kind)));
    }
    for header in [json!({ "alg": "HS256" }), json!({ "alg": "HS256", "typ": "jwt" })] {
        assert!(auth.connect(&forge(&header, &user("alice"), SECRET), NOW).is_ok());
    }
}

#[test]
fn garbage_is_refused() {
    let auth = with_key(hs256());
    let good = sign(&hs256(), &user("alice"));
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let big = "A".repeat(8 * 1024);
    let many_dots = ".".repeat(8 * 1024);
    let twice = format!("{}.e30.x", part(r#"{"alg":"HS256","alg":"none"}"#));
    let random: String =
        (0u32..8 * 1024).map(|i| char::from(b'!' + (i.wrapping_mul(2_654_435_761) >> 25) as u8 % 90)).collect();
    for token in ["x", ".", "..", "...", "a.b", "a.b.c", " ", "é.é.é", &big, &many_dots, &random, &twice] {
        let refusal = auth.connect(token, NOW).unwrap_err();
        assert_eq!(refusal.answer, Answer::Close(CloseCode::InvalidToken), "{token:.20}");
    }
    for changed in
        [format!("{good}."), format!("{good}="), format!(" {good}"), format!("{good}\n"), good.replacen('.', "..", 1)]
    {
        assert_eq!(auth.connect(&changed, NOW).unwrap_err().answer, Answer::Close(CloseCode::InvalidToken));
    }
    for claims in [json!([]), json!("x"), json!({ "sub": 7 }), json!({ "exp": "soon" }), json!({ "channels": "a" })] {
        assert_eq!(auth.connect(&sign(&hs256(), &claims), NOW), Err(invalid(InvalidToken::Claims)), "{claims}");
    }
    let doubled = format!("{}.{}", part(r#"{"alg":"HS256"}"#), part(r#"{"sub":"alice","sub":"root"}"#));
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET);
    let signature = jsonwebtoken::crypto::sign(doubled.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
    assert_eq!(auth.connect(&format!("{doubled}.{signature}"), NOW), Err(invalid(InvalidToken::Claims)));
}

#[test]
fn time_decides_between_good_and_expired() {
    let auth = authenticator(AuthConfig { keys: vec![hs256()], not_before_leeway: 5, ..AuthConfig::default() });
    let connect = |claims: serde_json::Value| auth.connect(&sign(&hs256(), &claims), NOW);
    assert_eq!(connect(json!({ "exp": NOW + 1 })).unwrap().expires_at, Some(NOW + 1));
    assert_eq!(connect(json!({ "exp": NOW as f64 + 1.5 })).unwrap().expires_at, Some(NOW + 1));
    assert_eq!(connect(json!({})).unwrap().expires_at, None);
    assert_eq!(connect(json!({ "exp": u64::MAX })).unwrap().expires_at, Some(i64::MAX as u64));
    for exp in [json!(NOW), json!(NOW - 1), json!(0), json!(-1), json!(-1e300)] {
        assert_eq!(connect(json!({ "exp": exp })), Err(expired()), "{exp}");
    }
    assert!(connect(json!({ "nbf": NOW + 5 })).is_ok());
    assert_eq!(connect(json!({ "nbf": NOW + 6 })), Err(expired()));

    // The connection's own expiry.
    assert_eq!(connect(json!({ "exp": NOW + 9, "expire_at": NOW + 3 })).unwrap().expires_at, Some(NOW + 3));
    assert_eq!(connect(json!({ "exp": NOW + 9, "expire_at": 0 })).unwrap().expires_at, None);
    assert_eq!(connect(json!({ "exp": NOW + 9, "expire_at": NOW })), Err(expired()));
    assert_eq!(connect(json!({ "exp": NOW, "expire_at": 0 })), Err(expired()));
}

#[test]
fn time_to_live_is_told_within_bounds() {
    assert_eq!(ttl(NOW + 60, NOW), 60);
    assert_eq!(ttl(NOW - 60, NOW), 1);
    assert_eq!(ttl(u64::MAX, NOW), 365 * 24 * 3600);
}

#[test]
fn audience_and_issuer_must_match_where_configured() {
    let auth = authenticator(AuthConfig {
        keys: vec![hs256()],
        audience: Some("chat".into()),
        issuer: Some("app".into()),
        ..AuthConfig::default()
    });
    let connect = |claims: serde_json::Value| auth.connect(&sign(&hs256(), &claims), NOW).map(|identity| identity.user);
    assert!(connect(json!({ "aud": "chat", "iss": "app" })).is_ok());
    assert!(connect(json!({ "aud": ["other", "chat"], "iss": "app" })).is_ok());
    for aud in [json!(null), json!("other"), json!([]), json!(["chats"]), json!("chat "), json!("")] {
        let wrong = Err(invalid(InvalidToken::Audience));
        assert_eq!(connect(json!({ "aud": aud, "iss": "app" })), wrong, "{aud}");
        assert_eq!(connect(json!({ "aud": aud, "iss": "app", "exp": NOW - 1 })), wrong, "not merely expired");
    }
    assert_eq!(connect(json!({ "aud": 7, "iss": "app" })), Err(invalid(InvalidToken::Claims)));
    for iss in [json!(null), json!("other"), json!("")] {
        assert_eq!(connect(json!({ "aud": "chat", "iss": iss })), Err(invalid(InvalidToken::Issuer)), "{iss}");
    }
    let relaxed = with_key(hs256());
    assert!(relaxed.connect(&sign(&hs256(), &json!({ "aud": "any", "iss": "any" })), NOW).is_ok());
}

#[test]
fn kid_chooses_among_several_keys() {
    let old = hs256().with_id("old");
    let new = KeyConfig::secret(Algorithm::Hs256, *b"another secret of thirty-two byt").with_id("new");
    let other = KeyConfig::pem(Algorithm::EdDsa, ED25519[1]).with_id("new");
    let keys = vec![old.clone(), new.clone(), other];
    let auth = authenticator(AuthConfig { keys, ..AuthConfig::default() });
    for key in [old.clone(), new, KeyConfig::pem(Algorithm::EdDsa, ED25519[0]).with_id("new")] {
        assert!(auth.connect(&sign(&key, &user("alice")), NOW).is_ok(), "{key:?}");
        let without_id = KeyConfig { id: None, ..key };
        assert!(auth.connect(&sign(&without_id, &user("alice")), NOW).is_ok(), "tried with each key");
    }
    let swapped = KeyConfig { id: Some("new".into()), ..old.clone() };
    assert_eq!(auth.connect(&sign(&swapped, &user("root")), NOW), Err(invalid(InvalidToken::Signature)));
    let unknown = old.clone().with_id("unknown");
    assert_eq!(auth.connect(&sign(&unknown, &user("root")), NOW), Err(invalid(InvalidToken::NoKey)));

    let doubled = AuthConfig { keys: vec![old.clone(), old], ..AuthConfig::default() };
    assert!(matches!(Authenticator::new(&doubled), Err(AuthConfigError::DuplicateKey(id)) if id == "old"));
}

#[test]
fn claims_become_an_identity() {
    let auth = with_key(hs256());
    let identity = |claims: serde_json::Value| auth.connect(&sign(&hs256(), &claims), NOW).unwrap();
    let subscription = |channel: &str, info: &'static str, data: &'static str| ServerSubscription {
        channel: channel.into(),
        info: Bytes::from_static(info.as_bytes()),
        data: Bytes::from_static(data.as_bytes()),
    };

    let full = identity(json!({
        "sub": "alice", "exp": NOW + 60, "iat": NOW, "jti": "1",
        "info": { "name": "Alice" }, "meta": { "plan": "pro" },
        "subs": {
            "b": { "info": { "role": "admin" }, "data": [1] },
            "a": { "b64data": "AAEC", "override": { "presence": { "value": true } } },
            "": {},
        },
        "channels": ["ignored because of subs"],
    }));
    assert_eq!(full.user, "alice");
    assert_eq!(full.info, r#"{"name":"Alice"}"#);
    assert_eq!(full.meta, r#"{"plan":"pro"}"#);
    assert_eq!(
        full.subscriptions,
        [subscription("a", "", "\0\u{1}\u{2}"), subscription("b", r#"{"role":"admin"}"#, "[1]")]
    );

    let channels = identity(json!({ "channels": ["b", "a", "", "b"], "b64info": "eyJ4IjoxfQ==", "info": 0 }));
    assert_eq!(channels.user, "", "anonymous");
    assert_eq!(channels.info, r#"{"x":1}"#, "base64 wins");
    assert_eq!(channels.subscriptions, [subscription("a", "", ""), subscription("b", "", "")]);

    let nulls = json!({ "sub": null, "exp": null, "info": null, "meta": null, "subs": null, "channels": null });
    assert_eq!(identity(nulls), Identity::default());
    for bad in [json!({ "b64info": "*" }), json!({ "subs": { "a": { "b64info": "*" } } })] {
        assert_eq!(auth.connect(&sign(&hs256(), &bad), NOW), Err(invalid(InvalidToken::Claims)));
    }
    let subscription_token = json!({ "sub": "alice", "channel": "a" });
    assert_eq!(auth.connect(&sign(&hs256(), &subscription_token), NOW), Err(invalid(InvalidToken::UnexpectedChannel)));
}

#[test]
fn clients_without_a_token() {
    let closed = with_key(hs256());
    let denied = Refusal { answer: Answer::Reply(ErrorCode::Unauthorized), cause: None };
    assert_eq!(closed.connect("", NOW), Err(denied));
    let open = authenticator(AuthConfig { anonymous: true, keys: vec![hs256()], ..AuthConfig::default() });
    assert_eq!(open.connect("", NOW), Ok(Identity::default()));
    assert_eq!(open.connect("x", NOW), Err(invalid(InvalidToken::Malformed)), "a bad token is not no token");
    let no_keys = authenticator(AuthConfig { anonymous: true, ..AuthConfig::default() });
    assert_eq!(no_keys.connect(&sign(&hs256(), &user("root")), NOW), Err(invalid(InvalidToken::NoKey)));
}

#[test]
fn standalone_opens_all_doors_but_checks_tokens_once_it_has_a_key() {
    let config = AuthConfig::standalone();
    assert_eq!(config.warnings().len(), 2);
    let open = authenticator(config.clone());
    assert_eq!(open.connect("anything", NOW), Ok(Identity::default()));
    assert_eq!(open.connect("", NOW), Ok(Identity::default()));
    let request = Subscription { channel: "chat:1", user: "", client: "c", token: "anything" };
    assert_eq!(open.subscribe(request, NOW), Ok(Grant::default()));
    assert!(open.allows(Action::Publish, "chat:1", Who { user: "", member: false }));
    assert!(open.origins().allow(Some("https://example.org")));

    let with_key = authenticator(AuthConfig { keys: vec![hs256()], ..config });
    assert_eq!(with_key.connect("anything", NOW), Err(invalid(InvalidToken::Malformed)));
    assert_eq!(with_key.connect(&sign(&hs256(), &user("alice")), NOW).unwrap().user, "alice");
    assert_eq!(with_key.connect("", NOW), Ok(Identity::default()));
}

#[test]
fn refresh() {
    let auth = with_key(hs256());
    let refresh = |token: &str| auth.refresh(token, "alice", NOW).map(|identity| identity.expires_at);
    assert_eq!(refresh(&sign(&hs256(), &user("alice"))), Ok(Some(NOW + 60)));
    assert_eq!(refresh(&sign(&hs256(), &user("bob"))), Err(invalid(InvalidToken::OtherUser)));
    assert_eq!(refresh("x"), Err(invalid(InvalidToken::Malformed)));
    let late = Refusal { answer: Answer::Close(CloseCode::Expired), cause: Some(TokenError::Expired) };
    assert_eq!(refresh(&sign(&hs256(), &json!({ "sub": "alice", "exp": NOW }))), Err(late));
    assert_eq!(refresh(""), Err(Refusal { answer: Answer::Close(CloseCode::BadRequest), cause: None }));
}

#[test]
fn subscription_tokens() {
    let auth = with_key(hs256());
    let good = json!({ "sub": "alice", "channel": "c:1", "exp": NOW + 60, "info": { "r": 1 }, "data": "hi" });
    let but = |field: &str, value: serde_json::Value| {
        let mut claims = good.clone();
        claims[field] = value;
        sign(&hs256(), &claims)
    };
    fn ask(token: &str) -> Subscription<'_> {
        Subscription { channel: "c:1", user: "alice", client: "id-1", token }
    }
    let grant = Grant { expires_at: Some(NOW + 60), info: r#"{"r":1}"#.into(), data: r#""hi""#.into() };
    let token = sign(&hs256(), &good);
    assert_eq!(auth.subscribe(ask(&token), NOW), Ok(grant.clone()));
    assert_eq!(auth.sub_refresh(ask(&token), NOW), Ok(grant.clone()));
    assert_eq!(auth.subscribe(ask(&but("client", json!("id-1"))), NOW), Ok(grant));
    assert_eq!(auth.subscribe(ask(&but("expire_at", json!(0))), NOW).unwrap().expires_at, None);

    let answer = |refusal: Result<Grant, Refusal>| refusal.unwrap_err().answer;
    let invalid = Answer::Close(CloseCode::InvalidToken);
    let denied = Answer::Reply(ErrorCode::PermissionDenied);
    let expired = Answer::Reply(ErrorCode::TokenExpired);
    let table = [
        ("another chat", but("channel", json!("c:2")), invalid, invalid),
        ("prefix of the chat", but("channel", json!("c:")), invalid, invalid),
        ("another user", but("sub", json!("bob")), invalid, invalid),
        ("anonymous", but("sub", json!("")), invalid, invalid),
        ("another connection", but("client", json!("id-2")), invalid, invalid),
        ("connection token", but("channel", json!(null)), denied, invalid),
        ("expired", but("exp", json!(NOW)), expired, expired),
        ("garbage", "x".repeat(8 * 1024), denied, invalid),
        ("other key", sign(&KeyConfig::secret(Algorithm::Hs256, *b"x"), &good), denied, invalid),
    ];
    for (case, token, at_subscribe, at_refresh) in table {
        assert_eq!(answer(auth.subscribe(ask(&token), NOW)), at_subscribe, "{case}");
        assert_eq!(answer(auth.sub_refresh(ask(&token), NOW)), at_refresh, "{case}");
    }
    assert_eq!(answer(auth.subscribe(ask(""), NOW)), denied, "no permission without a token");
    assert_eq!(answer(auth.sub_refresh(ask(""), NOW)), Answer::Reply(ErrorCode::BadRequest));
}

#[test]
fn permissions_differ_between_users_and_anonymous_ones() {
    let listed = |pattern: &str| Permissions { subscribe: vec![pattern.parse().unwrap()], ..Permissions::default() };
    let auth = authenticator(AuthConfig {
        keys: vec![hs256()],
        users: listed("chat:*"),
        anonymous_users: listed("news"),
        ..AuthConfig::default()
    });
    let ask = |channel, user| auth.subscribe(Subscription { channel, user, client: "c", token: "" }, NOW).is_ok();
    assert!(ask("chat:1", "alice") && !ask("news", "alice"));
    assert!(ask("news", "") && !ask("chat:1", ""));
}

#[test]
fn keys_that_cannot_work_are_refused_at_start() {
    let missing = KeyConfig { material: KeyMaterial::File("/nonexistent/key.pem".into()), ..hs256() };
    let cases = [
        KeyConfig::secret(Algorithm::Hs256, *b""),
        KeyConfig::secret(Algorithm::Rs256, SECRET),
        KeyConfig::pem(Algorithm::Hs256, RSA[1]),
        KeyConfig::pem(Algorithm::Rs256, "not PEM"),
        KeyConfig::pem(Algorithm::Rs256, RSA[0]),
        KeyConfig::pem(Algorithm::Rs256, P256[1]),
        KeyConfig::pem(Algorithm::Es256, RSA[1]),
        KeyConfig::pem(Algorithm::Es256, P384[1]),
        KeyConfig::pem(Algorithm::Es384, P256[1]),
        KeyConfig::pem(Algorithm::EdDsa, P256[1]),
        missing,
    ];
    for key in cases {
        let config = AuthConfig { keys: vec![hs256(), key.clone().with_id("k")], ..AuthConfig::default() };
        let error = Authenticator::new(&config).expect_err("unusable").to_string();
        assert!(error.starts_with("token key 2 (id k): "), "{key:?}: {error}");
    }
}

#[test]
fn keys_come_from_files_too() {
    let folder = std::env::temp_dir().join(format!("corecast-auth-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (secret, pem) = (folder.join("secret"), folder.join("public.pem"));
    std::fs::write(&secret, [SECRET, b"\n"].concat()).unwrap();
    std::fs::write(&pem, RSA[1]).unwrap();
    let file = |algorithm, path| KeyConfig { id: None, algorithm, material: KeyMaterial::File(path) };
    let keys = vec![file(Algorithm::Hs256, secret), file(Algorithm::Rs256, pem)];
    let auth = authenticator(AuthConfig { keys, ..AuthConfig::default() });
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(auth.connect(&sign(&hs256(), &user("alice")), NOW).is_ok());
    assert!(auth.connect(&sign(&KeyConfig::pem(Algorithm::Rs256, RSA[0]), &user("alice")), NOW).is_ok());
}

#[test]
fn minted_tokens_say_what_was_asked_for() {
    let auth = authenticator(AuthConfig {
        keys: vec![hs256().with_id("k1")],
        audience: Some("chat".into()),
        issuer: Some("corecast".into()),
        ..AuthConfig::default()
    });
    let signer = TokenSigner::new(&hs256().with_id("k1")).unwrap();
    let common = NewToken {
        user: "alice".into(),
        expires_at: Some(NOW + 60),
        issued_at: Some(NOW),
        not_before: Some(NOW),
        audience: vec!["chat".into()],
        issuer: Some("corecast".into()),
        info: Some(json!({ "n": 1 })),
        ..NewToken::default()
    };
    let connection = NewToken { channels: vec!["a".into()], session_expires_at: Some(NOW + 30), ..common.clone() };
    let identity = auth.connect(&signer.sign(&connection).unwrap(), NOW).unwrap();
    assert_eq!((identity.user.as_str(), identity.expires_at), ("alice", Some(NOW + 30)));
    assert_eq!(identity.subscriptions.len(), 1);
    let token = signer.sign(&NewToken { channel: Some("a".into()), ..common }).unwrap();
    let request = Subscription { channel: "a", user: "alice", client: "c", token: &token };
    assert_eq!(auth.subscribe(request, NOW).unwrap().info, r#"{"n":1}"#);
    for wrong in [KeyConfig::pem(Algorithm::Rs256, RSA[1]), KeyConfig::pem(Algorithm::Es256, RSA[0])] {
        assert!(matches!(TokenSigner::new(&wrong), Err(KeyError::WrongKey { what: "private", .. })));
    }
    let other_curve = KeyConfig::pem(Algorithm::Es256, P384[0]);
    assert!(matches!(TokenSigner::new(&other_curve), Err(KeyError::Signing(_))));
}

#[test]
fn weak_secrets_are_reported_and_never_shown() {
    let config = AuthConfig { keys: vec![KeyConfig::secret(Algorithm::Hs256, *b"hunter2")], ..AuthConfig::default() };
    assert_eq!(config.warnings().len(), 1);
    assert!(!config.warnings()[0].contains("hunter2"));
    let bytes = format!("{:?}", b"hunter2");
    assert!(!format!("{config:?}").contains("hunter2") && !format!("{config:?}").contains(&bytes));
    assert!(AuthConfig { keys: vec![hs256()], ..AuthConfig::default() }.warnings().is_empty());
}

#[test]
fn algorithms_have_the_names_of_the_standard() {
    for (key, _) in key_pairs() {
        assert_eq!(key.algorithm.name().parse::<Algorithm>().unwrap(), key.algorithm);
    }
    for unknown in ["none", "HS1", "hs256", "PS256", "ES512", ""] {
        assert!(matches!(unknown.parse::<Algorithm>(), Err(KeyError::UnknownAlgorithm(_))));
    }
}
