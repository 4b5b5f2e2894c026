//! Compressed pages: they are unpacked, changed, and packed again in the same coding while they stream
//! through.
//!
//! The server and the visitor's browser still decide whether and how pages are compressed. A server that
//! ignores `Accept-Encoding` works as well.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::{GzEncoder, ZlibEncoder};
use flate2::{Compression, Decompress, FlushDecompress, Status};
use http::header::{self, HeaderMap, HeaderValue};

use super::scan::Injector;

/// The compression levels for packing pages again: those that servers commonly use for pages that they
/// generate per request.
const GZIP_LEVEL: u32 = 5;
const BROTLI_QUALITY: u32 = 4;
const ZSTD_LEVEL: i32 = 3;
/// Brotli's window, as a power of two: 256 KiB, more than most pages have.
const BROTLI_WINDOW: u32 = 18;
/// The largest window that a page may use, as a power of two: 8 MiB, as browsers allow (RFC 9659).
const ZSTD_WINDOW: u32 = 23;
/// The plain bytes that are processed at once. However far a piece inflates, no more of its plain bytes
/// are held in memory.
const SLICE: usize = 16 * 1024;

/// The limit of a page's inflated size: `RATIO` times its packed size, and `FREE` bytes more until the first
/// byte has been sent to the visitor, `BEGUN` bytes more from then on. The limits are needed because each
/// byte is unpacked and packed again while other requests wait.
const FREE: u64 = 8 << 20;
const BEGUN: u64 = 64 << 20;
const RATIO: u64 = 100;
/// A page that inflates to fewer bytes than this is ordinary, whatever its packed size.
const ORDINARY: u64 = 1 << 20;
/// The packed bytes after which a page is ordinary: from then on, it may inflate to more than `FREE` as well.
const KNOWN: u64 = 128 << 10;
/// The bytes that each further member of a gzip body counts at least, because each has its own tables.
const MEMBER: u64 = 4 << 10;

/// A content coding in which pages can be changed (RFC 9110, 8.4.1; RFC 7932; RFC 8878).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// No coding.
    Identity,
    /// `gzip`.
    Gzip,
    /// `deflate`: zlib, or raw deflate without the zlib frame, as some servers send it.
    Deflate,
    /// `br`.
    Brotli,
    /// `zstd`.
    Zstd,
}

impl Coding {
    fn from_token(token: &str) -> Option<Self> {
        let names = [
            ("identity", Self::Identity),
            ("gzip", Self::Gzip),
            ("x-gzip", Self::Gzip),
            ("deflate", Self::Deflate),
            ("br", Self::Brotli),
            ("zstd", Self::Zstd),
        ];
        let named = names
            .iter()
            .find(|(name, _)| token.eq_ignore_ascii_case(name));
        named.map(|(_, coding)| *coding)
    }

    /// Returns the coding of an answer; `None` if it is not known or several were applied.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut found = Self::Identity;
        for value in headers.get_all(header::CONTENT_ENCODING) {
            for token in value.to_str().ok()?.split(',') {
                match (found, Self::from_token(token.trim())?) {
                    (_, Self::Identity) => {}
                    (Self::Identity, coding) => found = coding,
                    _ => return None,
                }
            }
        }
        Some(found)
    }
}

/// Returns `Accept-Encoding` for the server: the codings that the browser accepts and in which pages
/// can be changed. Dictionary codings and `*` are omitted. Returns `None` if the browser sent no
/// `Accept-Encoding`; then the server gets none either.
pub fn accepted(headers: &HeaderMap) -> Option<HeaderValue> {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let lists: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    if lists.is_empty() {
        return None;
    }
    let items = lists.iter().flat_map(|list| list.split(',')).map(str::trim);
    let known: Vec<&str> = items
        .filter(|item| {
            let token = item.split(';').next().unwrap_or_default().trim_end();
            Coding::from_token(token).is_some()
        })
        .collect();
    let list = match known.as_slice() {
        [] => "identity".to_owned(),
        known => known.join(", "),
    };
    HeaderValue::from_str(&list).ok()
}

/// Takes plain bytes, puts the snippet in, and packs them.
pub(super) struct PageEditor {
    injector: Injector,
    packer: Packer,
    /// The packed bytes that have arrived so far.
    received: u64,
    /// The bytes to which they have inflated.
    inflated: u64,
    /// The bytes to which they may inflate, whatever their number.
    free: u64,
}

