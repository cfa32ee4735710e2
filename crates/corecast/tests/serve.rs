//! Claim: one command serves; what the start says is true; the server API, health and metrics work on the running process;
//! and the process ends as its operator wants.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use serde_json::json;
use support::{Client, Process, api, get, post, until_status};

const FREE: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];

fn standalone(more: &[&str], env: &[(&str, &str)]) -> Process {
    Process::start(&[&["standalone"], &FREE[..], more].concat(), env)
}

#[test]
fn the_banner_says_what_is_served_and_to_whom() {
    let mut server = standalone(&["--cores", "2"], &[]);
    let admin = server.admin();
    let key = server.announced("X-API-Key: ");
    let websocket = server.websocket();
    assert_eq!(server.announced("Demo page "), format!("http://{admin}/"));
    let printed = server.printed();
    for part in [
        "OPEN TO EVERYBODY",
        "connect, subscribe, publish and read the history in every chat",
        "2 gateway cores",
        "1 router core",
    ] {
        assert!(printed.contains(part), "{part} is missing in:\n{printed}");
    }

    until_status(admin, "/readyz", 200);
    for path in ["/healthz", "/livez"] {
        assert_eq!(get(admin, path).status, 200, "{path}");
    }
    let page = get(admin, "/");
    assert!(page.head.contains("default-src 'none'") && page.body.contains(&websocket), "{page:?}");
    let mut ada = Client::connect(&websocket, None);
    assert!(ada.command("subscribe", &json!({ "channel": "lobby" })).get("subscribe").is_some());
    api(admin, &key, "publish", &json!({ "channel": "lobby", "data": { "text": "hello" } }));
    assert_eq!(ada.publication(), json!({ "text": "hello" }));
    assert_eq!(post(admin, "wrong", "info", &json!({})).status, 401);

    // The WebSocket port speaks only WebSocket, and says so.
    let plain = get(websocket.trim_start_matches("ws://").split('/').next().unwrap().parse().unwrap(), "/");
    assert_eq!(plain.status, 426, "{plain:?}");
    assert!(plain.body.contains(&format!("http://{admin}/")), "{plain:?}");
}

#[test]
fn the_server_api_works_on_a_running_gateway() {
    let mut server = standalone(&["--api-key", "k"], &[]);
    let (admin, websocket) = (server.admin(), server.websocket());
    until_status(admin, "/readyz", 200);
    let mut ada = Client::connect(&websocket, None);
    let client = ada.command("subscribe", &json!({ "channel": "a" }));
    let epoch = client["subscribe"]["epoch"].as_str().unwrap().to_owned();

    let publish = json!({ "channel": "a", "data": { "n": 1 }, "idempotency_key": "once" });
    let first = api(admin, "k", "publish", &publish);
    assert_eq!(first, json!({ "offset": 1, "epoch": epoch }));
    assert_eq!(api(admin, "k", "publish", &publish), first, "a repetition is the same message");
    let both = api(admin, "k", "broadcast", &json!({ "channels": ["a", "b"], "data": { "n": 2 } }));
    assert_eq!(both["responses"][0]["result"]["offset"], 2);
    assert_eq!(both["responses"][1]["result"]["offset"], 1);
    assert_eq!([ada.publication(), ada.publication()], [json!({ "n": 1 }), json!({ "n": 2 })]);

    let history = api(admin, "k", "history", &json!({ "channel": "a", "limit": 10, "reverse": true }));
    let expected = json!([{ "data": { "n": 2 }, "offset": 2 }, { "data": { "n": 1 }, "offset": 1 }]);
    assert_eq!(history, json!({ "publications": expected, "epoch": epoch, "offset": 2 }));
    let since = json!({ "channel": "a", "limit": 10, "since": { "offset": 1, "epoch": "other" } });
    assert_eq!(post(admin, "k", "history", &since).json()["error"]["code"], 112);
    // Gateways report their counts several times a second.
    let chat = json!({ "channel": "a" });
    let deadline = std::time::Instant::now() + support::PATIENCE;
    while api(admin, "k", "presence_stats", &chat)["num_clients"] != 1 {
        assert!(std::time::Instant::now() < deadline, "the member was never counted");
    }
    assert_eq!(api(admin, "k", "info", &json!({}))["nodes"].as_array().unwrap().len(), 1);
    let large = json!({ "channel": "a", "data": "x".repeat(200_000) });
    assert_eq!(post(admin, "k", "publish", &large).json()["error"]["code"], 106);

    assert_eq!(ada.command("presence_stats", &chat)["presence_stats"]["num_clients"], 1);
}

