//! A process of the binary under test, an HTTP client of a few lines, and a WebSocket client that speaks the JSON protocol.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::Message;
use tungstenite::stream::MaybeTlsStream;

/// Generous: a loaded machine must not make a test fail.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running process; killed when dropped.
pub(crate) struct Process {
    child: Child,
    /// Everything that it printed so far, standard output and error.
    printed: Arc<Mutex<String>>,
}

impl Process {
    /// Starts the binary with nothing in its environment but `env`.
    pub(crate) fn start(arguments: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_corecast"));
        command.env_clear().args(arguments).envs(env.iter().copied());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let printed = Arc::new(Mutex::new(String::new()));
        let streams: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let printed = Arc::clone(&printed);
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    printed.lock().unwrap().push_str(&(line + "\n"));
                }
            });
        }
        Self { child, printed }
    }

    pub(crate) fn printed(&self) -> String {
        self.printed.lock().unwrap().clone()
    }

    /// Waits for a line that contains `mark` and gives the first word behind it.
    pub(crate) fn announced(&mut self, mark: &str) -> String {
        self.wait_for(mark, |this| {
            let printed = this.printed();
            let rest = printed.lines().find_map(|line| line.split_once(mark))?.1.trim_start();
            Some(rest.split_whitespace().next().unwrap_or_default().to_owned())
        })
    }

    /// The address of the admin port, once all is served.
    pub(crate) fn admin(&mut self) -> SocketAddr {
        let url = self.announced("Metrics ");
        url.trim_start_matches("http://").trim_end_matches("/metrics").parse().unwrap()
    }

    pub(crate) fn websocket(&mut self) -> String {
        self.announced("WebSocket ")
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the process to end by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        self.wait_for("the end", |this| this.child.try_wait().unwrap())
    }

    fn wait_for<T>(&mut self, what: &str, mut read: impl FnMut(&mut Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // In this order: what was printed before the end is read after it.
            let ended = self.child.try_wait().unwrap().is_some();
            if let Some(value) = read(self) {
                return value;
            }
            assert!(!ended, "ended before {what}:\n{}", self.printed());
            assert!(Instant::now() < deadline, "{what} did not come:\n{}", self.printed());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Status line and headers.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"))
}

pub(crate) fn post(address: SocketAddr, key: &str, method: &str, body: &Value) -> Answer {
    let body = body.to_string();
    let length = body.len();
    let head =
        format!("POST /api/{method} HTTP/1.1\r\nHost: {address}\r\nX-API-Key: {key}\r\nContent-Length: {length}");
    request(address, &format!("{head}\r\nConnection: close\r\n\r\n{body}"))
}

/// The result of a server API call that must succeed.
pub(crate) fn api(address: SocketAddr, key: &str, method: &str, body: &Value) -> Value {
    let answer = post(address, key, method, body).json();
    answer.get("result").unwrap_or_else(|| panic!("{method} {body}: {answer}")).clone()
}

fn request(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// Waits until a GET has the wanted status.
pub(crate) fn until_status(address: SocketAddr, path: &str, status: u16) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = get(address, path);
        if answer.status == status {
            return answer;
        }
        assert!(Instant::now() < deadline, "{path} stays at {answer:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A client of the JSON protocol.
pub(crate) struct Client {
    socket: tungstenite::WebSocket<MaybeTlsStream<TcpStream>>,
    next_id: u32,
    /// Pushes and replies in the order in which they came.
    pub(crate) seen: Vec<Value>,
}

impl Client {
    pub(crate) fn open(url: &str) -> Self {
        let (socket, _) = tungstenite::connect(url).unwrap();
        if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        Self { socket, next_id: 1, seen: Vec::new() }
    }

    /// Opens and connects with a token, or without one.
    pub(crate) fn connect(url: &str, token: Option<&str>) -> Self {
        let mut client = Self::open(url);
        let connect = token.map_or_else(|| json!({}), |token| json!({ "token": token }));
        let reply = client.command("connect", &connect);
        assert!(reply.get("connect").is_some(), "{reply}");
        client
    }

    /// Sends a command and waits for its reply, error or not.
    pub(crate) fn command(&mut self, name: &str, body: &Value) -> Value {
        let id = self.next_id;
        self.next_id += 1;
        let command = json!({ "id": id, name: body });
        self.socket.send(Message::text(command.to_string())).unwrap();
        self.until(|value| value["id"] == id)
    }

    /// The data of the next publication.
    pub(crate) fn publication(&mut self) -> Value {
        self.until(|value| value["push"].get("pub").is_some())["push"]["pub"]["data"].clone()
    }

    fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            if let Some(found) = self.seen.iter().position(&wanted) {
                return self.seen.remove(found);
            }
            let message = self.socket.read().unwrap();
            let text = message.into_text().unwrap();
            let lines = text.lines().filter(|line| *line != "{}").map(|line| serde_json::from_str(line).unwrap());
            self.seen.extend(lines);
        }
    }

    /// Waits for the close frame: its code and reason.
    pub(crate) fn closed(&mut self) -> (u16, String) {
        loop {
            match self.socket.read() {
                Ok(Message::Close(Some(frame))) => return (frame.code.into(), frame.reason.to_string()),
                Ok(_) => {}
                Err(error) => panic!("no close frame: {error}"),
            }
        }
    }
}
