//! The parts of HTTP/1.1 that the load generator and the stand-in need.

use std::io::{self, Read};
use std::net::TcpStream;
use std::thread;

/// The threads' stacks are small, because there are hundreds.
const STACK: usize = 128 * 1024;

pub fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let builder = thread::Builder::new().name(name.into()).stack_size(STACK);
    builder.spawn(work).unwrap()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Chunked,
}

/// The facts from the head of a request or an answer.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// The length up to the body.
    pub length: usize,
    pub framing: Framing,
    /// Whether the sender closes the connection afterwards.
    pub closes: bool,
}

/// The head, if it is complete.
pub fn head(bytes: &[u8]) -> Option<Head> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let mut found = Head {
        length: end + 4,
        framing: Framing::Length(0),
        closes: false,
    };
    for line in bytes[..end].split(|byte| *byte == b'\n').skip(1) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let value = std::str::from_utf8(value).unwrap();
            found.framing = Framing::Length(value.parse().unwrap());
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            found.framing = Framing::Chunked;
        } else if name.eq_ignore_ascii_case(b"connection") {
            found.closes = value.eq_ignore_ascii_case(b"close");
        }
    }
    Some(found)
}

/// Reads the rest of a chunked body, of which this much has come, and stores its content.
pub fn dechunk(stream: &mut TcpStream, body: &mut Vec<u8>) -> io::Result<()> {
    let mut content = Vec::new();
    let mut at = 0;
    let more = |body: &mut Vec<u8>, stream: &mut TcpStream| -> io::Result<()> {
        let begun = body.len();
        body.resize(begun + 64 * 1024, 0);
        let read = stream.read(&mut body[begun..])?;
        body.truncate(begun + read);
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    };
    loop {
        let line = loop {
            let rest = &body[at..];
            match rest.windows(2).position(|two| two == b"\r\n") {
                Some(length) => break &rest[..length],
                None => more(body, stream)?,
            }
        };
        let digits = std::str::from_utf8(line).map_err(io::Error::other)?;
        let size = usize::from_str_radix(digits.trim(), 16).map_err(io::Error::other)?;
        at += line.len() + 2;
        while body.len() < at + size + 2 {
            more(body, stream)?;
        }
        content.extend_from_slice(&body[at..at + size]);
        at += size + 2;
        if size == 0 {
            *body = content;
            return Ok(());
        }
    }
}
