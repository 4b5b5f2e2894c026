//! Where the request that is being read ends on its connection, so that what a client sent behind it
//! waits for its turn (RFC 9112, 9.3.2).
//!
//! The framework reads as much as comes, answers `keep-alive`, and closes the connection where it has
//! read a part of the next request. What it may read is therefore cut here. It alone decides what a
//! request is: where the two do not agree, a cut that is too late does what was done without it, and
//! one that is too early lets the body run into its time.

/// So many fields of a head are looked through; the framework takes no more.
const FIELDS: usize = 256;
/// More digits no length in bytes has.
const DIGITS: u32 = 15;

/// What of the bytes that come belongs to the request that is being served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// It is not known: all of them.
    Unknown,
    /// So many.
    Bytes(u64),
    /// As the chunks say; here is what comes next.
    Chunks(Chunk),
}

/// A place in a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    /// In the digits of a size.
    Size { size: u64, digits: u32 },
    /// Behind them, in their line.
    Extension(u64),
    /// Before so many bytes of data.
    Data(u64),
    /// Before the end of the data's line.
    DataEnd,
    /// At the beginning of a line behind the last chunk.
    Trailer,
    /// Within such a line.
    Field,
}

impl Extent {
    /// How long a whole head is, and how far the body behind it goes.
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
                extent = Self::Chunks(Chunk::START);
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

    /// Whether nothing more belongs to the request.
    pub(super) fn is_over(self) -> bool {
        self == Self::Bytes(0)
    }

    /// Takes note of bytes that have come; how many of them belong to the request.
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Unknown => bytes.len(),
            Self::Bytes(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX);
                let taken = taken.min(bytes.len());
                *left -= taken as u64;
                taken
            }
            Self::Chunks(chunk) => {
                let (next, taken) = chunk.over(bytes);
                *self = next;
                taken
            }
        }
    }
}

impl Chunk {
    const START: Self = Self::Size { size: 0, digits: 0 };

    /// Goes over these bytes: where the body stands then, and how many belong to it.
    fn over(self, bytes: &[u8]) -> (Extent, usize) {
        let mut chunk = self;
        let mut taken = 0;
        while let Some(byte) = bytes.get(taken) {
            if let Self::Data(left) = chunk {
                let rest = bytes.len() - taken;
                let data = usize::try_from(left).unwrap_or(usize::MAX).min(rest);
                taken += data;
                chunk = match left - data as u64 {
                    0 => Self::DataEnd,
                    left => Self::Data(left),
                };
                continue;
            }
            taken += 1;
            match chunk.next(*byte) {
                Extent::Chunks(next) => chunk = next,
                Extent::Unknown => return (Extent::Unknown, bytes.len()),
                over => return (over, taken),
            }
        }
        (Extent::Chunks(chunk), taken)
    }

    /// What follows a byte that is no data.
    fn next(self, byte: u8) -> Extent {
        let sized = |size| match size {
            0 => Self::Trailer,
            size => Self::Data(size),
        };
        Extent::Chunks(match (self, byte) {
            (Self::Size { size, digits }, digit) if digit.is_ascii_hexdigit() => {
                let value = char::from(digit).to_digit(16).unwrap_or_default();
                if digits == DIGITS {
                    return Extent::Unknown;
                }
                Self::Size {
                    size: size << 4 | u64::from(value),
                    digits: digits + 1,
                }
            }
            (Self::Size { digits: 0, .. }, _) => return Extent::Unknown,
            (Self::Size { size, .. } | Self::Extension(size), b'\n') => sized(size),
            (Self::Size { size, .. } | Self::Extension(size), _) => Self::Extension(size),
            (Self::DataEnd, b'\r') => Self::DataEnd,
            (Self::DataEnd, b'\n') => Self::START,
            (Self::DataEnd, _) => return Extent::Unknown,
            (Self::Trailer, b'\r') => Self::Trailer,
            (Self::Trailer, b'\n') => return Extent::Bytes(0),
            (Self::Field, b'\n') => Self::Trailer,
            (Self::Trailer | Self::Field, _) => Self::Field,
            // Gone over above.
            (Self::Data(left), _) => Self::Data(left),
        })
    }
}

/// A `Content-Length`; nothing for one that the framework may read in another way.
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

    /// How many bytes of this text belong to its first request, when it comes in pieces of this size.
    fn belongs(text: &str, pieces: usize) -> Option<usize> {
        let (head, mut extent) = Extent::of(text.as_bytes());
        if extent == Extent::Unknown {
            return None;
        }
        let mut length = head;
        for piece in text.as_bytes()[head..].chunks(pieces) {
            let taken = extent.take(piece);
            length += taken;
            if extent == Extent::Unknown {
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
    fn a_request_ends_where_its_head_says_however_it_comes() {
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
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\n\n\r\n000\r\nA: b\r\nC: d\r\n\r\n",
        ] {
            for pieces in [1, 2, 3, 7, 4096] {
                let whole = format!("{request}{NEXT}");
                assert_eq!(belongs(&whole, pieces), Some(request.len()), "{request:?} in {pieces}");
                assert_eq!(belongs(request, pieces), Some(request.len()), "{request:?} alone");
            }
        }
    }

    #[test]
    fn what_another_could_read_in_another_way_is_not_cut() {
        for request in [
            "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
            "POST / HTTP/1.1\r\nContent-Length: +4\r\n\r\nabcd",
            "POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1111111111111111\r\n",
            "no request\r\n\r\n",
            "GET / HTTP/1.1\r\nHo",
        ] {
            assert_eq!(belongs(request, 4096), None, "{request:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_bring_it_down_and_no_more_are_taken_than_came(bytes: Vec<u8>, pieces in 1..9_usize) {
            let mut extent = Extent::Chunks(Chunk::START);
            for piece in bytes.chunks(pieces) {
                proptest::prop_assert!(extent.take(piece) <= piece.len());
            }
            let _ = Extent::of(&bytes);
        }
    }
}
