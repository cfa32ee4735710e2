//! Serves the internal port: HTTP/1.1 with a bound on connections and on the time for a request's head.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Largest request head: line and headers.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long to wait after accepting failed for lack of descriptors or memory: trying at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts and serves for ever.
pub(crate) async fn serve(listener: TcpListener, routes: Router, connections_max: usize, head_timeout: Duration) {
    let slots = Arc::new(Semaphore::new(connections_max));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_timeout).max_buf_size(HEAD_BYTES_MAX);
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
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes.clone()));
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

    use axum::routing::get;

    use super::*;

    const HEAD_TIMEOUT: Duration = Duration::from_millis(300);
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Serves `hello` on a thread of its own for the rest of the test process.
    fn start(connections_max: usize) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let routes = Router::new().route("/", get(async || "hello"));
                serve(TcpListener::from_std(listener).unwrap(), routes, connections_max, HEAD_TIMEOUT).await;
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
        let whole = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        assert!(rest(open(address, whole)).ends_with("hello"));
    }

    #[test]
    fn connections_beyond_the_bound_wait_for_their_turn() {
        let address = start(1);
        let whole = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let idle = open(address, "");
        let waiting = open(address, whole);
        // The idle one holds the only place until its time is over; then the other is answered.
        assert!(rest(waiting).ends_with("hello"));
        assert_eq!(rest(idle), "");
    }

    #[test]
    fn a_head_that_is_too_large_is_refused() {
        let address = start(10);
        let large = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Large: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
        assert!(rest(open(address, &large)).starts_with("HTTP/1.1 431"));
    }
}