impl Write for PageEditor {
    fn write(&mut self, plain: &[u8]) -> io::Result<usize> {
        self.count(plain.len() as u64)?;
        let changed = self.injector.feed(Bytes::copy_from_slice(plain));
        self.packer.write_all(&changed)?;
        Ok(plain.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl PageEditor {
    /// Adds to the inflated bytes, and fails when they exceed the limit.
    fn count(&mut self, more: u64) -> io::Result<()> {
        self.inflated = self.inflated.saturating_add(more);
        match self.is_excessive() {
            true => Err(io::ErrorKind::InvalidData.into()),
            false => Ok(()),
        }
    }

    fn is_excessive(&self) -> bool {
        self.inflated
            > self
                .received
                .saturating_mul(RATIO)
                .saturating_add(self.free)
    }

    /// Whether the page has inflated like other pages so far.
    fn is_ordinary(&self) -> bool {
        self.inflated <= ORDINARY.max(self.received.saturating_mul(RATIO)) || self.received > KNOWN
    }

    fn finish(mut self) -> io::Result<Bytes> {
        let last = self.injector.finish();
        self.packer.write_all(&last)?;
        self.packer.finish()
    }
}

enum Packer {
    Gzip(GzEncoder<Vec<u8>>),
    Zlib(ZlibEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Packer {
    fn write_all(&mut self, plain: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(packer) => packer.write_all(plain),
            Self::Zlib(packer) => packer.write_all(plain),
            Self::Brotli(packer) => packer.write_all(plain),
            Self::Zstd(packer) => packer.write_all(plain),
        }
    }

    /// Flushes and returns the packed bytes, so that the browser can unpack everything so far.
    fn so_far(&mut self) -> io::Result<Bytes> {
        let packed = match self {
            Self::Gzip(packer) => {
                packer.flush()?;
                packer.get_mut()
            }
            Self::Zlib(packer) => {
                packer.flush()?;
                packer.get_mut()
            }
            Self::Brotli(packer) => {
                packer.flush()?;
                packer.get_mut()
            }
            Self::Zstd(packer) => {
                packer.flush()?;
                packer.get_mut()
            }
        };
        Ok(Bytes::from(std::mem::take(packed)))
    }

    fn finish(self) -> io::Result<Bytes> {
        let packed = match self {
            Self::Gzip(packer) => packer.finish()?,
            Self::Zlib(packer) => packer.finish()?,
            Self::Brotli(packer) => packer.into_inner(),
            Self::Zstd(packer) => packer.finish()?,
        };
        Ok(Bytes::from(packed))
    }
}

pub(super) enum Unpacker {
    Inflate(Inflate),
    Brotli(Box<brotli::DecompressorWriter<PageEditor>>),
    Zstd(zstd::stream::write::Decoder<'static, PageEditor>),
}

impl Unpacker {
    /// Creates the unpacker; returns the injector in `Err` if the coding needs no unpacking.
    pub(super) fn new(injector: Injector, coding: Coding) -> io::Result<Result<Self, Injector>> {
        let out = Vec::new();
        let packer = match coding {
            Coding::Identity => return Ok(Err(injector)),
            Coding::Gzip => Packer::Gzip(GzEncoder::new(out, Compression::new(GZIP_LEVEL))),
            Coding::Deflate => Packer::Zlib(ZlibEncoder::new(out, Compression::new(GZIP_LEVEL))),
            Coding::Brotli => {
                let packer =
                    brotli::CompressorWriter::new(out, SLICE, BROTLI_QUALITY, BROTLI_WINDOW);
                Packer::Brotli(Box::new(packer))
            }
            Coding::Zstd => Packer::Zstd(zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?),
        };
        let editor = PageEditor {
            injector,
            packer,
            received: 0,
            inflated: 0,
            free: FREE,
        };
        Ok(Ok(match coding {
            Coding::Brotli => {
                Self::Brotli(Box::new(brotli::DecompressorWriter::new(editor, SLICE)))
            }
            Coding::Zstd => {
                let mut unpacker = zstd::stream::write::Decoder::new(editor)?;
                unpacker.window_log_max(ZSTD_WINDOW)?;
                Self::Zstd(unpacker)
            }
            Coding::Gzip => Self::Inflate(Inflate::new(DeflateFrame::Gzip, editor)),
            Coding::Identity | Coding::Deflate => {
                Self::Inflate(Inflate::new(DeflateFrame::Unknown, editor))
            }
        }))
    }

    fn editor(&mut self) -> &mut PageEditor {
        match self {
            Self::Inflate(inflate) => &mut inflate.editor,
            Self::Brotli(unpacker) => unpacker.get_mut(),
            Self::Zstd(unpacker) => unpacker.get_mut(),
        }
    }

    /// Whether the page inflates beyond the limit. Nothing more can be unpacked then.
    pub(super) fn is_excessive(&mut self) -> bool {
        self.editor().is_excessive()
    }

    /// Whether the page has inflated like other pages so far.
    pub(super) fn is_ordinary(&mut self) -> bool {
        self.editor().is_ordinary()
    }

    /// Records that the visitor gets the first bytes of the page.
    pub(super) fn begun(&mut self) {
        self.editor().free = BEGUN;
    }

    pub(super) fn feed(&mut self, packed: &[u8]) -> io::Result<Bytes> {
        let editor = self.editor();
        editor.received = editor.received.saturating_add(packed.len() as u64);
        match self {
            Self::Inflate(inflate) => {
                inflate.feed(packed)?;
                inflate.editor.packer.so_far()
            }
            Self::Brotli(unpacker) => {
                let mut rest = packed;
                while !rest.is_empty() {
                    let taken = unpacker.write(rest)?;
                    rest = rest.get(taken..).unwrap_or_default();
                    if taken == 0 {
                        // The page has ended; browsers also ignore the bytes after it.
                        break;
                    }
                }
                unpacker.get_mut().packer.so_far()
            }
            Self::Zstd(unpacker) => {
                unpacker.write_all(packed)?;
                unpacker.flush()?;
                unpacker.get_mut().packer.so_far()
            }
        }
    }

    pub(super) fn finish(self) -> io::Result<Bytes> {
        match self {
            Self::Inflate(inflate) => inflate.finish(),
            Self::Brotli(mut unpacker) => {
                unpacker.close()?;
                let editor = (*unpacker).into_inner();
                editor.map_err(|_| io::ErrorKind::InvalidData)?.finish()
            }
            Self::Zstd(unpacker) => unpacker.finish()?.finish(),
        }
    }
}

/// The format around the deflated bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeflateFrame {
    Gzip,
    /// The header states `deflate`, and no byte has arrived yet.
    Unknown,
    /// One byte has arrived; the second one shows whether it is zlib (RFC 1950, 2.2).
    Half(u8),
    Zlib,
    /// Deflate without a frame.
    Raw,
}

pub(super) struct Inflate {
    frame: DeflateFrame,
    inflate: Decompress,
    progress: PageProgress,
    plain: Vec<u8>,
    editor: PageEditor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PageProgress {
    Within,
    /// A whole page, or a whole member of gzip, has arrived.
    Ended,
}

impl Inflate {
    fn new(frame: DeflateFrame, editor: PageEditor) -> Self {
        Self {
            frame,
            inflate: Decompress::new_gzip(15),
            progress: PageProgress::Within,
            plain: vec![0; SLICE],
            editor,
        }
    }

    fn feed(&mut self, packed: &[u8]) -> io::Result<()> {
        let (first, second, rest) = match (self.frame, packed) {
            (DeflateFrame::Unknown, [first]) => {
                self.frame = DeflateFrame::Half(*first);
                return Ok(());
            }
            (DeflateFrame::Unknown, [first, second, ..]) => (*first, *second, packed),
            (DeflateFrame::Half(first), [second, ..]) => (first, *second, packed),
            _ => return self.inflate(packed),
        };
        let zlib = first & 0x0f == 8 && u16::from_be_bytes([first, second]) % 31 == 0;
        let before = self.frame;
        self.frame = if zlib {
            DeflateFrame::Zlib
        } else {
            DeflateFrame::Raw
        };
        self.inflate = Decompress::new(zlib);
        if before != DeflateFrame::Unknown {
            self.inflate(&[first])?;
        }
        self.inflate(rest)
    }

    fn inflate(&mut self, mut packed: &[u8]) -> io::Result<()> {
        loop {
            if self.progress == PageProgress::Ended {
                // Another member may follow in gzip (RFC 1952, 2.2). All other bytes after the end are
                // ignored, as in browsers.
                if self.frame != DeflateFrame::Gzip || packed.first() != Some(&0x1f) {
                    return Ok(());
                }
                self.editor.count(MEMBER)?;
                self.inflate = Decompress::new_gzip(15);
                self.progress = PageProgress::Within;
            }
            let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self
                .inflate
                .decompress(packed, &mut self.plain, FlushDecompress::None)
                .map_err(|_| io::ErrorKind::InvalidData)?;
            let read = (self.inflate.total_in() - read) as usize;
            let written = (self.inflate.total_out() - written) as usize;
            packed = packed.get(read..).unwrap_or_default();
            self.editor
                .write_all(self.plain.get(..written).unwrap_or_default())?;
            match status {
                Status::StreamEnd => self.progress = PageProgress::Ended,
                // The slice is full: more plain bytes may follow without another byte from the server.
                Status::Ok | Status::BufError if written == self.plain.len() => {}
                Status::Ok | Status::BufError if packed.is_empty() => return Ok(()),
                Status::Ok | Status::BufError if read == 0 && written == 0 => {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Status::Ok | Status::BufError => {}
            }
        }
    }

    fn finish(self) -> io::Result<Bytes> {
        match self.progress {
            PageProgress::Ended => self.editor.finish(),
            PageProgress::Within => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
