use super::*;

use std::io::{Read, Write};

use flate2::write::GzEncoder;
use flate2::Compression;
use http::header::{self, HeaderMap, HeaderValue};

use crate::site::inject::accepted;

const SNIPPET: &str = "<script>s()</script>";

fn page() -> String {
    let filler: String = (0..3000).map(|number| format!("<p>{number}</p>")).collect();
    format!("<!doctype html><html><head><title>T</title></head><body>{filler}</body></html>")
}

fn changed() -> String {
    page().replace("</head>", &format!("{SNIPPET}</head>"))
}

/// The codings as a server may send them. `raw` is `deflate` without the zlib frame.
const SENT: [(&str, Coding); 6] = [
    ("identity", Coding::Identity),
    ("gzip", Coding::Gzip),
    ("deflate", Coding::Deflate),
    ("raw", Coding::Deflate),
    ("br", Coding::Brotli),
    ("zstd", Coding::Zstd),
];

fn pack(how: &str, plain: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let level = Compression::best();
    match how {
        "gzip" => {
            let mut packer = flate2::read::GzEncoder::new(plain, level);
            packer.read_to_end(&mut packed).unwrap();
        }
        "deflate" => {
            let mut packer = flate2::read::ZlibEncoder::new(plain, level);
            packer.read_to_end(&mut packed).unwrap();
        }
        "raw" => {
            let mut packer = flate2::read::DeflateEncoder::new(plain, level);
            packer.read_to_end(&mut packed).unwrap();
        }
        "br" => {
            let parameters = brotli::enc::BrotliEncoderParams::default();
            brotli::BrotliCompress(&mut &plain[..], &mut packed, &parameters).unwrap();
        }
        "zstd" => packed = zstd::stream::encode_all(plain, 3).unwrap(),
        _ => packed = plain.to_vec(),
    }
    packed
}

/// Returns the part that can be unpacked, and whether that is the whole page.
fn unpack(coding: Coding, packed: &[u8]) -> (String, bool) {
    let mut plain = Vec::new();
    let whole = match coding {
        Coding::Identity => {
            plain = packed.to_vec();
            true
        }
        Coding::Gzip => flate2::read::GzDecoder::new(packed)
            .read_to_end(&mut plain)
            .is_ok(),
        Coding::Deflate => flate2::read::ZlibDecoder::new(packed)
            .read_to_end(&mut plain)
            .is_ok(),
        Coding::Brotli => brotli::BrotliDecompress(&mut &packed[..], &mut plain).is_ok(),
        Coding::Zstd => zstd::stream::read::Decoder::new(packed)
            .unwrap()
            .read_to_end(&mut plain)
            .is_ok(),
    };
    (String::from_utf8(plain).unwrap(), whole)
}

fn stream(coding: Coding) -> PageStream {
    PageStream::new(Bytes::from_static(SNIPPET.as_bytes()), coding).unwrap()
}

fn through(coding: Coding, packed: &[u8], size: usize) -> Result<Vec<u8>, BrokenPage> {
    let mut stream = stream(coding);
    let mut out = Vec::new();
    for piece in packed.chunks(size) {
        out.extend_from_slice(&stream.feed(Bytes::copy_from_slice(piece))?);
    }
    out.extend_from_slice(&stream.finish()?);
    Ok(out)
}

#[test]
fn a_page_in_any_coding_gets_the_snippet_however_it_is_cut() {
    for (how, coding) in SENT {
        let packed = pack(how, page().as_bytes());
        for size in [1, 2, 3, 7, 1000, packed.len()] {
            let out = through(coding, &packed, size).unwrap();
            let (plain, whole) = unpack(coding, &out);
            assert!(whole && plain == changed(), "{how} in pieces of {size}");
        }
    }
}

