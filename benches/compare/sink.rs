//! A stand-in for PostHog that costs as little as possible: a thread for each connection reads a
//! request, stores its body and answers 200. The stored bodies are checked while nothing is
//! measured.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::http::{self, Framing};

const YES: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"status\":1}";

/// Where requests arrive.
#[derive(Debug)]
pub struct Sink {
    pub address: SocketAddr,
    kept: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Sink {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&kept);
        http::spawn("sink", move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&shared);
                http::spawn("sink", move || serve(stream, &kept));
            }
        });
        Self { address, kept }
    }

    /// The bodies that have arrived since it was asked last.
    pub fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.kept.lock().unwrap())
    }
}

fn serve(mut stream: TcpStream, kept: &Mutex<Vec<Vec<u8>>>) {
    stream.set_nodelay(true).unwrap();
    let mut bytes = vec![0; 64 * 1024];
    let mut held = 0;
    loop {
        let Some(head) = http::head(&bytes[..held]) else {
            match stream.read(&mut bytes[held..]) {
                Ok(read) if read > 0 => held += read,
                _ => return,
            }
            continue;
        };
        let mut body = bytes[head.length..held].to_vec();
        let complete = match head.framing {
            Framing::Length(length) => {
                let beyond = body.len().saturating_sub(length);
                assert_eq!(
                    beyond, 0,
                    "bytes behind a request that was not answered yet"
                );
                let begun = body.len();
                body.resize(length, 0);
                stream.read_exact(&mut body[begun..]).is_ok()
            }
            Framing::Chunked => http::dechunk(&mut stream, &mut body).is_ok(),
        };
        // A request that is cut off is none.
        if !complete {
            return;
        }
        kept.lock().unwrap().push(body);
        held = 0;
        if stream.write_all(YES).is_err() {
            return;
        }
    }
}
