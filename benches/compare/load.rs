//! The clients: one thread for each connection. Requests leave at times that do not depend on the
//! answers (open loop), or each after the answer to the one before (closed loop).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::http::{self, Framing};
use crate::work::Template;

/// A slower answer counts as a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the clients may still send overdue requests after the end.
const OVERTIME: Duration = Duration::from_secs(1);

/// The number of the next event, counted over all clients.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// When requests are sent.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// At random times, so many a second on average, whether earlier requests are answered or not.
    Open { rate: f64 },
    /// One after the other on each connection.
    Closed,
}

/// Where requests go, and with which keys.
#[derive(Debug, Clone)]
pub struct Target {
    pub address: SocketAddr,
    /// The routes, each with a slash at both ends, used in turn.
    pub routes: Arc<[String]>,
    /// The number of write keys, used in turn.
    pub keys: usize,
}

impl Target {
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            routes: Arc::new(["/hr/".to_owned()]),
            keys: 1,
        }
    }
}

/// The result.
#[derive(Debug, Default)]
pub struct Outcome {
    /// For each request with a 200, in any order.
    pub latencies: Vec<Duration>,
    /// The first event of each request that was sent.
    pub sent: Vec<u64>,
    /// Other answers, and failed connections.
    pub failures: Vec<String>,
    /// From the first request until the last answer.
    pub time: Duration,
}

/// Sends for this time and waits for the answers.
pub fn run(
    target: &Target,
    template: &Arc<Template>,
    pace: Pace,
    connections: usize,
    length: Duration,
) -> Outcome {
    // All clients connect before the first one sends.
    let start = Instant::now() + Duration::from_millis(30);
    let schedule = Arc::new(Mutex::new(Schedule::new(pace, start, length)));
    let clients: Vec<_> = (0..connections)
        .map(|number| {
            let mut client = Client {
                target: target.clone(),
                template: Arc::clone(template),
                stream: None,
                request: Vec::new(),
                answer: vec![0; 16 * 1024],
                turn: number,
                outcome: Outcome::default(),
            };
            let schedule = Arc::clone(&schedule);
            http::spawn("load", move || {
                client.run(&schedule);
                client.outcome
            })
        })
        .collect();
    let mut all = Outcome::default();
    for client in clients {
        let outcome = client.join().unwrap();
        all.latencies.extend(outcome.latencies);
        all.sent.extend(outcome.sent);
        all.failures.extend(outcome.failures);
    }
    all.time = start.elapsed();
    all
}

/// When the next request is due. The first free connection takes it.
struct Schedule {
    next: Instant,
    end: Instant,
    /// The average seconds between two requests; `None` sends as soon as possible.
    gap: Option<f64>,
    random: u64,
}

impl Schedule {
    fn new(pace: Pace, start: Instant, length: Duration) -> Self {
        Self {
            next: start,
            end: start + length,
            gap: match pace {
                Pace::Open { rate } => Some(1.0 / rate),
                Pace::Closed => None,
            },
            // The same sequence of pauses for each subject.
            random: 0x9e37_79b9_7f4a_7c15,
        }
    }

    fn take(&mut self) -> Option<Instant> {
        match self.gap {
            None => self.next = self.next.max(Instant::now()),
            Some(gap) => {
                self.random ^= self.random << 13;
                self.random ^= self.random >> 7;
                self.random ^= self.random << 17;
                let part = ((self.random >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
                self.next += Duration::from_secs_f64(gap * -part.ln());
            }
        }
        // The test waits only a little longer for a slow request than for the others.
        let too_late = Instant::now() > self.end + OVERTIME;
        (self.next < self.end && !too_late).then_some(self.next)
    }
}

struct Client {
    target: Target,
    template: Arc<Template>,
    stream: Option<TcpStream>,
    request: Vec<u8>,
    answer: Vec<u8>,
    turn: usize,
    outcome: Outcome,
}

impl Client {
    fn run(&mut self, schedule: &Mutex<Schedule>) {
        self.connect();
        let take = || schedule.lock().unwrap().take();
        while let Some(due) = take() {
            let now = Instant::now();
            if due > now {
                thread::sleep(due - now);
                // Time that the client overslept does not count as the proxy's.
                self.send(Instant::now());
            } else {
                // All connections were busy, so the client has waited since then.
                self.send(due);
            }
        }
    }

    fn connect(&mut self) {
        let stream = TcpStream::connect(self.target.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        self.stream = Some(stream);
    }

    fn send(&mut self, since: Instant) {
        if self.stream.is_none() {
            self.connect();
        }
        let events = self.template.size.events() as u64;
        let first = NEXT.fetch_add(events, Ordering::Relaxed);
        self.make(first);
        self.turn = self.turn.wrapping_add(61);
        self.outcome.sent.push(first);
        match self.exchange() {
            Ok(()) => self.outcome.latencies.push(since.elapsed()),
            Err(failure) => {
                self.stream = None;
                self.outcome.failures.push(failure);
            }
        }
    }

    fn make(&mut self, first: u64) {
        let routes = &self.target.routes;
        let route = &routes[self.turn % routes.len()];
        self.request.clear();
        write!(
            self.request,
            "POST {route}{} HTTP/1.1\r\nHost: shop.example.com\r\nContent-Type: text/plain\r\n\
             User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/156.0.0.0 Safari/537.36\r\nOrigin: https://shop.example.com\r\n\
             Accept: */*\r\nAccept-Language: en-GB,en;q=0.9\r\nContent-Length: {}\r\n\r\n",
            self.template.size.call(),
            self.template.len(),
        )
        .unwrap();
        let head = self.request.len();
        self.request.extend_from_slice(self.template.bytes());
        let key = self.turn % self.target.keys;
        self.template.fill(&mut self.request[head..], first, key);
    }

    fn exchange(&mut self) -> Result<(), String> {
        let stream = self.stream.as_mut().unwrap();
        let failed = |error: std::io::Error| error.to_string();
        stream.write_all(&self.request).map_err(failed)?;
        let mut held = 0;
        let head = loop {
            let read = stream.read(&mut self.answer[held..]).map_err(failed)?;
            if read == 0 {
                return Err("closed without an answer".to_owned());
            }
            held += read;
            let Some(head) = http::head(&self.answer[..held]) else {
                continue;
            };
            let Framing::Length(length) = head.framing else {
                return Err("an answer without a length".to_owned());
            };
            if held >= head.length + length {
                break head;
            }
        };
        if head.closes {
            self.stream = None;
        }
        if !self.answer.starts_with(b"HTTP/1.1 200") {
            return Err(String::from_utf8_lossy(&self.answer[..held]).into_owned());
        }
        Ok(())
    }
}
