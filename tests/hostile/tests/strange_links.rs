//! Claim: who does not know the link's secret gets nowhere: garbage, half frames, replayed handshakes and impostors are cut off, hold
//! little, and the links of real gateways do not notice; nor can a router that is none harm a gateway.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use corecast_faults::block_on;
use corecast_faults::cluster::Cluster;
use corecast_faults::proxy::{Mode, Proxy};
use corecast_hostile::client::Client;
use corecast_hostile::control::Control;
use corecast_hostile::process::Process;
use corecast_hostile::socket::Socket;
use corecast_hostile::{PATIENCE, eventually, http, stage};

const SECRET: &str = "a secret of the system tests";
/// Of the handshake of a link, and what a busy machine may add.
const HANDSHAKE_MAX: Duration = Duration::from_secs(7);
/// What is cut off later than that was waited for.
const AT_ONCE: Duration = Duration::from_secs(2);
/// Memory that all strangers together may leave behind.
const NOISE: i64 = 512 << 10;

fn config(secret: &str) -> String {
    format!(
        "[node]\nname = \"twin\"\n[router]\nkept_messages = 10\n[link]\nsecret = \"{secret}\"\n[auth]\nanonymous = true\n\
         [anonymous_users]\nsubscribe = [\"*\"]\npublish = [\"*\"]\nhistory = [\"*\"]\n"
    )
}

/// One router and one gateway that serves the control client.
struct Pair {
    cluster: Cluster,
    control: Control,
}

impl Pair {
    fn start() -> Self {
        Self::start_via(|router| router)
    }

    /// The gateway reaches the router at another address.
    fn start_via(via: impl FnOnce(SocketAddr) -> SocketAddr) -> Self {
        let mut cluster = Cluster::with_config(&config(SECRET));
        block_on(async {
            cluster.add_router().await;
            let router = via(cluster.routers[0].listen);
            cluster.add_gateway(&[router]).start().await;
        });
        let control = Control::start(cluster.gateways[0].listen);
        Self { cluster, control }
    }

    fn router(&self) -> SocketAddr {
        self.cluster.routers[0].listen
    }

    fn process(&self) -> Process {
        Process::new(self.cluster.routers[0].pid())
    }

    /// Lets both take the memory that they take once and for all.
    fn warm_up(&self) {
        stage::warm_up(self.cluster.gateways[0].listen);
    }

    fn finish(mut self) {
        self.control.finish();
        for node in self.cluster.routers.iter_mut().chain(&mut self.cluster.gateways) {
            assert!(node.is_running() && !node.log_text().contains("panicked"), "{}", node.log_end());
        }
    }
}

#[test]
fn garbage_is_cut_off_at_once() {
    const AT_A_TIME: usize = 160;
    let pair = Pair::start();
    let openings: Vec<(&str, Vec<u8>)> = vec![
        ("HTTP", b"GET / HTTP/1.1\r\nHost: router\r\n\r\n".to_vec()),
        ("TLS", vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0, 0, 0]),
        ("zeros", vec![0; 4096]),
        ("ones", vec![0xff; 4096]),
        ("an empty body", framed(b"")),
        ("the longest length", [&u32::MAX.to_le_bytes()[..], &[0; 4]].concat()),
        ("a length over the limit of a handshake", [&4097_u32.to_le_bytes()[..], &[0; 4]].concat()),
        ("a wrong checksum", [&5_u32.to_le_bytes()[..], &[0; 4], b"hello"].concat()),
        ("an unknown message", framed(&[0x7f; 20])),
        ("a message of the other direction", framed(&[0x40; 64])),
        ("a message before its time", framed(&[0x13, 1])),
        ("a proof without a hello", framed(&[&[0x11][..], &[7; 32], &[0]].concat())),
        ("a hello that ends early", framed(&[0x10, 1])),
        ("a hello with a name that is too long", framed(&hello(&[b'n'; 256]))),
        ("a hello with a name that is not UTF-8", framed(&hello(&[0xff; 8]))),
        ("a hello with something behind it", framed(&[hello(b"stranger"), vec![0x7f]].concat())),
    ];
    let play = || {
        let begin = Instant::now();
        let strangers = openings.iter().cycle().take(AT_A_TIME).map(|(name, opening)| {
            let mut socket = Socket::connect(pair.router()).expect("connect");
            // The router may have closed before all is sent.
            let _ = socket.send(opening);
            (name, socket)
        });
        for (name, mut socket) in strangers.collect::<Vec<_>>() {
            socket.wait_for_end(&format!("{name}: the router closes"), PATIENCE);
        }
        assert!(begin.elapsed() < AT_ONCE, "cut off after {:?}", begin.elapsed());
    };
    pair.warm_up();
    play();
    let before = pair.process().resident();
    play();
    play();
    let grown = pair.process().resident() - before;
    assert!(grown < NOISE, "{grown} bytes more after {} strangers", 2 * AT_A_TIME);
    pair.finish();
}

