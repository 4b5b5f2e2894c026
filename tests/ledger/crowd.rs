//! The clients: each has one person and sends that person's events request by request, each until
//! it is acknowledged.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::dice::Dice;
use super::support::client::{header, post};
use super::support::{gzip, DEADLINE};

/// How an event gets its time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum When {
    /// The event has a timestamp.
    Said(DateTime<Utc>),
    /// The event has none: its time is that of its first arrival, between the first attempt and the
    /// acknowledgement.
    Arrived(DateTime<Utc>, DateTime<Utc>),
}

/// One acknowledged event.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    pub client: usize,
    pub number: usize,
    pub when: When,
    /// From when to when the try took that was acknowledged.
    pub taken: (Instant, Instant),
}

/// The errors that the clients met.
#[derive(Debug, Default)]
pub struct ClientOutcomes {
    pub requests: AtomicUsize,
    /// Answers of 503.
    pub refused: AtomicUsize,
    /// Failed connections and incomplete answers.
    pub broken: AtomicUsize,
}

pub struct Crowd {
    clients: Vec<JoinHandle<Vec<Sent>>>,
    pub tries: Arc<ClientOutcomes>,
}

impl Crowd {
    /// The clients with these numbers, which send so many events together.
    pub fn start(
        clients: Range<usize>,
        events: usize,
        span: Duration,
        address: SocketAddr,
        dice: &mut Dice,
    ) -> Self {
        let tries = Arc::new(ClientOutcomes::default());
        let each = events / clients.len();
        let clients = clients
            .map(|number| {
                let client = Client {
                    number,
                    address,
                    stream: None,
                    dice: dice.split(number as u64),
                    tries: Arc::clone(&tries),
                };
                tokio::spawn(client.send(each, span))
            })
            .collect();
        Self { clients, tries }
    }

    pub fn finished(&self) -> bool {
        self.clients.iter().all(JoinHandle::is_finished)
    }

    pub async fn acknowledged(self) -> Vec<Sent> {
        let mut sent = Vec::new();
        for client in self.clients {
            sent.extend(client.await.expect("a client has no reason to panic"));
        }
        sent
    }
}

struct Client {
    number: usize,
    address: SocketAddr,
    /// The connection, reused from request to request.
    stream: Option<TcpStream>,
    dice: Dice,
    tries: Arc<ClientOutcomes>,
}

impl Client {
    /// Sends so many events within about this time; after a wait it pauses less.
    async fn send(mut self, events: usize, span: Duration) -> Vec<Sent> {
        let start = Instant::now();
        let mut sent = Vec::with_capacity(events);
        while sent.len() < events {
            let due = span.mul_f64(sent.len() as f64 / events as f64);
            tokio::time::sleep(due.saturating_sub(start.elapsed())).await;
            // Mostly single events, as browsers send them, and sometimes a server's batch.
            let most = events - sent.len();
            let count = match self.dice.below(10) {
                0..=4 => 1,
                5..=8 => self.dice.between(2, 10) as usize,
                _ => self.dice.between(20, 60) as usize,
            };
            let batch = sent.len()..sent.len() + count.min(most);
            sent.extend(self.until_acknowledged(batch).await);
        }
        sent
    }

    async fn until_acknowledged(&mut self, numbers: Range<usize>) -> Vec<Sent> {
        let silent = self.dice.below(10) == 0;
        let messages: Vec<String> = numbers
            .clone()
            .map(|number| self.message(number, silent))
            .collect();
        let (path, body) = match &messages[..] {
            [one] => ("/hr/v1/t", one.clone()),
            several => ("/hr/v1/b", format!("{{\"batch\":[{}]}}", several.join(","))),
        };
        let request = match self.dice.below(3) {
            0 => post(path, "Content-Encoding: gzip\r\n", &gzip(body.as_bytes())),
            _ => post(path, "", body.as_bytes()),
        };
        let first = Utc::now();
        let taken = loop {
            let tried = Instant::now();
            self.tries.requests.fetch_add(1, Ordering::Relaxed);
            let talk = tokio::time::timeout(DEADLINE, self.exchange(&request));
            match talk.await.ok().flatten() {
                Some(200) => break (tried, Instant::now()),
                Some(503) => {
                    self.tries.refused.fetch_add(1, Ordering::Relaxed);
                }
                Some(other) => panic!("a client was told {other}"),
                None => {
                    self.tries.broken.fetch_add(1, Ordering::Relaxed);
                    self.stream = None;
                }
            }
            tokio::time::sleep(Duration::from_millis(self.dice.between(20, 200))).await;
        };
        let last = Utc::now();
        let when = |number| match silent {
            true => When::Arrived(first, last),
            false => When::Said(happened(number)),
        };
        numbers
            .map(|number| Sent {
                client: self.number,
                number,
                when: when(number),
                taken,
            })
            .collect()
    }

    fn message(&mut self, number: usize, silent: bool) -> String {
        let client = self.number;
        let name = match self.dice.below(1_000) {
            0 => "Poison",
            _ => "Fine",
        };
        let happened = happened(number).to_rfc3339_opts(SecondsFormat::Millis, true);
        let timestamp = match silent {
            true => String::new(),
            false => format!("\"timestamp\":\"{happened}\","),
        };
        let filler = "x".repeat(self.dice.below(300) as usize);
        format!(
            "{{\"type\":\"track\",\"event\":\"{name}\",\"userId\":\"u-{client}\",{timestamp}\
             \"messageId\":\"m-{client}-{number}\",\
             \"properties\":{{\"number\":{number},\"filler\":\"{filler}\"}}}}"
        )
    }

    /// The status of the answer, if it is complete.
    async fn exchange(&mut self, request: &[u8]) -> Option<u16> {
        if self.stream.is_none() {
            self.stream = Some(TcpStream::connect(self.address).await.ok()?);
        }
        let stream = self.stream.as_mut()?;
        // Browsers and servers split their writes differently.
        let cut = self.dice.below(request.len() as u64) as usize;
        stream.write_all(&request[..cut]).await.ok()?;
        stream.write_all(&request[cut..]).await.ok()?;
        let mut answer = Vec::new();
        loop {
            let read = stream.read_buf(&mut answer).await.ok()?;
            if let Some(status) = whole(&answer) {
                if header(&String::from_utf8_lossy(&answer), "connection").as_deref()
                    == Some("close")
                {
                    self.stream = None;
                }
                return Some(status);
            }
            if read == 0 {
                return None;
            }
        }
    }
}

/// The status, if the answer is complete.
fn whole(answer: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length: usize = header(head, "content-length")?.parse().ok()?;
    (body.len() >= length).then(|| head.get(9..12)?.parse().ok())?
}

/// The time of a client's event with this number; no two are equal.
fn happened(number: usize) -> DateTime<Utc> {
    let start = DateTime::parse_from_rfc3339("2026-11-23T10:00:00Z").expect("a time");
    start.to_utc() + TimeDelta::milliseconds(137 * number as i64)
}
