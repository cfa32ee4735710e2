//! The settings themselves. Each states its unit (through its kind), its default and what happens at the limit; the defaults
//! of what bounds the gateway are those of [`corecast_gateway::config`], whose constants give the arithmetic,
//! and the defaults of what bounds a router those of [`corecast_router`].

use corecast_gateway::config::{self as gateway, DRAIN_WINDOW};
use corecast_router::chat::Kept;
use corecast_router::core::Limits as RouterLimits;
use corecast_router::keys::KeyLimits;

use super::schema::{section, settings};
use super::values::{Secret, Size, Span, choice};
use crate::cli::Role;

settings! {
    /// Everything that can be configured.
    struct Settings {
        node: Node,
        gateway: Gateway,
        admin: Admin,
        auth: Auth,
        users: Users,
        anonymous_users: AnonymousUsers,
        router: Router,
        link: Link,
        limits: Limits,
        timing: Timing,
        ring: Ring,
    }
}

choice! {
    /// How log lines look.
    pub(crate) enum LogFormat {
        /// One line of text per event.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
    }
}

section! {
    /// The process as a whole.
    struct Node = "node" {
        /// Name of this node in `info`, in logs and in the cluster. Must be unique there. Empty: the host name and the port.
        name: String = String::new(), limit "";
        /// How long closing the connections (code 3001) is spread over after SIGTERM or SIGINT, so that clients do not all
        /// return to the other nodes at once. A second signal ends the process at once.
        drain_window: Span = Span(DRAIN_WINDOW), limit "";
        /// Which events are logged, to the standard error: a level (`error`, `warn`, `info`, `debug`, `trace`) or filters
        /// such as `info,corecast_gateway=debug`.
        log: String = "info".into(), limit "";
        /// How a log line looks.
        log_format: LogFormat = LogFormat::Text, limit "";
    }
}

choice! {
    /// How new connections find their core.
    pub(crate) enum Steering {
        /// By CPU where the cores match the receive queues.
        Auto = "auto",
        /// By the kernel's hash.
        Hash = "hash",
        /// To the core of the CPU that took the packet.
        Cpu = "cpu",
    }
}

section! {
    /// The WebSocket side: `standalone` and `gateway`.
    struct Gateway = "gateway" {
        /// Address and port for WebSocket clients. Port 0 takes a free one; one in use ends the start with exit code 69.
        /// Flag: `--listen`.
        listen: String = "127.0.0.1:8000".into(), limit "";
        /// Path of the WebSocket endpoint. Other paths are answered with 404.
        path: String = "/connection/websocket".into(), limit "";
        /// Threads that serve connections, each with its own io_uring. May exceed the number of CPUs, since each ring has
        /// its own limit of descriptors. Flag: `--cores`.
        cores: u16 = 1, limit "";
        /// CPUs to pin those threads to, in turn: numbers and ranges, such as `0-3,8`. Empty: not pinned. A CPU that the
        /// process may not use ends the start. Flag: `--cpus`.
        cpus: String = String::new(), limit "";
        /// How new connections find their core. `hash`: spread by the kernel. `cpu`: to the core on the CPU that took the
        /// packet, which needs a CPU in `cpus` for each core and pays where each of these takes the interrupts of a receive
        /// queue; clients on the same host, such as a proxy, count for the CPU that they run on. `auto`: `cpu` if exactly
        /// the cores' CPUs take the network's interrupts and the port is not on loopback, else `hash`.
        steering: Steering = Steering::Auto, limit "";
        /// Connections that a core may hold in percent of the mean of all cores, from 100. A core that accepts more than
        /// that, and holds 256, gives them to the core with the fewest. 0: only a core without free slots gives any away.
        imbalance: u32 = gateway::IMBALANCE_PERCENT, limit "New connections change the core; counted.";
        /// Router cores to link to, as `host:port`, `unix:/path` or `NAME@` followed by one of these (`gateway` only). Every
        /// gateway of a cluster lists the same names, in any order: they decide which router owns which chat, and a router
        /// refuses a gateway whose list differs. Without `NAME@` the address is the name. Flag: `--router`, repeated.
        routers: Vec<String> = Vec::new(), limit "At most 4,096. Without one, `gateway` does not start.";
        /// Proxies whose `X-Forwarded-For` is believed, as addresses or networks such as `10.0.0.0/8`.
        trusted_proxies: Vec<String> = Vec::new(), limit "";
    }
}

