//! Writes whole answers of HTTP/1.1 as bytes, for the calls that are served without the framework.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::HeaderValue;
use httpdate::HttpDate;

use crate::proxy::reply::has_body;
use crate::segment::{Answer, Cors, Reply};

/// Whether another request may follow on the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextRequest {
    Another,
    None,
}

/// The initial buffer for the head of an answer, in bytes.
const HEAD: usize = 512;

/// An answer as it is written within one second: only its date changes from second to second.
struct WrittenAnswer {
    origin: Option<Vec<u8>>,
    next_request: NextRequest,
    /// The second of its date, since 1970.
    second: u64,
    bytes: Bytes,
}

impl WrittenAnswer {
    fn is_for(&self, origin: Option<&[u8]>, next_request: NextRequest, second: u64) -> bool {
        self.second == second
            && self.next_request == next_request
            && self.origin.as_deref() == origin
    }
}

thread_local! {
    /// The last answer to an accepted call. Nearly all answers are equal within a second.
    static LAST_ACCEPTED: RefCell<Option<WrittenAnswer>> = const { RefCell::new(None) };
}

/// Returns the answer to an accepted call that sets no cookie.
pub(super) fn accepted(cors: &Cors, next_request: NextRequest) -> Bytes {
    let now = now();
    let second = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let origin = cors.origin().map(HeaderValue::as_bytes);
    LAST_ACCEPTED.with_borrow_mut(|last| {
        if let Some(last) = last {
            if last.is_for(origin, next_request, second) {
                return last.bytes.clone();
            }
        }
        let bytes = Bytes::from(written_at(&Reply::Accepted.answer(cors), next_request, now));
        *last = Some(WrittenAnswer {
            origin: origin.map(<[u8]>::to_vec),
            next_request,
            second,
            bytes: bytes.clone(),
        });
        bytes
    })
}

/// Returns the whole answer.
pub(super) fn written(answer: &Answer, next_request: NextRequest) -> Vec<u8> {
    written_at(answer, next_request, now())
}

/// Returns the time for the date of an answer. HTTP has no dates before 1970.
fn now() -> SystemTime {
    SystemTime::now().max(UNIX_EPOCH)
}

fn written_at(answer: &Answer, next_request: NextRequest, now: SystemTime) -> Vec<u8> {
    let (status, body) = (answer.status(), answer.body());
    let mut out = Vec::with_capacity(HEAD + body.len());
    let reason = status.canonical_reason().unwrap_or_default();
    for part in ["HTTP/1.1 ", status.as_str(), " ", reason, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    for (name, value) in answer.headers() {
        write_field(name.as_str(), value.as_bytes(), &mut out);
    }
    out.extend_from_slice(b"Date: ");
    out.extend_from_slice(HttpDate::from(now).to_string().as_bytes());
    out.extend_from_slice(match next_request {
        NextRequest::Another => b"\r\nConnection: keep-alive\r\n",
        NextRequest::None => b"\r\nConnection: close\r\n",
    });
    if has_body(status) {
        out.extend_from_slice(b"Content-Length: ");
        out.extend_from_slice(itoa::Buffer::new().format(body.len()).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    if has_body(status) {
        out.extend_from_slice(body);
    }
    out
}

/// Writes a field, with its name in the usual form: each word begins with a capital letter.
fn write_field(name: &str, value: &[u8], into: &mut Vec<u8>) {
    let begins = into.len();
    into.extend_from_slice(name.as_bytes());
    let mut before = b'-';
    for byte in into.get_mut(begins..).unwrap_or_default() {
        if before == b'-' {
            byte.make_ascii_uppercase();
        }
        before = *byte;
    }
    into.extend_from_slice(b": ");
    into.extend_from_slice(value);
    into.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_answer_is_that_of_its_origin_its_connection_and_its_second() {
        let origins = [None, Some("https://a.example"), Some("https://b.example")];
        let mut mismatches = 0;
        for origin in origins {
            for next_request in [NextRequest::Another, NextRequest::None] {
                // The second and the third time, the answer is a stored one.
                for round in 0..3 {
                    let origin = origin.map(HeaderValue::from_static);
                    let cors = Cors::from_origin(origin.as_ref());
                    // A second may end in between.
                    let (before, stored) = (now(), accepted(&cors, next_request));
                    let answer = Reply::Accepted.answer(&cors);
                    let same = [before, now()]
                        .into_iter()
                        .any(|at| written_at(&answer, next_request, at) == stored);
                    if !same {
                        println!("{round} {origin:?} {next_request:?}: {stored:?}");
                        mismatches += 1;
                    }
                }
            }
        }
        assert_eq!(mismatches, 0);
    }

    #[test]
    fn an_answer_of_an_earlier_second_is_not_used_again() {
        let cors = Cors::from_origin(None);
        let old = WrittenAnswer {
            origin: None,
            next_request: NextRequest::Another,
            second: 7,
            bytes: Bytes::from_static(b"old"),
        };
        LAST_ACCEPTED.set(Some(old));
        assert_ne!(accepted(&cors, NextRequest::Another), "old");
    }

    #[test]
    fn names_of_fields_are_written_as_they_usually_are() {
        for (name, written) in [
            ("date", "Date: v\r\n"),
            (
                "access-control-allow-origin",
                "Access-Control-Allow-Origin: v\r\n",
            ),
            ("x-ratelimit-reset", "X-Ratelimit-Reset: v\r\n"),
        ] {
            let mut field = Vec::new();
            write_field(name, b"v", &mut field);
            assert_eq!(String::from_utf8(field).unwrap(), written);
        }
    }
}