#[test]
fn a_user_is_disconnected_by_the_server_api() {
    let secret = "a secret of at least thirty-two bytes";
    let env = [("CORECAST_AUTH_TOKEN_SECRET", secret), ("CORECAST_AUTH_ANONYMOUS", "false")];
    let mut server = standalone(&["--api-key", "k"], &env);
    let (admin, websocket) = (server.admin(), server.websocket());
    until_status(admin, "/readyz", 200);
    let mut minted = Process::start(&["gentoken", "--user", "42"], &env);
    assert!(minted.ended().success());
    let token = minted.announced("");
    let mut ada = Client::connect(&websocket, Some(&token));
    let mut stranger = Client::open(&websocket);
    assert_eq!(stranger.command("connect", &json!({}))["error"]["code"], 101, "anonymous users were shut out");

    api(admin, "k", "disconnect", &json!({ "user": "7" }));
    assert!(ada.command("subscribe", &json!({ "channel": "a" })).get("subscribe").is_some(), "somebody else was meant");
    api(admin, "k", "disconnect", &json!({ "user": "42" }));
    assert_eq!(ada.closed(), (3503, "force disconnect".to_owned()));
    let mut ada = Client::connect(&websocket, Some(&token));
    let disconnect = json!({ "user": "42", "disconnect": { "code": 4100, "reason": "see you" } });
    api(admin, "k", "disconnect", &disconnect);
    assert_eq!(ada.closed(), (4100, "see you".to_owned()));
}

