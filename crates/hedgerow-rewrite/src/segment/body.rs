//! Decodes a request's body. The header and the first bytes decide whether it is plain or gzip
//! (segment-tracking 1.4). The size of the inflated body is limited.

use flate2::{Decompress, FlushDecompress, Status};
use thiserror::Error;

/// Why a body cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BodyError {
    /// The body has an encoding that no Segment SDK uses.
    #[error("the content encoding is not gzip or identity")]
    UnknownEncoding,
    /// The gzip data is damaged or truncated, or has too many members with almost no data in them; or
    /// a body that is declared as gzip is neither gzip nor JSON.
    #[error("the gzip data is damaged or cut short")]
    Damaged,
    /// The body has more bytes than the limit, on the wire or inflated, or inflates to far too many bytes
    /// for its compressed size.
    #[error("the body is larger than the limit")]
    TooLarge,
}

/// Decodes one body, chunk by chunk.
#[derive(Debug)]
pub struct Decoder {
    state: DecoderState,
    limit: usize,
    wire_left: usize,
    left: usize,
    /// The number of gzip members after the first one.
    members: usize,
}

#[derive(Debug)]
enum DecoderState {
    /// The form is not known yet. Holds the first bytes until they show whether the body is gzip.
    Start {
        seen: Vec<u8>,
        declared: DeclaredCoding,
    },
    Plain,
    Gzip(Box<Gzip>),
    /// A gzip member has ended; another may follow (RFC 1952, 2.2).
    Between,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeclaredCoding {
    Nothing,
    Gzip,
}

impl DeclaredCoding {
    fn by(content_encoding: &str) -> Result<Self, BodyError> {
        /// The codings of IANA's registry that no SDK uses and that this decoder does not support.
        const OTHERS: [&str; 10] = [
            "aes128gcm",
            "br",
            "compress",
            "dcb",
            "dcz",
            "deflate",
            "exi",
            "pack200-gzip",
            "x-compress",
            "zstd",
        ];
        let mut declared = Self::Nothing;
        for name in content_encoding.split(',').map(str::trim) {
            let is = |coding: &&str| name.eq_ignore_ascii_case(coding);
            if OTHERS.iter().any(is) {
                return Err(BodyError::UnknownEncoding);
            }
            if ["gzip", "x-gzip"].iter().any(is) {
                declared = Self::Gzip;
            }
        }
        Ok(declared)
    }
}

#[derive(Debug)]
struct Gzip {
    inflate: Decompress,
    fed: bool,
}

/// The number of bytes that are inflated in one step.
const STEP: usize = 16 * 1024;
/// The size to which any body may inflate, in bytes: twice Segment's own limit.
const FREE: usize = 1 << 20;
/// The number of bytes beyond `FREE` that each compressed byte may add. Real batches inflate by a factor
/// of five to thirty, but gzip can reach a thousand.
const RATIO: usize = 100;
/// The number of gzip members that may always follow the first one, and the number of inflated bytes
/// that allow one more. To begin a member costs as much time as to inflate a thousand bytes, but an
/// empty member has only twenty bytes.
const MEMBERS: usize = 16;
const MEMBER_BYTES: usize = 64;
const MAGIC: [u8; 2] = [0x1f, 0x8b];
/// The number of leading bytes of white space after which a body that is declared as gzip counts as plain.
const BLANKS: usize = 1024;

impl Decoder {
    /// Creates a decoder for a body with this `Content-Encoding` (several header lines joined to one
    /// list). It reads at most `limit` bytes from the wire and returns at most `limit` decoded bytes.
    ///
    /// The first bytes decide whether the body is gzip. The decoder ignores a name that is not a coding
    /// (`utf-8`, `none`, `binary`) and refuses a coding other than gzip.
    pub fn new(content_encoding: Option<&str>, limit: usize) -> Result<Self, BodyError> {
        let declared = DeclaredCoding::by(content_encoding.unwrap_or_default())?;
        Ok(Self {
            state: DecoderState::Start {
                seen: Vec::new(),
                declared,
            },
            limit,
            wire_left: limit,
            left: limit,
            members: 0,
        })
    }