#[test]
fn half_a_handshake_ends_at_its_deadline_and_takes_nobodys_place() {
    const STRANGERS: usize = 400;
    let pair = Pair::start();
    let start = framed(&hello(b"stranger"));
    let begin = Instant::now();
    let mut strangers: Vec<Socket> = (0..STRANGERS)
        .map(|number| {
            let mut socket = Socket::connect(pair.router()).expect("connect");
            // Nothing; half a header; half a hello; a hello without a proof to follow.
            let part = [0, 6, start.len() / 2, start.len()][number % 4];
            let _ = socket.send(&start[..part]);
            socket
        })
        .collect();
    // A real gateway gets its link while they are there.
    let router = pair.router();
    let mut late = Cluster::with_config(&config(SECRET).replace("twin", "late"));
    late.add_gateway(&[router]).spawn();
    let admin = late.gateways[0].admin;
    eventually("a gateway is linked beside the strangers", HANDSHAKE_MAX + PATIENCE, || {
        TcpStream::connect(admin).is_ok() && http::get(admin, "/readyz").status == 200
    });
    for socket in &mut strangers {
        socket.wait_for_end("half a handshake ends", HANDSHAKE_MAX);
    }
    println!("{STRANGERS} strangers were gone after {:?}", begin.elapsed());
    let process = pair.process();
    eventually("two links are left", PATIENCE, || process.connections(router) == 2);
    pair.finish();
}

#[test]
fn another_secret_opens_nothing_and_ousts_nobody() {
    let pair = Pair::start();
    // The same name as the real gateway: a second link of a name replaces the first, but only with the secret.
    let mut stranger = Cluster::with_config(&config("another secret of the tests"));
    stranger.add_gateway(&[pair.router()]).spawn();
    let admin = stranger.gateways[0].admin;
    eventually("the impostor runs", PATIENCE, || TcpStream::connect(admin).is_ok());
    let deadline = Instant::now() + Duration::from_secs(1);
    while Instant::now() < deadline {
        assert_eq!(http::get(admin, "/readyz").status, 503, "an impostor is linked");
        thread::sleep(Duration::from_millis(50));
    }
    assert!(stranger.gateways[0].is_running());
    let share = Process::new(stranger.gateways[0].pid()).cpu_share(Duration::from_secs(1));
    assert!(share < 0.2, "{share} of a CPU for a gateway that is refused");
    pair.finish();
}

#[test]
fn a_recorded_handshake_cannot_be_played_again() {
    let mut recorder = None;
    let pair = Pair::start_via(|router| recorder.insert(Recorder::start(router)).address);
    let recorder = recorder.expect("started with the pair");
    let recording = recorder.sent();
    assert!(recording.len() > 100, "a hello, a proof and what follows: {} bytes", recording.len());
    for _ in 0..20 {
        let mut socket = Socket::connect(pair.router()).expect("connect");
        let _ = socket.send(&recording);
        socket.wait_for_end("the router refuses a replay", PATIENCE);
        // Refused, and never welcomed: no message of type 0x41 as the first of a frame.
        let mut answers = socket.input.as_slice();
        while let [a, b, c, d, _, _, _, _, kind, ..] = answers {
            assert_ne!(*kind, 0x41, "a replay is welcomed");
            let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
            answers = answers.get(8 + length..).unwrap_or_default();
        }
    }
    pair.finish();
}

