//! Serves the internal port: HTTP/1.1 with bounds on connections, on the time for a request's head and on the time for which a
//! client may take nothing of an answer. An idle connection counts as one that begins a head.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::write_deadline::WriteDeadline;

/// Largest request head: line and headers.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long to wait after accepting failed for lack of descriptors or memory: trying at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What bounds the connections of the internal port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    /// Connections that are served at a time; further ones wait in the accept queue.
    pub(crate) connections: usize,
    /// From the connect, or the end of an answer, to the end of the next request's head.
    pub(crate) head_timeout: Duration,
    /// For which a client may take nothing of an answer.
    pub(crate) write_timeout: Duration,
}

/// Accepts and serves for ever.
pub(crate) async fn serve(listener: TcpListener, routes: Router, limits: ConnectionLimits) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head_timeout).max_buf_size(HEAD_BYTES_MAX);
    loop {
        // The semaphore is never closed.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin port cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Answers are small and complete: waiting to fill a segment would only delay them.
        let _ = stream.set_nodelay(true);
        let stream = TokioIo::new(WriteDeadline::new(stream, limits.write_timeout));
        let connection = http.serve_connection(stream, TowerToHyperService::new(routes.clone()));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an admin connection ended early");
            }
            drop(slot);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpStream};
    use std::time::Instant;

    use axum::routing::get;

    use super::*;

    const HEAD_TIMEOUT: Duration = Duration::from_millis(300);
    const WRITE_TIMEOUT: Duration = Duration::from_secs(1);
    const PATIENCE: Duration = Duration::from_secs(20);
    const WHOLE: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    /// A multiple of what the kernel buffers for a connection.
    const LARGE: usize = 64 << 20;

    /// Serves `hello` and something large on a thread of its own for the rest of the test process.
    fn start(connections: usize) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let routes = Router::new().route("/", get(async || "hello"));
                let routes = routes.route("/large", get(async || vec![b'x'; LARGE]));
                let limits = ConnectionLimits { connections, head_timeout: HEAD_TIMEOUT, write_timeout: WRITE_TIMEOUT };
                serve(TcpListener::from_std(listener).unwrap(), routes, limits).await;
            });
        });
        address
    }

    fn open(address: SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    }

    /// Everything until the server closes.
    fn rest(mut stream: TcpStream) -> String {
        let mut text = String::new();
        // A reset instead of an orderly end is an end, too.
        let _ = stream.read_to_string(&mut text);
        text
    }

    #[test]
    fn who_does_not_finish_the_head_is_closed() {
        let address = start(10);
        for begin in ["", "G", "GET / HTTP/1.1\r\nHost: x\r\n"] {
            let answer = rest(open(address, begin));
            assert!(!answer.contains("hello"), "{begin}: {answer}");
        }
        assert!(rest(open(address, WHOLE)).ends_with("hello"));
    }

    #[test]
    fn connections_beyond_the_bound_wait_for_their_turn() {
        let address = start(1);
        let idle = open(address, "");
        let waiting = open(address, WHOLE);
        // The idle one holds the only place until its time is over; then the other is answered.
        assert!(rest(waiting).ends_with("hello"));
        assert_eq!(rest(idle), "");
    }

    #[test]
    fn idle_connections_make_room() {
        let address = start(1);
        let idle = open(address, &WHOLE.replace("close", "keep-alive"));
        let waiting = open(address, WHOLE);
        assert!(rest(waiting).ends_with("hello"));
        assert!(rest(idle).ends_with("hello"), "answered before, and then closed");
    }

    #[test]
    fn who_takes_nothing_of_an_answer_is_reset_and_makes_room() {
        let address = start(1);
        for ask in [WHOLE.replace("/ ", "/large "), "GET /large HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100)] {
            let stuck = open(address, &ask);
            let waiting = open(address, WHOLE);
            assert!(rest(waiting).ends_with("hello"));
            assert!(rest(stuck).len() < LARGE, "no whole answer");
        }
    }

    #[test]
    fn who_reads_slowly_gets_everything() {
        let mut stream = open(start(1), &WHOLE.replace("/ ", "/large "));
        let (begin, mut read, mut part) = (Instant::now(), 0, vec![0; 1 << 20]);
        loop {
            match stream.read(&mut part).unwrap() {
                0 => break,
                bytes => read += bytes,
            }
            // A pause that is well within the time, but all of them together are well beyond it.
            std::thread::sleep(WRITE_TIMEOUT / 20);
        }
        assert!(read > LARGE, "{read} bytes");
        assert!(begin.elapsed() > 2 * WRITE_TIMEOUT, "not slow: {:?}", begin.elapsed());
    }

    #[test]
    fn a_head_that_is_too_large_is_refused() {
        let address = start(10);
        let large = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Large: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
        assert!(rest(open(address, &large)).starts_with("HTTP/1.1 431"));
    }
}
