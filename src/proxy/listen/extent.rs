//! Finds the end of the current request on its connection, so that a pipelined request waits for its turn
//! (RFC 9112, 9.3.2).
//!
//! The framework reads all available bytes, answers `keep-alive`, and closes the connection if it has
//! read a part of the next request. So this module cuts the bytes that the framework may read. Only the
//! framework decides what a request is: if the two do not agree, a cut that is too late changes nothing,
//! and one that is too early makes the body time out.

/// The maximum number of fields of a head that are parsed; the framework accepts no more.
const FIELDS: usize = 256;
/// The maximum number of digits of a length.
const DIGITS: u32 = 15;
/// A byte that cannot begin a chunk.
const NO_CHUNK: u8 = 0;
/// A byte that cannot appear twice at the end of a line.
const NO_LINE_END: u8 = b'\r';

/// How many of the next bytes belong to the current request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestExtent {
    /// Unknown: all of them are passed on.
    Unknown,
    /// This many bytes.
    Bytes(u64),
    /// The bytes of chunks; this is the state of the parser between two bytes.
    Chunks(ChunkState),
    /// The chunks are broken: each further byte is replaced by this one.
    Broken(u8),
}

/// A place in a chunked body (RFC 9112, 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChunkState {
    /// In the digits of a size.
    Size { size: u64, digits: u32 },
    /// In spaces after the digits.
    Blanks(u64),
    /// In a chunk extension.
    Extension(u64),
    /// Before the line feed that ends the line of the size.
    SizeEnd(u64),
    /// Before this many bytes of data.
    Data(u64),
    /// Before the line end that follows the data.
    DataEnd(LineEnd),
    /// At the beginning of a line after the last chunk.
    Trailer(LineEnd),
    /// Within such a line.
    Field(LineEnd),
}

/// How much of a line end has arrived. A line feed without a carriage return does not count, because
/// servers disagree about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineEnd {
    Nothing,
    Return,
}

impl RequestExtent {
    /// Returns the length of a complete head, and how many bytes of body follow it.
    pub(super) fn of(bytes: &[u8]) -> (usize, Self) {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(bytes) {
            Ok(httparse::Status::Complete(head)) => (head, Self::of_fields(request.headers)),
            _ => (0, Self::Unknown),
        }
    }

    fn of_fields(fields: &[httparse::Header<'_>]) -> Self {
        let mut extent = Self::Bytes(0);
        let mut codings = 0;
        for field in fields {
            if field.name.eq_ignore_ascii_case("upgrade") {
                return Self::Unknown;
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                codings += 1;
                if codings > 1 || !field.value.eq_ignore_ascii_case(b"chunked") {
                    return Self::Unknown;
                }
                extent = Self::Chunks(ChunkState::START);
            } else if field.name.eq_ignore_ascii_case("content-length") && codings == 0 {
                match (length(field.value), extent) {
                    (Some(length), Self::Bytes(known)) if known == 0 || known == length => {
                        extent = Self::Bytes(length);
                    }
                    _ => return Self::Unknown,
                }
            }
        }
        extent
    }

    /// Whether the request has ended.
    pub(super) fn is_over(self) -> bool {
        self == Self::Bytes(0)
    }

    /// Parses received bytes, and returns how many of them belong to the request. Bytes after an error in
    /// the chunks are replaced by an error that the framework recognises too: it would read a chunk
    /// without a size as the last one.
    pub(super) fn take(&mut self, bytes: &mut [u8]) -> usize {
        match self {
            Self::Unknown => bytes.len(),
            Self::Broken(replacement) => {
                bytes.fill(*replacement);
                bytes.len()
            }
            Self::Bytes(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX);
                let taken = taken.min(bytes.len());
                *left -= taken as u64;
                taken
            }
            Self::Chunks(chunk) => {
                let (next, taken) = chunk.parse(bytes);
                *self = next;
                if let Self::Broken(replacement) = next {
                    // The invalid byte is the first that is replaced.
                    let wrong = bytes.get_mut(taken.saturating_sub(1)..);
                    wrong.unwrap_or_default().fill(replacement);
                    return bytes.len();
                }
                taken
            }
        }
    }
}

