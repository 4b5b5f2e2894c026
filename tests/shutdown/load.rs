//! Clients that never stop: half of them reuse their connection, half open a new one each time.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::support::client::post;

pub const CLIENTS: usize = 24;

/// The outcomes of all requests.
#[derive(Default)]
pub struct Tally {
    pub requests: AtomicUsize,
    /// A complete 200.
    pub answered: AtomicUsize,
    /// Sent again, because a reused connection ended without a byte of an answer.
    pub resent: AtomicUsize,
    /// Begun after the stop and before the restart, and not answered.
    pub in_the_gap: AtomicUsize,
    pub failures: Mutex<Vec<String>>,
    over: AtomicBool,
    gaps: Mutex<Vec<DownTime>>,
}

/// The time when the process is stopped and no other has started.
struct DownTime {
    began: Instant,
    ended: Option<Instant>,
}

pub struct Load {
    pub tally: Arc<Tally>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

enum Outcome {
    Answered,
    /// The client could not connect, so it sent nothing.
    NotConnected(String),
    /// A reused connection ended without a byte.
    Unanswered,
    Failed(String),
}

impl Load {
    pub fn start(address: SocketAddr) -> Self {
        let tally = Arc::new(Tally::default());
        let clients = (0..CLIENTS)
            .map(|number| tokio::spawn(client(number, address, Arc::clone(&tally))))
            .collect();
        Self { tally, clients }
    }

    /// Waits until so many requests have ended.
    pub async fn reaches(&self, requests: usize) {
        let mut before = (0, Instant::now());
        loop {
            let now = self.tally.answered.load(Ordering::SeqCst);
            if now >= requests {
                return;
            }
            if now > before.0 {
                before = (now, Instant::now());
            }
            let failures = self.tally.failures();
            assert!(failures.is_empty(), "{failures:#?}");
            assert!(before.1.elapsed() < Duration::from_secs(60), "nothing goes");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops the clients; returns the acknowledged ids by client, in order.
    pub async fn end(self) -> Vec<Vec<String>> {
        self.tally.over.store(true, Ordering::SeqCst);
        let mut all = Vec::new();
        for client in self.clients {
            all.push(client.await.expect("no client panics"));
        }
        all
    }
}

impl Tally {
    pub fn failures(&self) -> Vec<String> {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn add(counter: &AtomicUsize) {
        counter.fetch_add(1, Ordering::SeqCst);
    }

    /// The process is about to be stopped.
    pub fn stops(&self) {
        self.gaps().push(DownTime {
            began: Instant::now(),
            ended: None,
        });
    }

    /// Another process has started.
    pub fn runs_again(&self) {
        if let Some(gap) = self.gaps().last_mut() {
            gap.ended = Some(Instant::now());
        }
    }

    fn gaps(&self) -> std::sync::MutexGuard<'_, Vec<DownTime>> {
        self.gaps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request that began at this time was too late for the stopped process. A request
    /// without a connection was too late as well if the process stopped between the reading of the
    /// clock and the connection.
    fn too_late(&self, began: Instant, outcome: &Outcome) -> bool {
        let now = Instant::now();
        let not_connected = matches!(outcome, Outcome::NotConnected(_));
        self.gaps().iter().any(|gap| {
            let before_its_end = gap.ended.is_none_or(|ended| began <= ended);
            before_its_end && (began >= gap.began || (not_connected && now >= gap.began))
        })
    }
}

/// The ids of the acknowledged events.
pub fn ids(acknowledged: &[Vec<String>]) -> BTreeSet<&str> {
    acknowledged.iter().flatten().map(String::as_str).collect()
}

fn message(client: usize, id: &str) -> String {
    format!(
        "{{\"type\":\"track\",\"event\":\"Seen\",\"userId\":\"c-{client}\",\"messageId\":\"{id}\",\
         \"timestamp\":\"2026-11-23T10:00:00.000Z\",\"properties\":{{\"id\":\"{id}\"}}}}"
    )
}

async fn client(number: usize, address: SocketAddr, tally: Arc<Tally>) -> Vec<String> {
    let keeps = number.is_multiple_of(2);
    let mut acknowledged = Vec::new();
    let mut connection: Option<TcpStream> = None;
    for count in 0.. {
        if tally.over.load(Ordering::SeqCst) {
            break;
        }
        let id = format!("{number}-{count}");
        let headers = if keeps { "" } else { "Connection: close\r\n" };
        let request = post("/hr/v1/t", headers, message(number, &id).as_bytes());
        Tally::add(&tally.requests);
        loop {
            let began = Instant::now();
            let outcome = exchange(&mut connection, address, &request).await;
            match outcome {
                Outcome::Answered => {
                    Tally::add(&tally.answered);
                    acknowledged.push(id);
                    break;
                }
                Outcome::Unanswered => Tally::add(&tally.resent),
                Outcome::Failed(_) | Outcome::NotConnected(_)
                    if tally.too_late(began, &outcome) =>
                {
                    Tally::add(&tally.in_the_gap);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Outcome::Failed(why) | Outcome::NotConnected(why) => {
                    let mut failures = tally
                        .failures
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner);
                    failures.push(format!("{id}: {why}"));
                    break;
                }
            }
        }
        if !keeps {
            connection = None;
        }
    }
    acknowledged
}

/// One request. The connection stays open for the next one unless the answer closes it.
async fn exchange(
    connection: &mut Option<TcpStream>,
    address: SocketAddr,
    request: &[u8],
) -> Outcome {
    let used = connection.is_some();
    let mut stream = match connection.take() {
        Some(stream) => stream,
        None => match TcpStream::connect(address).await {
            Ok(stream) => stream,
            Err(error) => return Outcome::NotConnected(format!("no connection: {error}")),
        },
    };
    let wrote = stream.write_all(request).await;
    let mut answer = Vec::new();
    let end = loop {
        if let Some(complete) = complete(&answer) {
            break complete;
        }
        let mut bytes = [0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut bytes)).await;
        match read {
            Ok(Ok(read)) if read > 0 => answer.extend_from_slice(&bytes[..read]),
            // RFC 9112 9.3.1: a reused connection may have ended before the request came.
            Ok(_) if used && answer.is_empty() => return Outcome::Unanswered,
            ended => {
                let answer = String::from_utf8_lossy(&answer).into_owned();
                return Outcome::Failed(format!("{ended:?} (write: {wrote:?}) after {answer:?}"));
            }
        }
    };
    let head = String::from_utf8_lossy(&answer).to_lowercase();
    if !head.starts_with("http/1.1 200") || answer.len() != end {
        return Outcome::Failed(head);
    }
    if !head.contains("connection: close") {
        *connection = Some(stream);
    }
    Outcome::Answered
}

/// The length of the answer at the start of these bytes, if it is complete.
fn complete(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
    let length = text.split("content-length: ").nth(1)?;
    let length: usize = length.split("\r\n").next()?.parse().ok()?;
    (bytes.len() >= head + length).then_some(head + length)
}
