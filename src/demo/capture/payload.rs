//! Decodes the bytes of a request to JSON text, in the order of capture's steps (posthog-ingestion 1.4).

use std::io::Read;

use base64::engine::general_purpose::STANDARD;
use base64::Engine as _;
use flate2::read::GzDecoder;

use super::lz::{self, LzFault};
use super::query::{CaptureQuery, Compression};
use super::refusal::CaptureRefusal;
use crate::handler::{pairs, Request};

/// The most bytes of a v0 events request on the wire (posthog-ingestion 5.1).
pub(super) const WIRE_LIMIT: usize = 20 << 20;

/// The most bytes after decompression: five times the limit on the wire (posthog-ingestion 5.1).
const INFLATED_LIMIT: usize = 5 * WIRE_LIMIT;

/// The number of bytes that capture inspects to guess an encoding.
const SNIPPET: usize = 128;

/// Reads the JSON text of a request.
pub(super) fn decode(request: &Request, query: &CaptureQuery) -> Result<String, CaptureRefusal> {
    let mut bytes = match &query.data {
        Some(data) => data.clone().into_bytes(),
        None => request.body.to_vec(),
    };
    if bytes.is_empty() {
        return Err(CaptureRefusal::EmptyPayload);
    }
    if !looks_like_form(&bytes) && looks_like_base64(&bytes) {
        bytes = from_base64(&bytes)?;
    }

    let mut form_hint = None;
    // Capture compares the whole value, so with a charset it does not read a form (1.4, step 3).
    if request.header("content-type") == Some("application/x-www-form-urlencoded") {
        if !looks_like_form(&bytes) {
            return Err(CaptureRefusal::Decode("expected form data"));
        }
        let text =
            String::from_utf8(bytes).map_err(|_| CaptureRefusal::Decode("invalid form data"))?;
        let mut data = String::new();
        for (name, value) in pairs(&text) {
            match name.as_str() {
                "data" => data = value,
                "compression" => form_hint = Compression::from_hint(&value),
                _ => {}
            }
        }
        if data.is_empty() {
            return Err(CaptureRefusal::EmptyPayload);
        }
        // Some senders do not escape the + of base64, and form decoding replaces it by a space.
        let restored = data.replace(' ', "+");
        if looks_like_base64(restored.as_bytes()) {
            data = restored;
        }
        bytes = data.into_bytes();
    }

    let hint = query.compression.or(form_hint).or_else(|| {
        request
            .header("content-encoding")
            .and_then(Compression::from_content_encoding)
    });
    let text = if hint == Some(Compression::Gzip) || bytes.starts_with(&[0x1f, 0x8b, 0x08]) {
        utf8(inflate(&bytes)?)?
    } else if hint == Some(Compression::Lz64) {
        lz::unpack(&bytes, INFLATED_LIMIT / 2).map_err(|fault| match fault {
            LzFault::Broken => CaptureRefusal::Decode("invalid LZ64 data"),
            LzFault::TooLarge => CaptureRefusal::TooLarge("decompressed payload"),
        })?
    } else {
        utf8(bytes)?
    };

    let late_base64 = matches!(
        request.path.trim_end_matches('/'),
        "/e" | "/capture" | "/engage" | "/track"
    );
    if late_base64 && looks_like_base64(text.as_bytes()) {
        return utf8(from_base64(text.as_bytes())?);
    }
    Ok(text)
}

fn utf8(bytes: Vec<u8>) -> Result<String, CaptureRefusal> {
    String::from_utf8(bytes).map_err(|_| CaptureRefusal::Decode("invalid UTF-8"))
}

fn from_base64(bytes: &[u8]) -> Result<Vec<u8>, CaptureRefusal> {
    let decoded = STANDARD.decode(bytes);
    decoded.map_err(|_| CaptureRefusal::Decode("invalid base64 data"))
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>, CaptureRefusal> {
    let mut inflated = Vec::new();
    let mut limited = GzDecoder::new(bytes).take(INFLATED_LIMIT as u64 + 1);
    limited
        .read_to_end(&mut inflated)
        .map_err(|_| CaptureRefusal::Decode("invalid GZIP data"))?;
    if inflated.len() > INFLATED_LIMIT {
        return Err(CaptureRefusal::TooLarge("decompressed payload"));
    }
    Ok(inflated)
}

fn snippet(bytes: &[u8]) -> &[u8] {
    bytes.get(..SNIPPET).unwrap_or(bytes)
}

fn looks_like_form(bytes: &[u8]) -> bool {
    snippet(bytes).split(|byte| *byte == b'&').any(|pair| {
        [&b"data="[..], b"_=", b"ip=", b"compression="]
            .iter()
            .any(|name| pair.starts_with(name))
    })
}

fn looks_like_base64(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.len().is_multiple_of(4)
        && snippet(bytes)
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
}