section! {
    /// The internal port: server API, demo page, metrics, health. Do not expose it to the internet.
    struct Admin = "admin" {
        /// Address and port of the internal port. Port 0 takes a free one; one in use ends the start with exit code 69. Flag:
        /// `--admin`.
        listen: String = "127.0.0.1:9000".into(), limit "";
        /// Key that requests to the server API must carry as `X-API-Key`. Flag: `--api-key`. `standalone` makes one and
        /// prints it if none is given; elsewhere everybody is refused without one.
        api_key: Option<Secret> = None, limit "Another key or none: 401.";
        /// File with that key, instead of `api_key`. White space around it is removed.
        api_key_file: Option<String> = None, limit "";
        /// Serve the demo chat page at `/`.
        demo: bool = false, limit "";
        /// Address at which browsers reach the WebSocket endpoint, such as `wss://chat.example.org/connection/websocket`, for
        /// the demo page behind a proxy. Empty: the host name of the page's own address, with the port of `gateway.listen`.
        demo_websocket: String = String::new(), limit "";
        /// Largest body of a request to the server API.
        body_max: Size = Size::mib(4), limit "Larger ones are answered with 413.";
        /// Most channels of one `broadcast`.
        broadcast_max: u32 = 10_000, limit "More are answered with error 107.";
        /// How long a request may take until its answer is sent.
        timeout: Span = Span::secs(10), limit "Then 408 while its body is awaited, else error 100: the outcome is unknown.";
        /// How long the client may take nothing of an answer that is sent. Who reads slowly goes on.
        write_timeout: Span = Span::secs(10), limit "The connection is reset.";
        /// Connections that are served at a time.
        connections: u32 = 512, limit "Further ones wait in the accept queue.";
    }
}

choice! {
    /// How tokens signed with a shared secret are signed.
    pub(crate) enum HmacAlgorithm {
        /// HMAC with SHA-256.
        Hs256 = "HS256",
        /// HMAC with SHA-384.
        Hs384 = "HS384",
        /// HMAC with SHA-512.
        Hs512 = "HS512",
    }
}

section! {
    /// Who may connect. Everybody is refused until a token key is named or anonymous clients are allowed; `standalone` lets
    /// everybody in unless told otherwise. Tokens are JWT with Centrifugo's claims.
    struct Auth = "auth" {
        /// Whether clients without a token may connect, as anonymous users.
        anonymous: bool = false, limit "Without a token: error 101, which is final for the published SDKs.";
        /// Treat a client that brings a token as one without, as long as no key is configured to check it with.
        ignore_tokens_without_keys: bool = false, limit "";
        /// Shared secret that tokens are signed with.
        token_secret: Option<Secret> = None, limit "A token with another signature: close 3500.";
        /// File with that secret, instead of `token_secret`. White space around it is removed.
        token_secret_file: Option<String> = None, limit "";
        /// Algorithm of tokens signed with `token_secret`. What a token says of itself does not count.
        token_secret_algorithm: HmacAlgorithm = HmacAlgorithm::Hs256, limit "A token of another algorithm: close 3500.";
        /// Public keys that tokens are signed with, as `ALGORITHM:FILE` or `KEY_ID@ALGORITHM:FILE`, for example
        /// `2026-11@RS256:/etc/corecast/token.pem`. Algorithms: RS256, RS384, RS512, ES256, ES384, EdDSA. The file holds PEM.
        token_keys: Vec<String> = Vec::new(), limit "A token with a `kid` is checked with the keys of that id and those without.";
        /// If set, a token must name it in `aud`.
        audience: Option<String> = None, limit "Another audience: close 3500.";
        /// If set, a token must name it in `iss`.
        issuer: Option<String> = None, limit "Another issuer: close 3500.";
        /// How far `nbf` of a token may lie in the future, for clocks that differ. Whole seconds.
        not_before_leeway: Span = Span::secs(0), limit "Later: error 109, as for an expired token.";
        /// Web pages that may connect: `https://example.org`, `https://*.example.org` (hosts below it), or `*` for all.
        allowed_origins: Vec<String> = Vec::new(), limit "A browser on another page is answered with 403.";
        /// Whether clients that send no `Origin` may connect: native SDKs send none, browsers always do.
        allow_missing_origin: bool = true, limit "Answered with 403.";
    }
}

