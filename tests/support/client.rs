//! A client that sends exactly the given bytes.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

/// One connection.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// One response.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The values of a header, joined; empty if it is missing.
    pub fn header(&self, name: &str) -> String {
        header(&self.head, name).unwrap_or_default()
    }

    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{error}: {self:?}"),
        }
    }
}

/// The values of a header in a raw head, joined by commas.
pub fn header(head: &str, name: &str) -> Option<String> {
    let values: Vec<&str> = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// A POST of this body to a path, with these further header lines.
pub fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// The body as one HTTP chunk.
pub fn chunk(body: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", body.len()).into_bytes();
    chunk.extend_from_slice(body);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("it listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Writes. A peer that has hung up is no failure here; the answer shows it.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = within("a write", self.stream.write_all(bytes)).await;
    }

    /// Closes the sending half.
    pub async fn half_close(&mut self) {
        self.stream.shutdown().await.expect("it is open");
    }

    /// The next response, without interim ones.
    pub async fn answer(&mut self) -> Answer {
        loop {
            let answer = within("an answer", self.read_answer(true)).await;
            match answer {
                Some(answer) if answer.status < 200 => continue,
                Some(answer) => return answer,
                None => panic!("closed without an answer"),
            }
        }
    }

    /// The next response to a HEAD request.
    pub async fn answer_to_head(&mut self) -> Answer {
        within("an answer", self.read_answer(false))
            .await
            .expect("an answer")
    }

    /// The next response, interim or not; `None` if the connection ends first.
    pub async fn next(&mut self) -> Option<Answer> {
        within("an answer or the end", self.read_answer(true)).await
    }

    /// The next bytes.
    pub async fn raw(&mut self, count: usize) -> Vec<u8> {
        within("bytes", self.take(count)).await
    }

    /// Whether the connection ends without another byte.
    pub async fn ends(&mut self) -> bool {
        let mut byte = [0];
        self.buffer.is_empty()
            && matches!(
                within("the end", self.stream.read(&mut byte)).await,
                Ok(0) | Err(_)
            )
    }

    /// Everything until the connection ends.
    pub async fn rest(&mut self) -> Vec<u8> {
        within("the end", async { while self.fill().await {} }).await;
        std::mem::take(&mut self.buffer)
    }

    /// One request and its answer.
    pub async fn exchange(&mut self, request: &[u8]) -> Answer {
        self.send(request).await;
        self.answer().await
    }

    async fn fill(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece).await {
            Ok(0) | Err(_) => false,
            Ok(read) => {
                self.buffer.extend_from_slice(&piece[..read]);
                true
            }
        }
    }

    async fn read_answer(&mut self, with_body: bool) -> Option<Answer> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            if !self.fill().await {
                return None;
            }
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).expect("ASCII");
        let status: u16 = head[9..12].parse().expect("a status");
        let mut answer = Answer {
            status,
            body: Vec::new(),
            head,
        };
        if !with_body || status < 200 || status == 204 || status == 304 {
            return Some(answer);
        }
        if answer.header("transfer-encoding").contains("chunked") {
            loop {
                let line = self.line().await;
                let size = usize::from_str_radix(line.trim(), 16).expect("a chunk size");
                let data = self.take(size + 2).await;
                answer.body.extend_from_slice(&data[..size]);
                if size == 0 {
                    return Some(answer);
                }
            }
        }
        let length = answer.header("content-length");
        if let Ok(length) = length.parse() {
            answer.body = self.take(length).await;
        } else {
            while self.fill().await {}
            answer.body = std::mem::take(&mut self.buffer);
        }
        Some(answer)
    }

    async fn line(&mut self) -> String {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                return String::from_utf8(line).expect("ASCII");
            }
            assert!(self.fill().await, "closed in a chunk");
        }
    }

    async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.fill().await, "closed in a body");
        }
        self.buffer.drain(..count).collect()
    }
}

pub fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