    /// Decodes a chunk and passes the decoded bytes to `sink`, in pieces.
    pub fn decode<E>(
        &mut self,
        chunk: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E>
    where
        E: From<BodyError>,
    {
        self.wire_left = self
            .wire_left
            .checked_sub(chunk.len())
            .ok_or(BodyError::TooLarge)?;
        let DecoderState::Start { seen, declared } = &mut self.state else {
            return self.run(chunk, sink);
        };
        if seen.is_empty() {
            if let Some(state) = begin(*declared, chunk)? {
                self.state = state;
                return self.run(chunk, sink);
            }
        }
        seen.extend_from_slice(chunk);
        if let Some(state) = begin(*declared, seen)? {
            let held = std::mem::take(seen);
            self.state = state;
            return self.run(&held, sink);
        }
        Ok(())
    }

    /// Ends the body. A truncated gzip stream is an error.
    pub fn finish<E>(&mut self, sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E>
    where
        E: From<BodyError>,
    {
        match &mut self.state {
            DecoderState::Start { seen, declared } => {
                let begins = seen.iter().find(|byte| !byte.is_ascii_whitespace());
                if *declared == DeclaredCoding::Gzip
                    && begins.is_some_and(|byte| !may_be_json(*byte))
                {
                    return Err(BodyError::Damaged.into());
                }
                let held = std::mem::take(seen);
                self.state = DecoderState::Plain;
                self.run(&held, sink)
            }
            DecoderState::Plain | DecoderState::Between => Ok(()),
            DecoderState::Gzip(gzip) if !gzip.fed => Ok(()),
            DecoderState::Gzip(_) => Err(BodyError::Damaged.into()),
        }
    }

    fn run<E>(
        &mut self,
        mut input: &[u8],
        sink: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E>
    where
        E: From<BodyError>,
    {
        while !input.is_empty() {
            match &mut self.state {
                DecoderState::Start { .. } | DecoderState::Plain => {
                    self.left = self
                        .left
                        .checked_sub(input.len())
                        .ok_or(BodyError::TooLarge)?;
                    return sink(input);
                }
                DecoderState::Between => {
                    // Skip zero padding after a member, as gzip itself does, and also before another
                    // member: the result must not depend on where the padding is split into chunks.
                    let padding = input.iter().position(|byte| *byte != 0);
                    let Some(padding) = padding else {
                        return Ok(());
                    };
                    input = input.get(padding..).unwrap_or_default();
                    self.members += 1;
                    if self.members > MEMBERS + (self.limit - self.left) / MEMBER_BYTES {
                        return Err(BodyError::Damaged.into());
                    }
                    self.state = DecoderState::Gzip(Box::new(Gzip::new()));
                }
                DecoderState::Gzip(gzip) => {
                    let mut out = [0_u8; STEP];
                    let (read, written, ended) = gzip.step(input, &mut out)?;
                    self.inflated(written)?;
                    if let Some(piece) = out.get(..written).filter(|piece| !piece.is_empty()) {
                        sink(piece)?;
                    }
                    input = input.get(read..).unwrap_or_default();
                    if ended {
                        self.state = DecoderState::Between;
                    }
                }
            }
        }
        self.drain(sink)
    }

    /// Counts inflated bytes and checks them against the limit and against the bytes from the wire.
    fn inflated(&mut self, bytes: usize) -> Result<(), BodyError> {
        self.left = self.left.checked_sub(bytes).ok_or(BodyError::TooLarge)?;
        let (out, wire) = (self.limit - self.left, self.limit - self.wire_left);
        match out > FREE.saturating_add(wire.saturating_mul(RATIO)) {
            true => Err(BodyError::TooLarge),
            false => Ok(()),
        }
    }

    /// Writes the bytes that zlib still holds when its input is used up but its output was full.
    fn drain<E>(&mut self, sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E>
    where
        E: From<BodyError>,
    {
        while let DecoderState::Gzip(gzip) = &mut self.state {
            let mut out = [0_u8; STEP];
            let (_, written, ended) = gzip.step(&[], &mut out)?;
            self.inflated(written)?;
            if let Some(piece) = out.get(..written).filter(|piece| !piece.is_empty()) {
                sink(piece)?;
            }
            if ended {
                self.state = DecoderState::Between;
            } else if written == 0 {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Returns the state for a body that begins with `first`, or none if more bytes are needed to decide.
///
/// A body with gzip's magic is gzip. A body that is declared as gzip but has no magic is plain if it
/// may be JSON, because a proxy before Hedgerow may have inflated it and left the header.
fn begin(declared: DeclaredCoding, first: &[u8]) -> Result<Option<DecoderState>, BodyError> {
    if first.len() < MAGIC.len() {
        return Ok(None);
    }
    if first.starts_with(&MAGIC) {
        return Ok(Some(DecoderState::Gzip(Box::new(Gzip::new()))));
    }
    if declared == DeclaredCoding::Nothing {
        return Ok(Some(DecoderState::Plain));
    }
    match first.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None if first.len() < BLANKS => Ok(None),
        Some(byte) if !may_be_json(*byte) => Err(BodyError::Damaged),
        _ => Ok(Some(DecoderState::Plain)),
    }
}

/// Whether a JSON body may begin with this byte. It may also be the first of a byte order mark.
fn may_be_json(first: u8) -> bool {
    matches!(first, b'{' | b'[' | 0xef)
}

impl Gzip {
    fn new() -> Self {
        Self {
            // 15 window bits are the maximum that gzip allows.
            inflate: Decompress::new_gzip(15),
            fed: false,
        }
    }

    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<(usize, usize, bool), BodyError> {
        let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
        self.fed |= !input.is_empty();
        let status = match self.inflate.decompress(input, out, FlushDecompress::None) {
            Ok(status) => status,
            Err(_) => return Err(BodyError::Damaged),
        };
        let read = usize::try_from(self.inflate.total_in() - before_in).unwrap_or(0);
        let written = usize::try_from(self.inflate.total_out() - before_out).unwrap_or(0);
        let ended = status == Status::StreamEnd;
        if !input.is_empty() && read == 0 && written == 0 && !ended {
            return Err(BodyError::Damaged);
        }
        Ok((read, written, ended))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn decode(
        encoding: Option<&str>,
        limit: usize,
        chunks: &[&[u8]],
    ) -> Result<Vec<u8>, BodyError> {
        let mut out = Vec::new();
        let mut sink = |piece: &[u8]| {
            out.extend_from_slice(piece);
            Ok::<(), BodyError>(())
        };
        let mut decoder = Decoder::new(encoding, limit)?;
        for chunk in chunks {
            decoder.decode(chunk, &mut sink)?;
        }
        decoder.finish(&mut sink)?;
        Ok(out)
    }

    #[test]
    fn gzip_is_found_by_header_and_by_magic_and_every_split_gives_the_same() {
        let plain = br#"{"batch":[{"type":"track","event":"A","userId":"u"}]}"#.repeat(40);
        let packed = gzip(&plain);
        for cut in 0..=packed.len() {
            let (a, b) = packed.split_at(cut);
            for encoding in [None, Some("gzip"), Some("GZIP")] {
                assert_eq!(
                    decode(encoding, 1 << 20, &[a, b]).as_deref(),
                    Ok(&plain[..])
                );
            }
        }
        let (a, b) = plain.split_at(1);
        assert_eq!(decode(None, 1 << 20, &[a, b]).as_deref(), Ok(&plain[..]));
        assert_eq!(
            decode(Some("gzip"), 1 << 20, &[a, b]).as_deref(),
            Ok(&plain[..])
        );
    }

    #[test]
    fn padding_between_gzip_members_is_ignored_for_every_cut() {
        let padded = [gzip(b"{"), vec![0; 40], gzip(b"}"), vec![0; 9]].concat();
        for chunk in 1..=padded.len() {
            let chunks: Vec<&[u8]> = padded.chunks(chunk).collect();
            assert_eq!(decode(None, 100, &chunks).as_deref(), Ok(&b"{}"[..]));
        }
    }

    #[test]
    fn a_bomb_is_stopped_by_its_ratio_and_a_repetitive_batch_is_not() {
        const LIMIT: usize = 10 << 20;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&b"1,".repeat(5_000_000)).unwrap();
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 60_000, "{}", bomb.len());
        for chunk in [bomb.len(), 100] {
            let chunks: Vec<&[u8]> = bomb.chunks(chunk).collect();
            assert_eq!(decode(None, LIMIT, &chunks), Err(BodyError::TooLarge));
        }
        // A body as large as SDKs send is accepted, whatever its compression ratio.
        let blank = vec![b' '; FREE];
        assert_eq!(decode(None, LIMIT, &[&gzip(&blank)]), Ok(blank));
        let message = |n: usize| {
            format!(
                r#"{{"type":"track","event":"Product Viewed","userId":"user-1","messageId":"node-next-{n:08}","properties":{{"price":129.95,"currency":"EUR"}}}},"#
            )
        };
        let batch: String = (0..60_000).map(message).collect();
        let packed = gzip(batch.as_bytes());
        assert_eq!(
            decode(None, LIMIT, &[&packed]).as_deref(),
            Ok(batch.as_bytes())
        );
    }

    #[test]
    fn for_an_unknown_coding_the_first_bytes_decide() {
        let plain = b" \n{\"type\":\"track\",\"event\":\"A\",\"userId\":\"u\"}";
        let packed = gzip(plain);
        for name in [
            "",
            "utf-8",
            "UTF8",
            "none",
            "binary",
            "8bit",
            "identity",
            "identity, gzip",
            "gzip, utf-8",
            " gzip , ",
            "x-GZIP",
            "application/json",
        ] {
            for body in [&plain[..], &packed] {
                for cut in 0..=body.len() {
                    let (a, b) = body.split_at(cut);
                    let got = decode(Some(name), 1 << 20, &[a, b]);
                    assert_eq!(got.as_deref(), Ok(&plain[..]), "{name:?} cut at {cut}");
                }
            }
        }
        let blank = vec![b' '; 3 * BLANKS];
        for size in [1, 7, BLANKS, blank.len()] {
            let pieces: Vec<&[u8]> = blank.chunks(size).collect();
            let got = decode(Some("gzip"), 1 << 20, &pieces);
            assert_eq!(got.as_deref(), Ok(&blank[..]), "pieces of {size}");
        }
    }

    #[test]
    fn members_with_next_to_nothing_in_them_end_soon_and_others_may_be_many() {
        for empty in [&b""[..], b" "] {
            let member = gzip(empty);
            assert!(decode(None, 1 << 20, &[&member.repeat(MEMBERS)]).is_ok());
            let many = member.repeat(MEMBERS + 2);
            assert_eq!(decode(None, 1 << 20, &[&many]), Err(BodyError::Damaged));
        }
        let member = gzip(&[b'x'; MEMBER_BYTES]);
        let many = decode(None, 1 << 20, &[&member.repeat(5000)]).unwrap();
        assert_eq!(many.len(), 5000 * MEMBER_BYTES);
    }

    #[test]
    fn members_that_follow_each_other_are_one_body() {
        let both = [gzip(b"{\"a\":"), gzip(b"1}")].concat();
        assert_eq!(
            decode(None, 100, &[&both]).as_deref(),
            Ok(&b"{\"a\":1}"[..])
        );
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit_and_not_after() {
        let packed = gzip(&vec![b' '; 1 << 20]);
        assert_eq!(
            decode(None, 1 << 20, &[&packed]).map(|body| body.len()),
            Ok(1 << 20)
        );
        assert_eq!(
            decode(None, (1 << 20) - 1, &[&packed]),
            Err(BodyError::TooLarge)
        );
        assert_eq!(decode(None, 3, &[b"{}  "]), Err(BodyError::TooLarge));
    }

    #[test]
    fn damaged_and_unknown_encodings_have_different_errors() {
        let packed = gzip(b"{}");
        assert_eq!(
            decode(None, 100, &[&packed[..packed.len() - 1]]),
            Err(BodyError::Damaged)
        );
        assert_eq!(
            decode(Some("gzip"), 100, &[b"\x00\x01"]),
            Err(BodyError::Damaged)
        );
        for name in ["br", "BR", "deflate", "gzip, zstd", "x-compress"] {
            let got = decode(Some(name), 100, &[b"{}"]);
            assert_eq!(got, Err(BodyError::UnknownEncoding), "{name}");
        }
        for cut in 0..=2 {
            let (a, b) = b"x{".split_at(cut);
            let got = decode(Some("gzip"), 100, &[a, b]);
            assert_eq!(got, Err(BodyError::Damaged), "cut at {cut}");
        }
        assert_eq!(
            decode(Some("gzip"), 100, &[b"\x1f"]),
            Err(BodyError::Damaged)
        );
        assert_eq!(decode(Some("gzip"), 100, &[b"{"]).as_deref(), Ok(&b"{"[..]));
        assert_eq!(decode(Some("gzip"), 100, &[]).as_deref(), Ok(&b""[..]));
    }
}