section! {
    /// What users with a name may do without a subscription token. Each setting lists chats: a name (`news`), a prefix
    /// (`chat:*`) or all (`*`). The lists of members hold while subscribed to the chat.
    struct Users = "users" {
        /// Chats they may subscribe to.
        subscribe: Vec<String> = Vec::new(), limit "Error 103.";
        /// Chats they may publish to.
        publish: Vec<String> = Vec::new(), limit "Error 103.";
        /// Chats they may publish to as members.
        publish_for_member: Vec<String> = Vec::new(), limit "Error 103.";
        /// Chats whose history they may read.
        history: Vec<String> = Vec::new(), limit "Error 103.";
        /// Chats whose history they may read as members.
        history_for_member: Vec<String> = Vec::new(), limit "Error 103.";
        /// Chats whose members they may count.
        presence: Vec<String> = Vec::new(), limit "Error 103.";
        /// Chats whose members they may count as members.
        presence_for_member: Vec<String> = Vec::new(), limit "Error 103.";
    }
}

section! {
    /// What anonymous users may do without a subscription token; as `[users]`.
    struct AnonymousUsers = "anonymous_users" {
        /// Chats they may subscribe to.
        subscribe: Vec<String> = Vec::new(), limit "Error 103.";
        /// Chats they may publish to.
        publish: Vec<String> = Vec::new(), limit "Error 103.";
        /// Chats they may publish to as members.
        publish_for_member: Vec<String> = Vec::new(), limit "Error 103.";
        /// Chats whose history they may read.
        history: Vec<String> = Vec::new(), limit "Error 103.";
        /// Chats whose history they may read as members.
        history_for_member: Vec<String> = Vec::new(), limit "Error 103.";
        /// Chats whose members they may count.
        presence: Vec<String> = Vec::new(), limit "Error 103.";
        /// Chats whose members they may count as members.
        presence_for_member: Vec<String> = Vec::new(), limit "Error 103.";
    }
}