#[test]
fn received_parts_of_a_page_are_passed_on_before_the_rest() {
    let head = "<!doctype html><html><head></head><body><h1>Hello";
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(head.as_bytes()).unwrap();
    packer.flush().unwrap();
    let mut stream = stream(Coding::Gzip);
    let out = stream.feed(Bytes::from(packer.get_ref().clone())).unwrap();
    let (plain, whole) = unpack(Coding::Gzip, &out);
    assert!(!whole);
    assert_eq!(plain, head.replace("</head>", &format!("{SNIPPET}</head>")));
}

#[test]
fn a_broken_or_wrongly_coded_page_has_no_end() {
    for (how, coding) in SENT {
        if coding == Coding::Identity {
            continue;
        }
        let packed = pack(how, page().as_bytes());
        for length in [1, 2, packed.len() / 2, packed.len() - 1] {
            let out = through(coding, &packed[..length], 100);
            assert_eq!(out, Err(BrokenPage), "{how}: {length} of {}", packed.len());
        }
        let plain = through(coding, page().as_bytes(), 100);
        assert_eq!(plain, Err(BrokenPage), "{how}");
    }
    let mut wrong = pack("gzip", page().as_bytes());
    let checksum = wrong.len() - 8;
    wrong[checksum] ^= 1;
    assert_eq!(through(Coding::Gzip, &wrong, 100), Err(BrokenPage));
}

#[test]
fn several_members_are_one_page_and_bytes_after_the_end_are_ignored() {
    let (first, second) = changed_halves();
    let mut packed = pack("gzip", first.as_bytes());
    packed.extend_from_slice(&pack("gzip", second.as_bytes()));
    packed.extend_from_slice(&[0; 20]);
    for size in [1, 100, packed.len()] {
        let out = through(Coding::Gzip, &packed, size).unwrap();
        assert_eq!(unpack(Coding::Gzip, &out).0, changed(), "{size}");
    }
    let mut packed = pack("br", page().as_bytes());
    packed.extend_from_slice(b"garbage");
    let out = through(Coding::Brotli, &packed, 50).unwrap();
    assert_eq!(unpack(Coding::Brotli, &out).0, changed());
}

fn changed_halves() -> (String, String) {
    let page = page();
    let (first, second) = page.split_at(35);
    (first.to_owned(), second.to_owned())
}

#[test]
fn a_page_that_inflates_enormously_is_never_held_completely() {
    let mut plain = b"<html><head></head>".to_vec();
    plain.resize(8 << 20, b' ');
    for (how, coding) in [
        ("gzip", Coding::Gzip),
        ("br", Coding::Brotli),
        ("zstd", Coding::Zstd),
    ] {
        let packed = pack(how, &plain);
        // The output of one piece is held in memory as a whole.
        let out = through(coding, &packed, packed.len()).unwrap();
        assert!(out.len() < 1 << 20, "{how}: {}", out.len());
    }
}

#[test]
fn nothing_at_all_stays_nothing() {
    for (_, coding) in SENT {
        assert_eq!(through(coding, b"", 1), Ok(Vec::new()), "{coding:?}");
    }
}

#[test]
fn a_server_is_asked_for_codings_that_both_sides_support() {
    for (values, expected) in [
        (vec![], None),
        (
            vec!["gzip, deflate, br, zstd"],
            Some("gzip, deflate, br, zstd"),
        ),
        (vec!["dcb, GZIP;q=0.5", "br"], Some("GZIP;q=0.5, br")),
        (vec!["gzip;q=0, identity"], Some("gzip;q=0, identity")),
        (vec!["*"], Some("identity")),
        (vec![""], Some("identity")),
    ] {
        let mut headers = HeaderMap::new();
        for value in &values {
            let value = HeaderValue::from_static(value);
            headers.append(header::ACCEPT_ENCODING, value);
        }
        let accepted = accepted(&headers);
        let accepted = accepted.as_ref().map(|value| value.to_str().unwrap());
        assert_eq!(accepted, expected, "{values:?}");
    }
}