#[test]
fn a_router_that_talks_garbage_harms_no_gateway() {
    let mut cluster = Cluster::with_config(&config(SECRET));
    block_on(async {
        cluster.add_router().await;
        let proxy = Proxy::start(cluster.routers[0].listen).await.expect("proxy");
        // Every byte is damaged, in both directions.
        proxy.set(Mode::Flip(1));
        let gateway = cluster.add_gateway(&[proxy.address]);
        gateway.spawn();
        let (admin, listen) = (gateway.admin, gateway.listen);
        let process = Process::new(gateway.pid());
        let running = || TcpStream::connect(admin).is_ok();
        corecast_faults::eventually("the gateway runs", PATIENCE, running).await;
        corecast_faults::eventually("it tries again and again", PATIENCE, || proxy.connections() > 3).await;
        let (resident, cpu, tries, begin) = (process.resident(), process.cpu(), proxy.connections(), Instant::now());
        tokio::time::sleep(Duration::from_secs(2)).await;
        let share = (process.cpu() - cpu).as_secs_f64() / begin.elapsed().as_secs_f64();
        println!("{} links tried in {:?} with {share:.3} of a CPU", proxy.connections() - tries, begin.elapsed());
        assert!(share < 0.2, "{share} of a CPU for a link that fails");
        assert!(process.resident() - resident < NOISE, "{} bytes more", process.resident() - resident);
        // Clients are answered, not hung.
        let replies = tokio::task::spawn_blocking(move || {
            assert_eq!(http::get(admin, "/readyz").status, 503);
            let mut client = Client::live(listen);
            [r#"{"id":2,"publish":{"channel":"a","data":1}}"#, r#"{"id":3,"subscribe":{"channel":"a"}}"#]
                .map(|command| client.ask(command))
        });
        for reply in replies.await.expect("replies") {
            assert_eq!(reply["error"]["temporary"], true, "{reply}");
        }
        proxy.set(Mode::Pass);
        cluster.gateways[0].ready().await;
        let healed = tokio::task::spawn_blocking(move || {
            let control = Control::start(listen);
            thread::sleep(Duration::from_millis(300));
            control.finish();
        });
        healed.await.expect("the gateway works once the router does");
    });
}

/// A frame of the link: length, checksum, body.
fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a short body");
    [&length.to_le_bytes()[..], &crc32c(body).to_le_bytes(), body].concat()
}

/// The body of a hello as in section 5 of docs/PROTOCOL.md, with this name of a node.
fn hello(node: &[u8]) -> Vec<u8> {
    let mut body = vec![0x10, 1, 1];
    body.extend([0; 8]);
    if node.len() > 127 {
        body.extend([0x80 | (node.len() & 0x7f) as u8, (node.len() >> 7) as u8]);
    } else {
        body.push(node.len() as u8);
    }
    body.extend(node);
    body.extend([9; 8]); // incarnation
    body.extend([0x80, 0x08]); // 1,024 slots
    body.extend([5; 8]); // topology
    body.push(0); // rank
    body.extend([3; 16]); // nonce
    body.push(0); // no extensions
    body
}

/// CRC-32C (Castagnoli), a bit at a time.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

/// Passes one connection on to a router and keeps what the gateway sends.
struct Recorder {
    address: SocketAddr,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    fn start(router: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (address, sent) = (listener.local_addr().expect("an address"), Arc::new(Mutex::new(Vec::new())));
        let keep = Arc::clone(&sent);
        thread::spawn(move || {
            while let Ok((gateway, _)) = listener.accept() {
                let router = TcpStream::connect(router).expect("the router");
                let (mut back, mut to) =
                    ((router.try_clone().expect("clone"), gateway.try_clone().expect("clone")), (gateway, router));
                thread::spawn(move || std::io::copy(&mut back.0, &mut back.1));
                let keep = Arc::clone(&keep);
                thread::spawn(move || {
                    let mut chunk = [0; 4096];
                    while let Ok(count @ 1..) = to.0.read(&mut chunk) {
                        keep.lock().expect("no panic").extend_from_slice(&chunk[..count]);
                        if to.1.write_all(&chunk[..count]).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, sent }
    }

    fn sent(&self) -> Vec<u8> {
        self.sent.lock().expect("no panic").clone()
    }
}

#[test]
fn checksums_are_those_of_the_link() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}