impl ChunkState {
    const START: Self = Self::Size { size: 0, digits: 0 };

    /// Parses these bytes. Returns the state after them, and how many were parsed.
    fn parse(self, bytes: &[u8]) -> (RequestExtent, usize) {
        let mut chunk = self;
        let mut taken = 0;
        while let Some(byte) = bytes.get(taken) {
            if let Self::Data(left) = chunk {
                let rest = bytes.len() - taken;
                let data = usize::try_from(left).unwrap_or(usize::MAX).min(rest);
                taken += data;
                chunk = match left - data as u64 {
                    0 => Self::DataEnd(LineEnd::Nothing),
                    left => Self::Data(left),
                };
                continue;
            }
            taken += 1;
            match chunk.next(*byte) {
                RequestExtent::Chunks(next) => chunk = next,
                end => return (end, taken),
            }
        }
        (RequestExtent::Chunks(chunk), taken)
    }

    /// Returns the state after a byte that is not data.
    fn next(self, byte: u8) -> RequestExtent {
        use LineEnd::{Nothing, Return};
        let text = |byte: u8| byte >= b' ' && byte != 0x7f || byte == b'\t';
        RequestExtent::Chunks(match (self, byte) {
            (Self::Size { size, digits }, digit) if digit.is_ascii_hexdigit() => {
                let value = char::from(digit).to_digit(16).unwrap_or_default();
                if digits == DIGITS {
                    return RequestExtent::Broken(NO_CHUNK);
                }
                Self::Size {
                    size: size << 4 | u64::from(value),
                    digits: digits + 1,
                }
            }
            (Self::Size { digits: 0, .. }, _) => return RequestExtent::Broken(NO_CHUNK),
            (Self::Size { size, .. } | Self::Blanks(size), b' ' | b'\t') => Self::Blanks(size),
            (Self::Size { size, .. } | Self::Blanks(size), b';') => Self::Extension(size),
            (Self::Size { size, .. } | Self::Blanks(size) | Self::Extension(size), b'\r') => {
                Self::SizeEnd(size)
            }
            (Self::Extension(size), other) if text(other) => Self::Extension(size),
            (Self::SizeEnd(0), b'\n') => Self::Trailer(Nothing),
            (Self::SizeEnd(size), b'\n') => Self::Data(size),
            (Self::DataEnd(Nothing), b'\r') => Self::DataEnd(Return),
            (Self::DataEnd(Return), b'\n') => Self::START,
            (Self::Trailer(Nothing), b'\r') => Self::Trailer(Return),
            (Self::Trailer(Return), b'\n') => return RequestExtent::Bytes(0),
            (Self::Field(Nothing), b'\r') => Self::Field(Return),
            (Self::Field(Return), b'\n') => Self::Trailer(Nothing),
            (Self::Trailer(Nothing) | Self::Field(Nothing), other) if text(other) => {
                Self::Field(Nothing)
            }
            (Self::Size { .. } | Self::Data(_) | Self::DataEnd(_), _) => {
                return RequestExtent::Broken(NO_CHUNK);
            }
            _ => return RequestExtent::Broken(NO_LINE_END),
        })
    }
}

/// Returns whether the first line of a head is a method, a target and a version, separated by single
/// spaces (RFC 9112, 3). The framework would escape anything else, and serve another path than the
/// requested one.
pub(super) fn is_request_line(head: &[u8]) -> bool {
    let begins = head.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
    let head = head.get(begins.unwrap_or(0)..).unwrap_or_default();
    let end = head.iter().position(|byte| *byte == b'\n');
    let line = head.get(..end.unwrap_or(head.len())).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = line.split(|byte| *byte == b' ');
    // Browsers send no fragment, and the framework drops it.
    let plain = |byte: &u8| *byte > b' ' && *byte != 0x7f && *byte != b'#';
    let mut word = || {
        words
            .next()
            .is_some_and(|word| !word.is_empty() && word.iter().all(plain))
    };
    let three = word() && word() && word();
    three && words.next().is_none()
}

