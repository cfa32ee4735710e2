//! The server API over one keep-alive HTTP connection, as little of HTTP as that takes.

use std::io;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A connection to an admin port.
pub struct Api {
    stream: BufReader<TcpStream>,
    key: String,
}

impl Api {
    /// Connects.
    ///
    /// # Errors
    /// Of the socket.
    pub async fn connect(address: SocketAddr, key: &str) -> io::Result<Self> {
        Ok(Self { stream: BufReader::new(TcpStream::connect(address).await?), key: key.to_owned() })
    }

    /// `POST /api/{method}`; the status and the parsed body.
    ///
    /// # Errors
    /// Of the socket, or `InvalidData` if the answer is not JSON.
    pub async fn call(&mut self, method: &str, params: &Value) -> io::Result<(u16, Value)> {
        let body = params.to_string();
        let key = &self.key;
        let request = format!(
            "POST /api/{method} HTTP/1.1\r\nHost: test\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).await?;
        let (status, body) = self.response().await?;
        Ok((status, serde_json::from_slice(&body)?))
    }

    /// `GET {path}`; the status and the body.
    ///
    /// # Errors
    /// Of the socket.
    pub async fn get(&mut self, path: &str) -> io::Result<(u16, String)> {
        self.stream.get_mut().write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).await?;
        let (status, body) = self.response().await?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    async fn response(&mut self) -> io::Result<(u16, Vec<u8>)> {
        let mut status = 0;
        let mut length = 0;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            if line.starts_with("HTTP/1.1 ") {
                status = line.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
            } else if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok((status, body))
    }
}
