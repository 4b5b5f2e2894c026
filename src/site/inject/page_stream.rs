//! One page that gets the snippet while it streams to the visitor.

use std::fmt;
use std::io;

use bytes::Bytes;
use thiserror::Error;

use super::coding::{Coding, Unpacker};
use super::scan::Injector;

/// The declared compression is wrong, the data ends too early, or it inflates beyond the limit after its
/// beginning was sent. The answer must not end as if it were complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the page's compressed bytes are damaged, or inflate to far more than their size")]
pub struct BrokenPage;

/// Puts the snippet into one page while it streams to the visitor.
///
/// A compressed page that inflates beyond the limit goes on as the server has sent it, without the snippet,
/// if nothing of it has been sent to the visitor yet. So the first bytes of a page that inflates far more
/// than others are held until that is known.
pub struct PageStream {
    decoder: PageDecoder,
    begun: OutputBegun,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OutputBegun {
    No,
    Yes,
}

enum PageDecoder {
    Plain(Injector),
    /// The page is unpacked and packed again. `Held` until the visitor gets its first bytes.
    Packed(Box<Unpacker>, Option<Held>),
    /// The page goes on as the server sends it.
    Untouched,
    Over,
}

/// The first bytes of a page that inflates far.
#[derive(Default)]
struct Held {
    /// As the server has sent them.
    original: Vec<u8>,
    /// With the snippet.
    changed: Vec<u8>,
}

impl PageStream {
    /// Creates the stream for a page in this coding that gets this snippet.
    pub fn new(snippet: Bytes, coding: Coding) -> io::Result<Self> {
        let injector = Injector::new(snippet);
        let decoder = match Unpacker::new(injector, coding)? {
            Ok(unpacker) => PageDecoder::Packed(Box::new(unpacker), Some(Held::default())),
            Err(injector) => PageDecoder::Plain(injector),
        };
        Ok(Self {
            decoder,
            begun: OutputBegun::No,
        })
    }

    /// Takes the next bytes of the page from the server and returns the bytes for the visitor. They
    /// include everything that the server has sent so far, so that a slow page appears early; only the
    /// first bytes of a page that inflates a hundredfold may be held for some time.
    ///
    /// # Errors
    ///
    /// When the bytes do not match the page's coding, or inflate beyond the limit after others were returned.
    pub fn feed(&mut self, chunk: Bytes) -> Result<Bytes, BrokenPage> {
        if chunk.is_empty() {
            return Ok(chunk);
        }
        self.begun = OutputBegun::Yes;
        let (unpacker, held) = match &mut self.decoder {
            PageDecoder::Plain(injector) => return Ok(injector.feed(chunk)),
            PageDecoder::Packed(unpacker, held) => (unpacker, held),
            PageDecoder::Untouched => return Ok(chunk),
            PageDecoder::Over => return Err(BrokenPage),
        };
        let changed = unpacker.feed(&chunk);
        let Some(mut first) = held.take() else {
            return changed.map_err(|_| BrokenPage);
        };
        match changed {
            Ok(changed) if unpacker.is_ordinary() => {
                unpacker.begun();
                match first.changed.is_empty() {
                    true => Ok(changed),
                    false => Ok(Bytes::from([&first.changed[..], &changed[..]].concat())),
                }
            }
            Ok(changed) => {
                first.original.extend_from_slice(&chunk);
                first.changed.extend_from_slice(&changed);
                *held = Some(first);
                Ok(Bytes::new())
            }
            Err(_) if unpacker.is_excessive() => {
                self.decoder = PageDecoder::Untouched;
                first.original.extend_from_slice(&chunk);
                Ok(Bytes::from(first.original))
            }
            Err(_) => Err(BrokenPage),
        }
    }

    /// Whether the page is unpacked and packed again; then a few bytes may need much work.
    pub fn is_packed(&self) -> bool {
        matches!(self.decoder, PageDecoder::Packed(..))
    }

    /// Whether the page goes on without the snippet, as the server sends it.
    pub fn is_untouched(&self) -> bool {
        matches!(self.decoder, PageDecoder::Untouched)
    }

    /// Ends the page and returns its last bytes.
    ///
    /// # Errors
    ///
    /// When a compressed page is incomplete.
    pub fn finish(&mut self) -> Result<Bytes, BrokenPage> {
        match std::mem::replace(&mut self.decoder, PageDecoder::Over) {
            PageDecoder::Plain(mut injector) => Ok(injector.finish()),
            // If no bytes have arrived, the page is empty, whatever coding its header names.
            PageDecoder::Packed(..) if self.begun == OutputBegun::No => Ok(Bytes::new()),
            PageDecoder::Packed(unpacker, held) => {
                let last = unpacker.finish().map_err(|_| BrokenPage)?;
                let first = held.map(|held| held.changed).unwrap_or_default();
                Ok(Bytes::from([&first[..], &last[..]].concat()))
            }
            PageDecoder::Untouched => Ok(Bytes::new()),
            PageDecoder::Over => Err(BrokenPage),
        }
    }
}

impl fmt::Debug for PageStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PageStream")
            .field("begun", &self.begun)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "page_stream_tests.rs"]
mod tests;