/// Returns the value of a `Content-Length`, or `None` if the framework may read it in another way.
fn length(value: &[u8]) -> Option<u64> {
    let mut equal = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let first = equal.next()?;
    let plain = !first.is_empty() && first.len() <= DIGITS as usize;
    if !plain || !first.iter().all(u8::is_ascii_digit) || equal.any(|other| other != first) {
        return None;
    }
    std::str::from_utf8(first).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how many bytes of this text belong to its first request, when it arrives in pieces of this
    /// size.
    fn belongs(text: &str, pieces: usize) -> Option<usize> {
        let (head, mut extent) = RequestExtent::of(text.as_bytes());
        if extent == RequestExtent::Unknown {
            return None;
        }
        let mut length = head;
        for piece in text.as_bytes()[head..].to_vec().chunks_mut(pieces) {
            let taken = extent.take(piece);
            length += taken;
            if let RequestExtent::Broken(replacement) = extent {
                assert_eq!(piece.last(), Some(&replacement));
                return None;
            }
            if taken < piece.len() {
                assert!(extent.is_over());
                break;
            }
        }
        Some(length)
    }

    #[test]
    fn a_request_ends_where_its_head_says_for_every_cut() {
        const NEXT: &str = "GET /next HTTP/1.1\r\nHost: h\r\n\r\n";
        for request in [
            "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\n0\r\n\r",
            "POST / HTTP/1.1\r\nContent-Length: 4, 4\r\n\r\nabcd",
            "POST / HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n00B;x=\"y\"\r\n0123456789a\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1 \t;x\r\n\n\r\n000\r\nA: b\r\nC: d\r\n\r\n",
        ] {
            for pieces in [1, 2, 3, 7, 4096] {
                let whole = format!("{request}{NEXT}");
                assert_eq!(belongs(&whole, pieces), Some(request.len()), "{request:?} in {pieces}");
                assert_eq!(belongs(request, pieces), Some(request.len()), "{request:?} alone");
            }
        }
    }

    #[test]
    fn ambiguous_requests_are_not_cut() {
        for request in [
            "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
            "POST / HTTP/1.1\r\nContent-Length: +4\r\n\r\nabcd",
            "POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1111111111111111\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;\n\r\na\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;\rx\r\na\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\na: b\n\r\n",
            "no request\r\n\r\n",
            "GET / HTTP/1.1\r\nHo",
        ] {
            assert_eq!(belongs(request, 4096), None, "{request:?}");
        }
    }

    #[test]
    fn a_line_that_would_need_repair_is_not_a_request_line() {
        for (line, fits) in [
            ("GET / HTTP/1.1\r\n", true),
            ("\r\n\nGET / HTTP/1.0\n", true),
            ("POST /caf\u{e9}?a={b}|\"c\" HTTP/1.1\r\n", true),
            ("GET  / HTTP/1.1\r\n", false),
            ("GET /  HTTP/1.1\r\n", false),
            ("GET / a HTTP/1.1\r\n", false),
            (" GET / HTTP/1.1\r\n", false),
            ("GET / HTTP/1.1 \r\n", false),
            ("GET /\ta HTTP/1.1\r\n", false),
            ("GET /\0 HTTP/1.1\r\n", false),
            ("GET /\r HTTP/1.1\r\n", false),
            ("GET /\x7f HTTP/1.1\r\n", false),
            ("GET /#a HTTP/1.1\r\n", false),
            ("GET /\r\n", false),
            ("", false),
        ] {
            assert_eq!(is_request_line(line.as_bytes()), fits, "{line:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_bring_it_down_and_no_more_are_taken_than_came(bytes: Vec<u8>, pieces in 1..9_usize) {
            let mut extent = RequestExtent::Chunks(ChunkState::START);
            let _ = is_request_line(&bytes);
            for piece in bytes.clone().chunks_mut(pieces) {
                proptest::prop_assert!(extent.take(piece) <= piece.len());
            }
            let _ = RequestExtent::of(&bytes);
        }
    }
}