section! {
    /// The routers: `router`, and the one inside `standalone`. Limits are per router core unless they say otherwise.
    struct Router = "router" {
        /// Link address for gateways: `address:port` or `unix:/path` (`router` only). Core i of n listens on port + i, or on
        /// the path with `.i`. A port in use ends the start with exit code 69. Flag of `router`: `--listen`.
        listen: String = "127.0.0.1:7000".into(), limit "";
        /// Threads that sequence chats, each with its own share of them. Flag of `router`: `--cores`.
        cores: u16 = 1, limit "";
        /// CPUs to pin those threads to, in turn. Empty: not pinned. A CPU that the process may not use ends the start. Flag of
        /// `router`: `--cpus`.
        cpus: String = String::new(), limit "";
        /// Largest batching window: under load a core gathers for this long before it works, so that several messages share a
        /// wake-up; after an idle time it works at once. 0s switches it off: gateways send batches already.
        min_wait: Span = Span(std::time::Duration::ZERO), limit "At most 10ms.";
        /// Messages kept per chat, for recovery and history.
        kept_messages: u32 = count(Kept::default().messages), limit "The oldest go first.";
        /// Bytes kept per chat. The newest message is kept whatever its size.
        kept_bytes: Size = bytes(Kept::default().bytes), limit "The oldest go first.";
        /// Bytes kept by all chats.
        kept_total: Size = bytes(RouterLimits::default().kept_bytes_total), limit "Chats lose the older half of what they keep, one after the other.";
        /// How long a chat without members and messages stays in memory.
        idle_retention: Span = Span(RouterLimits::default().idle_retention), limit "It is forgotten; when it comes back it has a new epoch.";
        /// How long an idempotency key is remembered.
        idempotency_window: Span = Span(KeyLimits::default().window), limit "A repetition after it is a new message.";
        /// Idempotency keys remembered at once.
        idempotency_keys: u32 = count(KeyLimits::default().keys), limit "Publishes with a new key are refused (temporary) until one ends; none is forgotten early.";
        /// Chats in memory.
        chats: u32 = count(RouterLimits::default().chats), limit "Subscribes and publishes to further chats are refused (temporary).";
        /// Gateways linked at once, at most 1,500.
        links: u32 = count(RouterLimits::default().links), limit "Further links are refused.";
        /// Queued bytes of a link above which messages are withheld; the gateway reads them from the history later.
        link_soft: Size = bytes(RouterLimits::default().link_soft_bytes), limit "Counted; chats on that gateway lag until it has caught up.";
        /// Queued bytes of a link at which it is cut.
        link_hard: Size = bytes(RouterLimits::default().link_hard_bytes), limit "The gateway reconnects and repairs.";
        /// Most messages of one history answer.
        history_messages: u32 = count(RouterLimits::default().history_messages), limit "Larger limits are cut to this.";
        /// Most bytes of one history answer.
        history_bytes: Size = bytes(RouterLimits::default().history_bytes), limit "The answer has fewer messages.";
    }
}

section! {
    /// The links between gateways and routers. `standalone` makes a secret of its own and needs none of this.
    struct Link = "link" {
        /// Slots that chats are hashed to before slots are spread over the routers: 1 to 16,384, the same on all nodes.
        slots: u16 = 1_024, limit "A router refuses a gateway with another number.";
        /// Secret that gateways and routers prove to each other, 16 bytes or more. The same on all nodes.
        secret: Option<Secret> = None, limit "Without one, `gateway` and `router` do not start.";
        /// File with that secret, instead of `secret`. White space around it is removed.
        secret_file: Option<String> = None, limit "";
    }
}