#[test]
fn metrics_tell_what_happens_and_never_where_or_to_whom() {
    let mut server = standalone(&["--api-key", "k", "--cores", "2"], &[]);
    let (admin, websocket) = (server.admin(), server.websocket());
    until_status(admin, "/readyz", 200);
    let mut ada = Client::connect(&websocket, None);
    ada.command("subscribe", &json!({ "channel": "a-very-private-chat" }));
    ada.command("publish", &json!({ "channel": "a-very-private-chat", "data": 1 }));
    ada.publication();
    let sum = |text: &str, name: &str| -> f64 {
        let values = text.lines().filter(|line| line.starts_with(name)).map(|line| line.rsplit(' ').next().unwrap());
        values.map(|value| value.parse::<f64>().unwrap()).sum()
    };
    // Cores copy their counters out a few times a second.
    let deadline = std::time::Instant::now() + support::PATIENCE;
    let text = loop {
        let text = get(admin, "/metrics").body;
        if sum(&text, "corecast_gateway_deliveries_total") == 1.0
            && sum(&text, "corecast_router_messages_committed_total") == 1.0
        {
            break text;
        }
        assert!(std::time::Instant::now() < deadline, "{text}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(!text.contains("a-very-private-chat"), "{text}");
    assert!(text.contains("corecast_build_info{version=\"") && text.contains("role=\"standalone\""), "{text}");
    assert_eq!(sum(&text, "corecast_gateway_clients{"), 1.0, "{text}");
    assert!(text.contains("corecast_gateway_connections{core=\"1\"}"), "{text}");
    assert!(text.contains("corecast_gateway_connections_moved_total{core=\"1\"} 0"), "{text}");
    assert!(text.contains("corecast_gateway_imbalance_ratio 2"), "one connection on one of two cores: {text}");
    assert_eq!(sum(&text, "corecast_gateway_link_up{"), 1.0, "{text}");
    // Every family is described once, and no name stands for two of them.
    let mut families: Vec<_> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(|line| line.split(' ').next()).collect();
    let count = families.len();
    families.sort_unstable();
    families.dedup();
    assert!(count > 80 && families.len() == count, "{text}");
}

#[test]
fn a_second_server_on_the_same_port_says_so_and_leaves_the_first_alone() {
    let mut first = standalone(&[], &[]);
    let (admin, websocket) = (first.admin(), first.websocket());
    let listen = websocket.trim_start_matches("ws://").split('/').next().unwrap();
    for (flags, flag) in [
        (["--listen", listen, "--admin", "127.0.0.1:0"], "--listen"),
        (["--listen", "127.0.0.1:0", "--admin", &admin.to_string()], "--admin"),
    ] {
        let mut second = Process::start(&[&["standalone"], &flags[..]].concat(), &[]);
        assert_eq!(second.ended().code(), Some(69), "{}", second.printed());
        let printed = second.printed();
        assert!(printed.contains("in use") && printed.contains(flag), "{printed}");
    }
    Client::connect(&websocket, None);
}

#[test]
fn a_killed_server_starts_again_at_once_on_its_ports() {
    let mut server = standalone(&[], &[]);
    let (admin, websocket) = (server.admin(), server.websocket());
    let listen = websocket.trim_start_matches("ws://").split('/').next().unwrap().to_owned();
    for round in 0..5 {
        // Connections keep the ring busy while the kernel takes the process down.
        let clients: Vec<_> = (0..50).map(|_| Client::connect(&websocket, None)).collect();
        drop(server);
        server = Process::start(&["standalone", "--listen", &listen, "--admin", &admin.to_string()], &[]);
        assert_eq!(server.admin(), admin, "round {round}");
        until_status(admin, "/readyz", 200);
        drop(clients);
    }
}

#[test]
fn sigterm_drains_clients_are_told_and_the_exit_code_is_0() {
    let mut server = standalone(&[], &[("CORECAST_NODE_DRAIN_WINDOW", "1s")]);
    let (admin, websocket) = (server.admin(), server.websocket());
    until_status(admin, "/readyz", 200);
    let mut clients: Vec<_> = (0..20).map(|_| Client::connect(&websocket, None)).collect();
    server.signal("TERM");
    let answer = until_status(admin, "/readyz", 503);
    assert!(answer.body.contains("draining"), "{answer:?}");
    for client in &mut clients {
        assert_eq!(client.closed(), (3001, "shutdown".to_owned()));
    }
    drop(clients);
    assert_eq!(server.ended().code(), Some(0), "{}", server.printed());
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let mut server = standalone(&[], &[("CORECAST_NODE_DRAIN_WINDOW", "1h")]);
    let (admin, websocket) = (server.admin(), server.websocket());
    let clients: Vec<_> = (0..20).map(|_| Client::connect(&websocket, None)).collect();
    server.signal("INT");
    until_status(admin, "/readyz", 503);
    server.signal("INT");
    assert_eq!(server.ended().code(), Some(1), "{}", server.printed());
    drop(clients);
}

#[test]
fn gateway_and_router_run_apart_with_a_shared_secret() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef\n").unwrap();
    let link = ("CORECAST_LINK_SECRET_FILE", secret.to_str().unwrap());
    let mut router = Process::start(&["router", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"], &[link]);
    let endpoint = router.announced("Router cores ");
    let open = [("CORECAST_AUTH_ANONYMOUS", "true"), ("CORECAST_ANONYMOUS_USERS_SUBSCRIBE", "public:*"), link];
    let arguments = [&["gateway", "--router", &endpoint, "--api-key", "k"], &FREE[..]].concat();
    let mut gateway = Process::start(&arguments, &open);
    let (admin, websocket) = (gateway.admin(), gateway.websocket());
    until_status(admin, "/readyz", 200);
    assert_eq!(get(admin, "/").status, 404, "a gateway serves no demo page unless told to");

    let mut ada = Client::connect(&websocket, None);
    assert!(ada.command("subscribe", &json!({ "channel": "public:a" })).get("subscribe").is_some());
    assert_eq!(ada.command("subscribe", &json!({ "channel": "private" }))["error"]["code"], 103);
    assert_eq!(ada.command("publish", &json!({ "channel": "public:a", "data": 1 }))["error"]["code"], 103);
    api(admin, "k", "publish", &json!({ "channel": "public:a", "data": 2 }));
    assert_eq!(ada.publication(), json!(2));

    let wrong = [("CORECAST_LINK_SECRET", "another secret of sufficient length")];
    let mut stranger = Process::start(&arguments, &wrong);
    let stranger_admin = stranger.admin();
    let answer = until_status(stranger_admin, "/readyz", 503);
    assert!(answer.body.contains("0 of 1 routers linked"), "{answer:?}");

    drop(router);
    until_status(admin, "/readyz", 503);
    gateway.signal("TERM");
    assert_eq!(gateway.ended().code(), Some(0), "{}", gateway.printed());
}

#[test]
fn a_gateway_without_configuration_lets_nobody_in() {
    let link = [("CORECAST_LINK_SECRET", "0123456789abcdef0123456789abcdef")];
    let arguments = [&["gateway", "--router", "127.0.0.1:1"], &FREE[..]].concat();
    let mut gateway = Process::start(&arguments, &link);
    let (admin, websocket) = (gateway.admin(), gateway.websocket());
    let mut ada = Client::open(&websocket);
    assert_eq!(ada.command("connect", &json!({}))["error"]["code"], 101);
    assert_eq!(post(admin, "", "info", &json!({})).status, 401);
    assert!(!gateway.printed().contains("OPEN TO EVERYBODY"));
}
