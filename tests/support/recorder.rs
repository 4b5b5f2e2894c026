//! An HTTP/1.1 upstream that records every byte and behaves as the test sets it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::client::{find, header};

/// Capture's answer to an accepted batch.
pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
Content-Length: 15\r\nSet-Cookie: capture=1\r\n\r\n{\"status\":\"Ok\"}";

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The number of its connection and its number on that connection, both from 0.
    pub connection: usize,
    pub nth: usize,
    pub head: String,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// The body as on the wire.
    pub wire: Vec<u8>,
    /// Whether the body was complete.
    pub complete: bool,
}

impl Recorded {
    pub fn header(&self, name: &str) -> Option<String> {
        header(&self.head, name)
    }

    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&self.body)),
        }
    }

    /// The distinct ids of its events, in order.
    pub fn ids(&self) -> Vec<String> {
        let json = self.json();
        let events = json["batch"].as_array().expect("a batch");
        events.iter().map(distinct_id).collect()
    }
}

/// Wherever the event has it.
pub fn distinct_id(event: &serde_json::Value) -> String {
    let id = event["distinct_id"].as_str();
    let id = id.or(event["properties"]["distinct_id"].as_str());
    id.expect("a distinct_id").to_owned()
}

/// What the upstream does with a request.
#[derive(Debug, Clone)]
pub enum Act {
    Answer(Vec<u8>),
    AnswerAndClose(Vec<u8>),
    /// Sends these pieces with pauses, so that they probably arrive one by one, and closes.
    Pieces(Vec<Vec<u8>>),
    Close,
    /// Keeps the connection open and sends nothing.
    Silence,
}

/// When the upstream decides: at the head of a request if that gives `Some`, else at the end of its
/// body.
type AtHead = Arc<dyn Fn(&Recorded) -> Option<Act> + Send + Sync>;
type AtEnd = Arc<dyn Fn(&Recorded) -> Act + Send + Sync>;

pub struct Recorder {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Recorded>>>,
    pub connections: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Recorder {
    /// An upstream that accepts everything.
    pub async fn start() -> Self {
        Self::that(|_| Act::Answer(OK.to_vec())).await
    }

    /// An upstream that decides at the end of a request.
    pub async fn that(at_end: impl Fn(&Recorded) -> Act + Send + Sync + 'static) -> Self {
        Self::with(Arc::new(|_| None), Arc::new(at_end)).await
    }

    /// An upstream that decides at the head of a request.
    pub async fn early(at_head: impl Fn(&Recorded) -> Option<Act> + Send + Sync + 'static) -> Self {
        let at_end: AtEnd = Arc::new(|_| Act::Answer(OK.to_vec()));
        Self::with(Arc::new(at_head), at_end).await
    }

    async fn with(at_head: AtHead, at_end: AtEnd) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (record, count) = (Arc::clone(&seen), Arc::clone(&connections));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let connection = Connection {
                    stream,
                    buffer: Vec::new(),
                    number,
                };
                let record = Arc::clone(&record);
                let (at_head, at_end) = (Arc::clone(&at_head), Arc::clone(&at_end));
                tokio::spawn(connection.run(record, at_head, at_end));
            }
        });
        Self {
            address,
            seen,
            connections,
            accepting,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Recorded> {
        self.seen.lock().expect("no test has failed").clone()
    }

    /// All requests, as soon as there are so many.
    pub async fn requests(&self, count: usize) -> Vec<Recorded> {
        super::eventually(&format!("{count} requests"), || {
            let seen = self.seen();
            (seen.len() >= count).then_some(seen)
        })
        .await
    }
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    number: usize,
}

impl Connection {
    async fn run(mut self, record: Arc<Mutex<Vec<Recorded>>>, at_head: AtHead, at_end: AtEnd) {
        for nth in 0.. {
            let Some(mut request) = self.head(nth).await else {
                return;
            };
            let act = match at_head(&request) {
                Some(act) => act,
                None => {
                    self.body(&mut request).await;
                    if request.complete {
                        at_end(&request)
                    } else {
                        Act::Close
                    }
                }
            };
            record.lock().expect("no test has failed").push(request);
            match act {
                Act::Answer(bytes) => {
                    let _ = self.stream.write_all(&bytes).await;
                }
                Act::AnswerAndClose(bytes) => {
                    let _ = self.stream.write_all(&bytes).await;
                    // Unread bytes would turn the close into a reset, which discards the answer.
                    let _ = self.stream.shutdown().await;
                    while self.fill().await {}
                    return;
                }
                Act::Pieces(pieces) => {
                    for piece in pieces {
                        if self.stream.write_all(&piece).await.is_err() {
                            return;
                        }
                        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                    }
                    let _ = self.stream.shutdown().await;
                    while self.fill().await {}
                    return;
                }
                Act::Close => return,
                Act::Silence => {
                    while self.fill().await {}
                    return;
                }
            }
        }
    }

    async fn fill(&mut self) -> bool {
        let mut piece = [0; 64 * 1024];
        match self.stream.read(&mut piece).await {
            Ok(0) | Err(_) => false,
            Ok(read) => {
                self.buffer.extend_from_slice(&piece[..read]);
                true
            }
        }
    }

    async fn head(&mut self, nth: usize) -> Option<Recorded> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            if !self.fill().await {
                return None;
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        Some(Recorded {
            connection: self.number,
            nth,
            head: String::from_utf8(head).expect("ASCII"),
            body: Vec::new(),
            wire: Vec::new(),
            complete: false,
        })
    }

    /// Reads the body as the head announces it, and records an early end.
    async fn body(&mut self, request: &mut Recorded) {
        if request.header("transfer-encoding").is_none() {
            let length = request.header("content-length").unwrap_or_default();
            let length: usize = length.parse().unwrap_or(0);
            request.complete = self.take(length, request).await;
            request.body = request.wire.clone();
            return;
        }
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                if self.buffer.is_empty() && !self.fill().await {
                    return;
                }
                line.push(self.buffer.remove(0));
            }
            request.wire.extend_from_slice(&line);
            let text = String::from_utf8_lossy(&line);
            let size = usize::from_str_radix(text.trim(), 16).expect("a chunk size");
            if !self.take(size + 2, request).await {
                return;
            }
            let end = request.wire.len() - 2;
            let data = request.wire[end - size..end].to_vec();
            request.body.extend_from_slice(&data);
            if size == 0 {
                request.complete = true;
                return;
            }
        }
    }

    async fn take(&mut self, count: usize, request: &mut Recorded) -> bool {
        while self.buffer.len() < count {
            if !self.fill().await {
                request.wire.append(&mut self.buffer);
                return false;
            }
        }
        request.wire.extend(self.buffer.drain(..count));
        true
    }
}

/// A response with this status and JSON body.
pub fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
    .into_bytes()
}
