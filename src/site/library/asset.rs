//! A file that is held in memory in up to three encodings, and the answer to a request for it.

use std::io::Write;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use flate2::write::GzEncoder;
use flate2::Compression;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use sha1::{Digest, Sha1};

/// How long browsers and caches may keep a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachePolicy {
    /// One year, because the address changes with the content.
    Immutable,
    /// 10 minutes, for the loader, whose address stays the same. For a day after that a cache may
    /// serve the old copy while it fetches a new one, or while Hedgerow is unreachable.
    Loader,
}

impl CachePolicy {
    fn value(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Immutable => "public, max-age=31536000, immutable",
            Self::Loader => {
                "public, max-age=600, stale-while-revalidate=86400, stale-if-error=86400"
            }
        })
    }
}

/// A script in plain form and, if that makes it smaller, in gzip and Brotli. Each form has its own
/// strong ETag.
///
/// Clones share the bytes.
#[derive(Debug, Clone)]
pub struct Asset {
    policy: CachePolicy,
    /// In order of preference: the smallest first, the plain one last.
    variants: Vec<EncodedForm>,
}

#[derive(Debug, Clone)]
struct EncodedForm {
    encoding: AssetCoding,
    body: Bytes,
    etag: HeaderValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AssetCoding {
    Brotli,
    Gzip,
    Identity,
}

impl AssetCoding {
    /// The part that distinguishes this encoding's ETag from the others'.
    fn mark(self) -> char {
        match self {
            Self::Brotli => 'r',
            Self::Gzip => 'z',
            Self::Identity => 'p',
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
            Self::Identity => "identity",
        }
    }
}

impl Asset {
    /// Compresses a script. This is slow, so it is done only at start.
    pub(super) fn script(bytes: Vec<u8>, policy: CachePolicy) -> Self {
        let mut hash = HEXLOWER.encode(&Sha1::digest(&bytes));
        hash.truncate(20);
        let variant = |encoding: AssetCoding, body: Vec<u8>| EncodedForm {
            encoding,
            body: Bytes::from(body),
            etag: etag(&hash, encoding),
        };
        let mut variants = Vec::with_capacity(3);
        if let Some(body) = brotli(&bytes) {
            variants.push(variant(AssetCoding::Brotli, body));
        }
        if let Some(body) = gzip(&bytes) {
            variants.push(variant(AssetCoding::Gzip, body));
        }
        variants.retain(|variant| variant.body.len() < bytes.len());
        variants.sort_by_key(|variant| variant.body.len());
        variants.push(variant(AssetCoding::Identity, bytes));
        Self { policy, variants }
    }

    /// Returns the plain bytes.
    pub fn bytes(&self) -> &Bytes {
        static EMPTY: Bytes = Bytes::new();
        self.variants.last().map_or(&EMPTY, |variant| &variant.body)
    }

    /// Returns the answer to a GET with these headers (several lines of one header are joined by
    /// commas).
    ///
    /// A client that accepts no encoding of the script, not even the plain one, gets the plain one
    /// (RFC 9110, 12.5.3 allows it).
    pub fn choose(
        &self,
        accept_encoding: Option<&str>,
        if_none_match: Option<&str>,
    ) -> Response<Bytes> {
        let mut answer = Response::new(Bytes::new());
        let Some(variant) = self.variant(accept_encoding.unwrap_or_default()) else {
            *answer.status_mut() = StatusCode::NOT_FOUND;
            return answer;
        };
        let fixed = HeaderValue::from_static;
        let headers = answer.headers_mut();
        headers.insert(header::CACHE_CONTROL, self.policy.value());
        headers.insert(header::ETAG, variant.etag.clone());
        headers.insert(header::VARY, fixed("Accept-Encoding"));
        // A script tag with `crossorigin`, and pages that isolate themselves, need these two
        // when the page is on another host.
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, fixed("*"));
        headers.insert("cross-origin-resource-policy", fixed("cross-origin"));
        if if_none_match.is_some_and(|condition| etag_matches(condition, &variant.etag)) {
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            return answer;
        }
        headers.insert(
            header::CONTENT_TYPE,
            fixed("text/javascript; charset=utf-8"),
        );
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
        headers.insert(header::CONTENT_LENGTH, variant.body.len().into());
        if variant.encoding != AssetCoding::Identity {
            headers.insert(header::CONTENT_ENCODING, fixed(variant.encoding.name()));
        }
        answer.body_mut().clone_from(&variant.body);
        answer
    }

    /// Returns the smallest variant among those with the highest weight.
    fn variant(&self, accept_encoding: &str) -> Option<&EncodedForm> {
        let mut best: Option<(&EncodedForm, u16)> = None;
        for variant in &self.variants {
            let weight = weight(accept_encoding, variant.encoding);
            if weight > best.map_or(0, |(_, weight)| weight) {
                best = Some((variant, weight));
            }
        }
        best.map(|(variant, _)| variant).or(self.variants.last())
    }
}

/// Returns the client's weight for an encoding, 0 to 1000 (RFC 9110, 12.5.3). An encoding that is
/// not listed gets the weight of `*`. Without `*` it gets 0, except the plain one, which gets 1, so
/// that the client's listed encodings are preferred.
fn weight(accept_encoding: &str, encoding: AssetCoding) -> u16 {
    let mut any = None;
    for item in accept_encoding.split(',') {
        let mut parts = item.split(';');
        let name = parts.next().unwrap_or_default().trim();
        let weight = parts
            .find_map(|parameter| {
                let (key, value) = parameter.split_once('=')?;
                key.trim().eq_ignore_ascii_case("q").then_some(value.trim())
            })
            .map_or(1000, thousandths);
        let gzip_by_old_name = encoding == AssetCoding::Gzip && name.eq_ignore_ascii_case("x-gzip");
        if name.eq_ignore_ascii_case(encoding.name()) || gzip_by_old_name {
            return weight;
        }
        if name == "*" {
            any = Some(weight);
        }
    }
    match (any, encoding) {
        (Some(weight), _) => weight,
        (None, AssetCoding::Identity) => 1,
        (None, _) => 0,
    }
}

/// Converts a weight such as `0.8` to thousandths. An invalid weight gives 0.
fn thousandths(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if fraction.len() > 3 || !digits(fraction) {
        return 0;
    }
    match whole {
        "1" => 1000,
        "0" => format!("{fraction:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

/// Returns a strong tag, which must differ between the encodings of one content (RFC 9110, 8.8.3.3).
fn etag(hash: &str, encoding: AssetCoding) -> HeaderValue {
    let tag = format!("\"{hash}{}\"", encoding.mark());
    // Hexadecimal digits in quotes are always a valid value, so the fallback is never used.
    HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Returns whether `If-None-Match` contains the tag, by the weak comparison (RFC 9110, 13.1.2).
pub(in crate::site) fn etag_matches(condition: &str, etag: &HeaderValue) -> bool {
    let Ok(etag) = etag.to_str() else {
        return false;
    };
    let plain = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    condition.trim() == "*"
        || condition
            .split(',')
            .any(|candidate| plain(candidate.trim()) == plain(etag))
}

fn gzip(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

fn brotli(bytes: &[u8]) -> Option<Vec<u8>> {
    let parameters = brotli::enc::BrotliEncoderParams {
        mode: brotli::enc::backward_references::BrotliEncoderMode::BROTLI_MODE_TEXT,
        size_hint: bytes.len(),
        ..Default::default()
    };
    let mut output = Vec::new();
    brotli::BrotliCompress(&mut std::io::Cursor::new(bytes), &mut output, &parameters).ok()?;
    Some(output)
}
