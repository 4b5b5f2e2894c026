//! A stand-in for PostHog with very little cost: a thread for each connection reads requests,
//! stores their bodies and answers 200. The bodies are checked outside the measured time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::http::{self, Framing};

const YES: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"status\":1}";

/// The address for requests.
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

    /// The bodies that have arrived since the last call.
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
        // A cut request does not count.
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