section! {
    /// What bounds a gateway. Nothing in it grows without one of these.
    struct Limits = "limits" {
        /// Connections of the process. 0: only RLIMIT_NOFILE bounds them.
        connections: u32 = 0, limit "Upgrades are answered with 503.";
        /// Connections of one client address. 0: no limit.
        connections_per_address: u32 = 0, limit "Closed right after accept; behind a trusted proxy, upgrades are answered with 429.";
        /// Upgrades per second and core.
        handshakes_per_second: u32 = gateway::HANDSHAKES_PER_SECOND, limit "Upgrades are answered with 503.";
        /// Upgrades per second of one client address; a burst of one second's worth passes. 0: no limit.
        handshakes_per_second_per_address: u32 = 0, limit "Closed right after accept; behind a trusted proxy, upgrades are answered with 429.";
        /// Whether limits per address hold for loopback addresses, which usually stand for a proxy on the same host.
        limit_loopback: bool = false, limit "";
        /// Largest message of a client, and largest payload of a publication.
        message: Size = bytes(gateway::MAX_MESSAGE), limit "Close 1009, which is final for the published SDKs; error 106 in the server API.";
        /// Largest first frame, which carries `connect` and all `subscribe`s, before the client is authenticated.
        first_frame: Size = bytes(gateway::MAX_FIRST_FRAME), limit "Close 1009. Connect and 128 subscribes with a 250-byte token each are 47 KB.";
        /// Largest upgrade request: request line and headers.
        upgrade: Size = bytes(gateway::MAX_UPGRADE), limit "Answered with 431.";
        /// Most headers of an upgrade request.
        upgrade_headers: u32 = count(gateway::MAX_UPGRADE_HEADERS), limit "Answered with 431.";
        /// Input held for all clients of a core that are not authenticated yet.
        unauthenticated: Size = bytes(gateway::MAX_UNAUTHENTICATED), limit "New ones are closed with 3013 and come back.";
        /// Chats of one connection, at most 255.
        chats_per_connection: u32 = count(gateway::MAX_CHATS), limit "Subscribe is answered with error 106.";
        /// Longest name of a chat in bytes, at most 255.
        chat_name: u32 = count(gateway::MAX_CHAT_NAME), limit "Answered with error 107.";
        /// Queued bytes of a connection from which a chat is cut for it: it is told to recover once it has caught up.
        outbox_soft: Size = bytes(gateway::OUTBOX_SOFT), limit "Unsubscribe 2500 once drained; the SDK recovers by itself.";
        /// Queued bytes at which a connection is closed. One message larger than that still fits.
        outbox_hard: Size = bytes(gateway::OUTBOX_HARD), limit "Close 3008.";
        /// Queued bytes of all connections of a core, shared frames counted once.
        outbox_total: Size = bytes(gateway::OUTBOX_TOTAL), limit "The connections with the most are closed with 3008.";
        /// Bytes that a connection with something queued must take within `progress_window`.
        progress_bytes: Size = bytes(gateway::PROGRESS_BYTES), limit "Close 3008.";
        /// The window of `progress_bytes`.
        progress_window: Span = Span(gateway::PROGRESS_WINDOW), limit "";
        /// How often a connection may fall behind and recover within `circle_window`.
        circle_rounds: u16 = gateway::CIRCLE_ROUNDS as u16, limit "Close 3008.";
        /// The window of `circle_rounds`.
        circle_window: Span = Span(gateway::CIRCLE_WINDOW), limit "";
        /// Most messages of one recovery.
        recovery_messages: u32 = count(gateway::RECOVERY_MESSAGES), limit "More missed: answered as not recoverable, and the client reads history.";
        /// Most bytes of one recovery.
        recovery_bytes: Size = bytes(gateway::RECOVERY_BYTES), limit "More missed: answered as not recoverable.";
        /// Messages kept per chat and core for recoveries without asking the router.
        recent_messages: u32 = count(gateway::RECENT_MESSAGES), limit "Older ones come from the router.";
        /// Bytes kept per chat and core for recoveries without asking the router.
        recent_bytes: Size = bytes(gateway::RECENT_BYTES), limit "Older ones come from the router.";
        /// Bytes kept for recoveries by all chats of a core.
        recent_total: Size = bytes(gateway::RECENT_TOTAL), limit "The oldest go first; they come from the router.";
        /// Messages fetched when a chat becomes live on a core, so that the first recoveries are served there.
        warm_messages: u16 = gateway::WARM_MESSAGES, limit "";
        /// Most messages of one `history` answer.
        history_messages: u32 = count(gateway::HISTORY_MESSAGES), limit "Larger `limit`s are cut to this.";
        /// Input budget of one connection in units per second, with a burst of two seconds' worth: a message costs 1, a
        /// ping, a pong or an empty frame 250. 0: no limit.
        input_rate: u32 = gateway::INPUT_RATE, limit "Close 3013, or 1008 before `connect`.";
        /// Publications per second of one connection, with a burst of two seconds' worth. 0: no limit.
        publish_rate: u32 = 0, limit "Answered with error 111, which is temporary.";
        /// Members per millisecond and core that are told to resubscribe when a chat is cut, so that they do not return at once.
        cut_per_ms: u32 = gateway::CUT_PER_MS, limit "";
        /// Sends of one chat before the next chat has its turn.
        slice_sends: u32 = count(gateway::SLICE_SENDS), limit "The rest waits for the chat's next turn.";
        /// Sends of one turn of the loop before new input is looked at.
        turn_sends: u32 = count(gateway::TURN_SENDS), limit "The rest waits for the next turn.";
    }
}

