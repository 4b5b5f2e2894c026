//! Parses an upstream's answer over HTTP/1.x while it arrives: its head, and where its body ends (RFC
//! 9112, 6.3 and 7.1).

use std::mem::MaybeUninit;
use std::time::SystemTime;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::StatusCode;
use httparse::{ParserConfig, Status};

use super::retry_after;

/// A head with more fields than this is refused.
const FIELDS: usize = 128;
/// The maximum length of a head, and of the trailers, in bytes.
const LONGEST: usize = 64 * 1024;
/// The maximum length of the line with a chunk's size and its extensions, in bytes.
const LONGEST_CHUNK_LINE: usize = 8 * 1024;

/// How the reading of a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyEnd {
    Whole,
    /// The body is longer than the caller allows.
    TooLarge,
}

/// The error for received bytes that are no HTTP answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotHttp;

/// Which fields of a head the caller reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WantedFields {
    /// Only those with a field in [`AnswerHead`].
    Few,
    All,
}

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnswerHead {
    pub(crate) status: StatusCode,
    /// Whether the body is a web page.
    pub(crate) html: bool,
    /// `Retry-After` in seconds.
    pub(crate) retry_after: Option<u32>,
    /// All fields if `WantedFields::All` was requested, otherwise none.
    pub(crate) fields: HeaderMap,
}

impl AnswerHead {
    pub(crate) fn new(status: StatusCode) -> Self {
        Self {
            status,
            html: false,
            retry_after: None,
            fields: HeaderMap::new(),
        }
    }

    /// Stores a header that has its own field. If there are several, the first one counts.
    pub(crate) fn note(&mut self, name: &str, value: &[u8]) {
        let value = value.trim_ascii();
        if name.eq_ignore_ascii_case("content-type") {
            let html = b"text/html";
            let begins = value.get(..html.len());
            self.html = self.html || begins.is_some_and(|begin| begin.eq_ignore_ascii_case(html));
        } else if name.eq_ignore_ascii_case("retry-after") && self.retry_after.is_none() {
            self.retry_after = retry_after::seconds(value, SystemTime::now());
        }
    }
}

/// A complete head.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) head: AnswerHead,
    pub(crate) body: AnswerBody,
    /// The length of the head in bytes; the body begins after it.
    pub(crate) length: usize,
}

/// Parses the head at the beginning of the received bytes. Returns `None` while it is not complete.
pub(crate) fn parse(received: &[u8], fields: WantedFields) -> Result<Option<Parsed>, NotHttp> {
    let mut parser = ParserConfig::default();
    // The framework accepts these two as well.
    parser.allow_spaces_after_header_name_in_responses(true);
    parser.allow_obsolete_multiline_headers_in_responses(true);
    let mut lines = [const { MaybeUninit::uninit() }; FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = parser.parse_response_with_uninit_headers(&mut response, received, &mut lines);
    let length = match parsed {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if received.len() < LONGEST => return Ok(None),
        Ok(Status::Partial) | Err(_) => return Err(NotHttp),
    };
    let status = response
        .code
        .and_then(|code| StatusCode::from_u16(code).ok());
    let mut head = AnswerHead::new(status.ok_or(NotHttp)?);
    let mut framing = HeadFraming {
        minor: response.version.unwrap_or(0),
        ..HeadFraming::default()
    };
    for line in &*response.headers {
        framing.note(line.name, line.value)?;
        head.note(line.name, line.value);
        if fields == WantedFields::All {
            let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| NotHttp)?;
            let value = HeaderValue::from_bytes(line.value).map_err(|_| NotHttp)?;
            head.fields.append(name, value);
        }
    }
    Ok(Some(Parsed {
        body: framing.body(head.status),
        head,
        length,
    }))
}

/// The part of a head that describes its body and its connection.
#[derive(Debug, Default)]
struct HeadFraming {
    minor: u8,
    length: Option<u64>,
    coded: bool,
    chunked: bool,
    close: bool,
    keep: bool,
}

impl HeadFraming {
    fn note(&mut self, name: &str, value: &[u8]) -> Result<(), NotHttp> {
        let words = || value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        if name.eq_ignore_ascii_case(header::CONTENT_LENGTH.as_str()) {
            for word in words() {
                let digits = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
                let length = std::str::from_utf8(word).ok().filter(|_| digits);
                let length = length.and_then(|text| text.parse().ok()).ok_or(NotHttp)?;
                // A repeated equal length is harmless; with two different ones the end is unknown.
                if self.length.is_some_and(|before| before != length) {
                    return Err(NotHttp);
                }
                self.length = Some(length);
            }
        } else if name.eq_ignore_ascii_case(header::TRANSFER_ENCODING.as_str()) {
            self.coded = true;
            if let Some(last) = words().next_back() {
                self.chunked = last.eq_ignore_ascii_case(b"chunked");
            }
        } else if name.eq_ignore_ascii_case(header::CONNECTION.as_str()) {
            for word in words() {
                self.close |= word.eq_ignore_ascii_case(b"close");
                self.keep |= word.eq_ignore_ascii_case(b"keep-alive");
            }
        }
        Ok(())
    }

