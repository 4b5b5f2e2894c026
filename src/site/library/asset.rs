//! A file that is held in memory in three encodings, and the answer to a request for it.

use std::io::Write;

use bytes::Bytes;
use flate2::write::GzEncoder;
use flate2::Compression;
use http::header::{self, HeaderName, HeaderValue};
use http::StatusCode;
use sha1::{Digest, Sha1};

/// How long a file may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachePolicy {
    /// The address changes with the content: a year.
    Immutable,
    /// The loader, whose address stays: 10 minutes, and a day when we are away.
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

/// A script: its bytes as they are, as gzip and as Brotli, each with its own strong ETag.
///
/// Clones share the bytes.
#[derive(Debug, Clone)]
pub struct Asset {
    policy: CachePolicy,
    /// In order of preference: the smallest first, the plain one last.
    variants: Vec<Variant>,
}

#[derive(Debug, Clone)]
struct Variant {
    encoding: Encoding,
    body: Bytes,
    etag: HeaderValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Brotli,
    Gzip,
    Identity,
}

impl Encoding {
    /// What tells this encoding's ETag from the others'.
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

/// The answer to a GET; for a HEAD leave the body out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// 200 or 304.
    pub status: StatusCode,
    /// All headers of the answer; `Content-Length` only on a 200.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Empty on a 304.
    pub body: Bytes,
}

impl Asset {
    /// A script with its encodings made now; slow, so only at start.
    pub(super) fn script(bytes: Vec<u8>, policy: CachePolicy) -> Self {
        let digest = Sha1::digest(&bytes);
        let mut hash = String::new();
        for byte in digest.iter().take(10) {
            hash.push_str(&format!("{byte:02x}"));
        }
        let variant = |encoding: Encoding, body: Vec<u8>| Variant {
            encoding,
            body: Bytes::from(body),
            etag: etag(&hash, encoding),
        };
        let mut variants = Vec::with_capacity(3);
        if let Some(body) = brotli(&bytes) {
            variants.push(variant(Encoding::Brotli, body));
        }
        if let Some(body) = gzip(&bytes) {
            variants.push(variant(Encoding::Gzip, body));
        }
        variants.retain(|variant| variant.body.len() < bytes.len());
        variants.sort_by_key(|variant| variant.body.len());
        variants.push(variant(Encoding::Identity, bytes));
        Self { policy, variants }
    }

    /// The plain bytes.
    pub fn bytes(&self) -> &Bytes {
        static EMPTY: Bytes = Bytes::new();
        self.variants.last().map_or(&EMPTY, |variant| &variant.body)
    }

    /// The answer to a GET with these headers (several lines of one header joined by commas).
    ///
    /// A client that takes none of our encodings, not even the plain one, gets the plain one
    /// (RFC 9110, 12.5.3 allows it).
    pub fn choose(&self, accept_encoding: Option<&str>, if_none_match: Option<&str>) -> Served {
        let Some(variant) = self.variant(accept_encoding.unwrap_or_default()) else {
            return Served {
                status: StatusCode::NOT_FOUND,
                headers: Vec::new(),
                body: Bytes::new(),
            };
        };
        let mut headers = vec![
            (header::CACHE_CONTROL, self.policy.value()),
            (header::ETAG, variant.etag.clone()),
            (header::VARY, HeaderValue::from_static("Accept-Encoding")),
            // A script tag with `crossorigin`, and pages that isolate themselves, need these two
            // when the page is on another host.
            (
                header::ACCESS_CONTROL_ALLOW_ORIGIN,
                HeaderValue::from_static("*"),
            ),
            (
                HeaderName::from_static("cross-origin-resource-policy"),
                HeaderValue::from_static("cross-origin"),
            ),
        ];
        if if_none_match.is_some_and(|condition| etag_matches(condition, &variant.etag)) {
            return Served {
                status: StatusCode::NOT_MODIFIED,
                headers,
                body: Bytes::new(),
            };
        }
        headers.push((
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/javascript; charset=utf-8"),
        ));
        headers.push((
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ));
        headers.push((
            header::CONTENT_LENGTH,
            HeaderValue::from(variant.body.len()),
        ));
        if variant.encoding != Encoding::Identity {
            headers.push((
                header::CONTENT_ENCODING,
                HeaderValue::from_static(variant.encoding.name()),
            ));
        }
        Served {
            status: StatusCode::OK,
            headers,
            body: variant.body.clone(),
        }
    }

    /// The smallest variant among those with the highest weight.
    fn variant(&self, accept_encoding: &str) -> Option<&Variant> {
        let mut best: Option<(&Variant, u16)> = None;
        for variant in &self.variants {
            let weight = weight(accept_encoding, variant.encoding);
            if weight > best.map_or(0, |(_, weight)| weight) {
                best = Some((variant, weight));
            }
        }
        best.map(|(variant, _)| variant).or(self.variants.last())
    }
}

/// How much a client wants an encoding, 0 to 1000 (RFC 9110, 12.5.3). An encoding that is not
/// listed is not wanted, the plain one a little, so that any listed encoding comes first.
fn weight(accept_encoding: &str, encoding: Encoding) -> u16 {
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
        let gzip_by_old_name = encoding == Encoding::Gzip && name.eq_ignore_ascii_case("x-gzip");
        if name.eq_ignore_ascii_case(encoding.name()) || gzip_by_old_name {
            return weight;
        }
        if name == "*" {
            any = Some(weight);
        }
    }
    match (any, encoding) {
        (Some(weight), _) => weight,
        (None, Encoding::Identity) => 1,
        (None, _) => 0,
    }
}

/// A weight such as `0.8` as thousandths; anything odd counts as not wanted.
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

/// A strong tag, so it must differ between the encodings of one content (RFC 9110, 8.8.3.3).
fn etag(hash: &str, encoding: Encoding) -> HeaderValue {
    let tag = format!("\"{hash}{}\"", encoding.mark());
    // Hexadecimal digits in quotes are always a valid value; without a tag nothing would match.
    HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether `If-None-Match` names the tag; the comparison is the weak one (RFC 9110, 13.1.2).
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