section! {
    /// Intervals and deadlines towards clients. Their resolution is 100 ms.
    struct Timing = "timing" {
        /// The whole upgrade request must have arrived by then.
        handshake: Span = Span::secs(5), limit "The connection is closed with 408.";
        /// A valid `connect` must have arrived by then, counted from the upgrade.
        connect: Span = Span::secs(10), limit "Close 3502.";
        /// Interval of pings. The first comes after a random time between half of it and all of it. At least 1 s.
        ping: Span = Span::secs(25), limit "";
        /// How long a pong may take.
        pong: Span = Span::secs(8), limit "Close 3012.";
        /// How long after its expiry a token may still be refreshed: clients refresh when it has expired, not before.
        expiry_grace: Span = Span::secs(25), limit "Close 3005, or unsubscribe 2501.";
        /// How long a peer may take to close its side after a close frame.
        close: Span = Span::secs(3), limit "The socket is closed.";
        /// How long a subscribe or a history request may wait for the router. Clients give up after 5 s.
        answer: Span = Span::secs(4), limit "Answered with a temporary error; the SDK tries again.";
        /// How long a chat without members stays subscribed on a core, so that a reloaded page finds it warm.
        linger: Span = Span(gateway::LINGER), limit "";
    }
}

section! {
    /// The io_uring of each gateway core.
    struct Ring = "ring" {
        /// Connections per core, router links included. 0: as many as RLIMIT_NOFILE allows.
        connections: u32 = 0, limit "Upgrades are answered with 503.";
        /// Longest batching window: under load a turn waits up to this long, so that several messages share a wake-up. A
        /// busy core waits less, an idle one not at all; where cores outnumber CPUs it is up to three times as long. 0s
        /// switches it off.
        min_wait: Span = Span(std::time::Duration::from_micros(150)), limit "";
        /// Receive buffers per core, a power of two up to 32,768.
        receive_buffers: u16 = 256, limit "Input waits in the sockets until buffers are free; counted.";
        /// Size of one receive buffer.
        receive_buffer: Size = Size::kib(2), limit "Larger messages take several.";
        /// `SO_SNDBUF` of client sockets. 0B: the kernel's own tuning.
        send_buffer: Size = Size(0), limit "";
        /// Length of the accept queue of each listener. The kernel caps it at net.core.somaxconn.
        backlog: u32 = 4_096, limit "Clients beyond it wait for a SYN retry.";
        /// Messages that may wait in each direction between two cores, at least 64.
        mailbox: u32 = 1_024, limit "The sender keeps them and tries in its next turn; counted.";
    }
}

impl Settings {
    /// What `standalone` starts from before file, environment and flags: everybody may do everything, and there is a page to
    /// try it on.
    pub(crate) fn standalone() -> Self {
        let all = || vec!["*".to_owned()];
        let mut settings = Self::default();
        settings.admin.demo = true;
        settings.auth.anonymous = true;
        settings.auth.ignore_tokens_without_keys = true;
        settings.auth.allowed_origins = all();
        let users = &mut settings.users;
        let anonymous = &mut settings.anonymous_users;
        for lists in [&mut users.subscribe, &mut users.publish, &mut users.history, &mut users.presence] {
            *lists = all();
        }
        for lists in [&mut anonymous.subscribe, &mut anonymous.publish, &mut anonymous.history, &mut anonymous.presence]
        {
            *lists = all();
        }
        settings
    }

    /// What a role starts from before file, environment and flags.
    pub(crate) fn of_role(role: Option<Role>) -> Self {
        if role == Some(Role::Standalone) { Self::standalone() } else { Self::default() }
    }
}

/// A default of the libraries' as a size.
fn bytes(constant: usize) -> Size {
    Size(u64::try_from(constant).unwrap_or(u64::MAX))
}

/// A default of the libraries' as a count; all of them are small.
fn count(constant: usize) -> u32 {
    u32::try_from(constant).unwrap_or(u32::MAX)
}