    fn body(&self, status: StatusCode) -> AnswerBody {
        let bodiless = status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let framing = if bodiless {
            BodyFraming::End
        } else if self.chunked {
            BodyFraming::ChunkLine
        } else if self.coded {
            BodyFraming::UntilClose
        } else {
            match self.length {
                Some(0) => BodyFraming::End,
                Some(left) => BodyFraming::Length(left),
                None => BodyFraming::UntilClose,
            }
        };
        let keeps = match self.minor {
            // HTTP/1.0 has no chunks: the end of an answer with them is uncertain.
            0 => self.keep && !self.close && !self.coded,
            _ => !self.close,
        };
        // A head that states the end of its body in two ways may be used to smuggle requests.
        let doubtful = self.coded && self.length.is_some();
        let persistent = keeps && !doubtful && framing != BodyFraming::UntilClose;
        AnswerBody {
            framing,
            persistence: if persistent {
                Persistence::Keeps
            } else {
                Persistence::Closes
            },
        }
    }
}

/// Whether the connection stays open after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Persistence {
    Keeps,
    Closes,
}

/// The body of an answer: which of the received bytes belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnswerBody {
    framing: BodyFraming,
    persistence: Persistence,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyFraming {
    /// This many bytes of the body are left.
    Length(u64),
    /// The line with a chunk's length is next.
    ChunkLine,
    /// This many bytes of a chunk are left.
    Chunk(u64),
    /// The line end after a chunk is next.
    ChunkEnd,
    /// The trailers after the last chunk, up to an empty line. This many of their bytes have been read.
    Trailers(usize),
    UntilClose,
    End,
}

/// The kind of the next bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextBytes {
    /// This many bytes of the body.
    Data(usize),
    /// This many bytes of framing.
    Framing(usize),
    /// More bytes have to be received first.
    Starved,
    /// The body has ended.
    End,
}

impl AnswerBody {
    /// Returns the kind of the first received bytes. The caller removes them before it calls this
    /// again.
    pub(crate) fn next(&mut self, received: &[u8]) -> Result<NextBytes, NotHttp> {
        let (next, framing) = match self.framing {
            BodyFraming::End => return Ok(NextBytes::End),
            _ if received.is_empty() => return Ok(NextBytes::Starved),
            BodyFraming::UntilClose => return Ok(NextBytes::Data(received.len())),
            BodyFraming::Length(left) => {
                let taken = at_most(received.len(), left);
                (
                    NextBytes::Data(taken),
                    left_of(left, taken, BodyFraming::Length, BodyFraming::End),
                )
            }
            BodyFraming::Chunk(left) => {
                let taken = at_most(received.len(), left);
                (
                    NextBytes::Data(taken),
                    left_of(left, taken, BodyFraming::Chunk, BodyFraming::ChunkEnd),
                )
            }
            BodyFraming::ChunkEnd => match received {
                [b'\r', b'\n', ..] => (NextBytes::Framing(2), BodyFraming::ChunkLine),
                [b'\r'] => return Ok(NextBytes::Starved),
                _ => return Err(NotHttp),
            },
            BodyFraming::ChunkLine => match httparse::parse_chunk_size(received) {
                Ok(Status::Complete((taken, 0))) => {
                    (NextBytes::Framing(taken), BodyFraming::Trailers(0))
                }
                Ok(Status::Complete((taken, size))) => {
                    (NextBytes::Framing(taken), BodyFraming::Chunk(size))
                }
                Ok(Status::Partial) if received.len() < LONGEST_CHUNK_LINE => {
                    return Ok(NextBytes::Starved)
                }
                Ok(Status::Partial) | Err(_) => return Err(NotHttp),
            },
            BodyFraming::Trailers(before) => {
                let end = received.iter().position(|&byte| byte == b'\n');
                let Some(end) = end.map(|at| at + 1) else {
                    let short = before + received.len() < LONGEST;
                    return short.then_some(NextBytes::Starved).ok_or(NotHttp);
                };
                let line = received.get(..end).unwrap_or_default();
                let framing = match line {
                    b"\r\n" | b"\n" => BodyFraming::End,
                    _ if before + end < LONGEST => BodyFraming::Trailers(before + end),
                    _ => return Err(NotHttp),
                };
                (NextBytes::Framing(end), framing)
            }
        };
        self.framing = framing;
        Ok(next)
    }

    /// Records that the connection was closed. Fails if the body is not complete.
    pub(crate) fn closed(&mut self) -> Result<(), NotHttp> {
        match self.framing {
            BodyFraming::UntilClose | BodyFraming::End => {
                self.framing = BodyFraming::End;
                Ok(())
            }
            _ => Err(NotHttp),
        }
    }

    /// Returns whether the next request may use the same connection.
    pub(crate) fn is_reusable(&self) -> bool {
        self.framing == BodyFraming::End && self.persistence == Persistence::Keeps
    }
}

fn at_most(here: usize, left: u64) -> usize {
    usize::try_from(left).map_or(here, |left| left.min(here))
}

fn left_of(
    left: u64,
    taken: usize,
    more: fn(u64) -> BodyFraming,
    done: BodyFraming,
) -> BodyFraming {
    match left - taken as u64 {
        0 => done,
        left => more(left),
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