#[test]
fn only_a_single_supported_coding_is_recognised() {
    for (values, expected) in [
        (vec![], Some(Coding::Identity)),
        (vec!["identity"], Some(Coding::Identity)),
        (vec!["X-GZIP"], Some(Coding::Gzip)),
        (vec!["br"], Some(Coding::Brotli)),
        (vec!["gzip, identity"], Some(Coding::Gzip)),
        (vec!["gzip, br"], None),
        (vec!["gzip", "gzip"], None),
        (vec!["dcb"], None),
        (vec![""], None),
    ] {
        let mut headers = HeaderMap::new();
        for value in &values {
            let value = HeaderValue::from_static(value);
            headers.append(header::CONTENT_ENCODING, value);
        }
        assert_eq!(Coding::of(&headers), expected, "{values:?}");
    }
}

/// Packs a large page quickly: at its best quality, Brotli takes a minute for it.
fn pack_fast(how: &str, plain: &[u8]) -> Vec<u8> {
    match how {
        "br" => {
            let mut packer = brotli::CompressorWriter::new(Vec::new(), 4096, 4, 22);
            packer.write_all(plain).unwrap();
            packer.into_inner()
        }
        how => pack(how, plain),
    }
}

#[test]
fn a_page_that_inflates_beyond_all_measure_goes_on_as_it_is_however_it_is_cut() {
    let mut bomb = page().into_bytes();
    bomb.resize((8 << 20) + (12 << 20), b' ');
    for (how, coding) in SENT {
        if coding == Coding::Identity {
            continue;
        }
        // The whole page inflates a hundredfold from its beginning on.
        let packed = pack_fast(how, &bomb[page().len()..]);
        for size in [8 << 10, packed.len()] {
            let out = through(coding, &packed, size).unwrap();
            assert_eq!(out.len(), packed.len(), "{how} in pieces of {size}");
            assert!(out == packed, "{how} in pieces of {size}");
        }
        // After an ordinary beginning it is changed like others, up to a higher limit.
        let packed = pack_fast(how, &bomb);
        let out = through(coding, &packed, 1 << 10).unwrap();
        let (plain, whole) = unpack(coding, &out);
        assert!(whole && plain.len() == bomb.len() + SNIPPET.len(), "{how}");
    }
    // Each member of gzip counts, however little is in it.
    let members = pack("gzip", b"").repeat(20_000);
    assert!(through(Coding::Gzip, &members, 8 << 10).unwrap() == members);
}

#[test]
fn a_page_that_inflates_beyond_all_measure_after_its_beginning_is_broken() {
    let mut bomb = page().into_bytes();
    bomb.resize(70 << 20, b' ');
    let packed = pack("zstd", &bomb);
    assert_eq!(through(Coding::Zstd, &packed, 1 << 10), Err(BrokenPage));
}

#[test]
fn large_pages_get_the_snippet_however_well_they_pack() {
    let rows: String = (0..170_000)
        .map(|row| {
            format!(
                "<tr class=\"row\"><td>{row}</td><td>{}</td></tr>\n",
                row * 7919
            )
        })
        .collect();
    let zeros = "<tr><td>0</td><td>0</td></tr>\n".repeat(100_000);
    for (table, size) in [(&rows, 8 << 20), (&zeros, 2 << 20)] {
        let large = page().replace("</body>", &format!("<table>{table}</table></body>"));
        assert!(large.len() > size, "{}", large.len());
        for how in ["gzip", "zstd"] {
            let coding = match how {
                "gzip" => Coding::Gzip,
                _ => Coding::Zstd,
            };
            let packed = pack(how, large.as_bytes());
            let out = through(coding, &packed, 8 << 10).unwrap();
            let (plain, whole) = unpack(coding, &out);
            assert!(whole && plain.contains(SNIPPET), "{how}");
            assert_eq!(plain.len(), large.len() + SNIPPET.len(), "{how}");
        }
    }
}
