//! The snippet in a site's pages, over real connections.

use std::io::Read;
use std::io::Write;

use super::support::client::{Answer, Client};
use super::support::proxy::Proxy;
use super::support::recorder::{Act, Recorded, Recorder};
use super::support::{eventually, h2};

/// The headers of a browser's navigation.
const NAVIGATES: &str =
    "Sec-Fetch-Dest: document\r\nAccept-Encoding: gzip, deflate, br, zstd, dcb\r\n";
const CODINGS: [&str; 5] = ["", "gzip", "deflate", "br", "zstd"];

fn page() -> String {
    let filler: String = (0..2000).map(|number| format!("<p>{number}</p>")).collect();
    format!("<!doctype html><html><head><title>T</title></head><body>{filler}</body></html>")
}

/// A site whose pages get the snippet of a posthog route.
async fn injecting(site: &Recorder) -> Proxy {
    Proxy::start_h2c(&format!(
        "projects:\n  shop: {{host: \"http://127.0.0.1:9\", api_key: phc_test}}\nroutes:\n  \
         - {{path: /k3v9x2mn/, posthog: {{project: shop, names: k3v9x2mnq7}}}}\n  \
         - {{path: /, origin: {{servers: \"{}\", inject: /k3v9x2mn/}}}}\n",
        site.url()
    ))
    .await
}

fn pack(coding: &str, plain: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    match coding {
        "gzip" => packed = super::support::gzip(plain),
        "deflate" => {
            let level = flate2::Compression::default();
            let mut packer = flate2::write::ZlibEncoder::new(packed, level);
            packer.write_all(plain).unwrap();
            packed = packer.finish().unwrap();
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

fn unpack(coding: &str, packed: &[u8]) -> String {
    let mut plain = Vec::new();
    match coding {
        "gzip" => {
            let mut unpacker = flate2::read::GzDecoder::new(packed);
            unpacker.read_to_end(&mut plain).unwrap();
        }
        "deflate" => {
            let mut unpacker = flate2::read::ZlibDecoder::new(packed);
            unpacker.read_to_end(&mut plain).unwrap();
        }
        "br" => brotli::BrotliDecompress(&mut &packed[..], &mut plain).unwrap(),
        "zstd" => plain = zstd::stream::decode_all(packed).unwrap(),
        _ => plain = packed.to_vec(),
    }
    String::from_utf8(plain).unwrap()
}

fn head(coding: &str, more: &str) -> String {
    let coded = match coding {
        "" => String::new(),
        coding => format!("Content-Encoding: {coding}\r\nVary: Accept-Encoding\r\n"),
    };
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nETag: \"v1\"\r\n\
         Last-Modified: Mon, 23 Nov 2026 10:00:00 GMT\r\nAccept-Ranges: bytes\r\n\
         Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==\r\nDigest: sha-256=abc\r\n{coded}{more}\r\n"
    )
}

fn get(path: &str, headers: &str) -> Vec<u8> {
    super::get(path, headers)
}

/// The page has exactly one snippet, at the end of its head, and is otherwise unchanged.
fn assert_changed(page: &str, seen: &str, what: &str) {
    let (before, after) = page.split_at(page.find("</head>").unwrap());
    assert!(seen.starts_with(before) && seen.ends_with(after), "{what}");
    let snippet = &seen[before.len()..seen.len() - after.len()];
    assert!(snippet.contains("<script"), "{what}: {snippet}");
    assert!(snippet.contains("/k3v9x2mn"), "{what}: {snippet}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_in_any_coding_and_framing_gets_the_snippet_and_right_headers() {
    let site = Recorder::that(|request| {
        let mut parts = request
            .head
            .split(['/', ' '])
            .filter(|part| !part.is_empty());
        let (framing, coding) = (parts.nth(1).unwrap(), parts.next().unwrap());
        let coding = if coding == "HTTP" { "" } else { coding };
        let packed = pack(coding, page().as_bytes());
        match framing {
            "length" => {
                let length = format!("Content-Length: {}\r\n", packed.len());
                let mut whole = head(coding, &length).into_bytes();
                whole.extend_from_slice(&packed);
                Act::Answer(whole)
            }
            "chunked" => {
                let mut pieces = vec![head(coding, "Transfer-Encoding: chunked\r\n").into_bytes()];
                // Cuts in the middle of codings, tags and chunks. A client of the h2 crate ends the
                // connection if it falls a hundred smaller pieces behind.
                let mut body = Vec::new();
                for piece in packed.chunks(257) {
                    body.extend_from_slice(&super::chunk(piece));
                }
                body.extend_from_slice(b"0\r\n\r\n");
                pieces.extend(body.chunks(1 + body.len() / 40).map(<[u8]>::to_vec));
                Act::Pieces(pieces)
            }
            _ => {
                let mut pieces = vec![head(coding, "Connection: close\r\n").into_bytes()];
                pieces.extend(packed.chunks(1 + packed.len() / 10).map(<[u8]>::to_vec));
                Act::Pieces(pieces)
            }
        }
    })
    .await;
    let proxy = injecting(&site).await;
    let mut h2 = h2::Client::connect(proxy.address).await;
    for framing in ["length", "chunked", "closed"] {
        for coding in CODINGS {
            let what = format!("/{framing}/{coding}");
            let mut client = Client::connect(proxy.address).await;
            let answer = client.exchange(&get(&what, NAVIGATES)).await;
            assert_eq!(answer.status, 200, "{what}");
            assert_changed(&page(), &unpack(coding, &answer.body), &what);
            assert_eq!(answer.header("content-encoding"), coding, "{what}");
            assert!(answer.header("etag").starts_with("W/\"v1-"), "{what}");
            assert!(answer.header("vary").contains("Sec-Fetch-Dest"), "{what}");
            for gone in [
                "content-length",
                "content-md5",
                "digest",
                "last-modified",
                "accept-ranges",
            ] {
                assert_eq!(answer.header(gone), "", "{what}: {gone}");
            }
            // The answer is complete, and the connection takes another request.
            let again = client.exchange(&get(&what, NAVIGATES)).await;
            // The coded bytes depend on where the pieces of a page end, and that differs from run to run.
            let [first, second] = [&answer, &again].map(|answer| unpack(coding, &answer.body));
            assert_eq!(second, first, "{what}");
            let headers = [
                ("sec-fetch-dest", "document"),
                ("accept-encoding", "gzip, deflate, br, zstd"),
            ];
            let (answer, complete) = h2.get(&what, &headers).await;
            assert!(complete && answer.status == 200, "{what} over HTTP/2");
            assert_changed(&page(), &unpack(coding, &answer.body), &what);
        }
    }
    let asked = site.seen();
    let asked = asked[0].header("accept-encoding").unwrap();
    assert_eq!(asked, "gzip, deflate, br, zstd", "what can be undone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_page_never_ends_as_if_it_were_whole() {
    let site = Recorder::that(|request| {
        let coding = if request.head.contains("plain") {
            ""
        } else {
            "gzip"
        };
        let packed = pack(coding, page().as_bytes());
        let (first, second) = packed.split_at(packed.len() / 2);
        let chunked = head(coding, "Transfer-Encoding: chunked\r\n").into_bytes();
        let end = b"0\r\n\r\n".to_vec();
        match request.head.split(' ').nth(1).unwrap() {
            // The framing has ended; the coding has not.
            "/short" => Act::Pieces(vec![chunked, super::chunk(first), end]),
            "/garbled" => {
                let mut garbled = second.to_vec();
                garbled.iter_mut().for_each(|byte| *byte ^= 0x55);
                let pieces = vec![chunked, super::chunk(first), super::chunk(&garbled), end];
                Act::Pieces(pieces)
            }
            // The server goes away.
            _ => Act::Pieces(vec![chunked, super::chunk(first)]),
        }
    })
    .await;
    let proxy = injecting(&site).await;
    let mut h2 = h2::Client::connect(proxy.address).await;
    for path in ["/short", "/garbled", "/cut", "/cut-plain"] {
        for kind in [NAVIGATES, "Sec-Fetch-Dest: empty\r\n"] {
            let changed = kind == NAVIGATES;
            if !changed && !path.starts_with("/cut") {
                continue;
            }
            let mut client = Client::connect(proxy.address).await;
            client.send(&get(path, kind)).await;
            let seen = client.rest().await;
            let text = String::from_utf8_lossy(&seen);
            // Nothing has left yet if all of it arrives at once, as on a busy machine.
            if text.starts_with("HTTP/1.1 502") {
                continue;
            }
            assert!(text.starts_with("HTTP/1.1 200"), "{path} {kind}: {text}");
            assert!(!text.ends_with("0\r\n\r\n"), "{path} {kind} has an end");
            assert!(!text.contains("Bad Gateway"), "{path} {kind}");
        }
        let headers = [("sec-fetch-dest", "document"), ("accept-encoding", "gzip")];
        let (answer, complete) = h2.get(path, &headers).await;
        let status = answer.status;
        assert!(!complete || status == 502, "{path} over HTTP/2: {status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_visitor_who_has_the_page_gets_a_304_until_page_or_snippet_change() {
    let site = Recorder::that(|request| {
        let known = request.header("if-none-match").unwrap_or_default();
        if known.contains("\"v1\"") {
            let answer = "HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n\r\n";
            return Act::Answer(answer.as_bytes().to_vec());
        }
        let packed = pack("gzip", page().as_bytes());
        let length = format!("Content-Length: {}\r\n", packed.len());
        let mut whole = head("gzip", &length).into_bytes();
        whole.extend_from_slice(&packed);
        Act::Answer(whole)
    })
    .await;
    let proxy = injecting(&site).await;
    let mut client = Client::connect(proxy.address).await;
    let first = client.exchange(&get("/", NAVIGATES)).await;
    let tag = first.header("etag");
    let known = format!(
        "{NAVIGATES}If-None-Match: {tag}\r\nIf-Modified-Since: Mon, 23 Nov 2026 10:00:00 GMT\r\n"
    );
    let second = client.exchange(&get("/", &known)).await;
    assert_eq!((second.status, second.header("etag")), (304, tag.clone()));
    // A tag of the site's own, or one from before the snippet: the visitor gets the page.
    for other in ["\"v1\"", "W/\"v1-00000000\""] {
        let known = format!("{NAVIGATES}If-None-Match: {other}\r\n");
        let answer = client.exchange(&get("/", &known)).await;
        assert_eq!(answer.status, 200, "{other}");
    }
    let seen = site.seen();
    let asked = |at: usize| seen[at].header("if-none-match");
    assert_eq!(asked(1).as_deref(), Some("W/\"v1\", \"v1\""));
    assert_eq!((asked(2), asked(3)), (None, None));
    assert_eq!(seen[1].header("if-modified-since"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_request_gets_the_pages_headers_and_no_byte_of_it() {
    let site = Recorder::that(|request: &Recorded| {
        let packed = pack("br", page().as_bytes());
        let length = format!("Content-Length: {}\r\n", packed.len());
        let mut whole = head("br", &length).into_bytes();
        if !request.head.starts_with("HEAD") {
            whole.extend_from_slice(&packed);
        }
        Act::Answer(whole)
    })
    .await;
    let proxy = injecting(&site).await;
    let mut client = Client::connect(proxy.address).await;
    let page = client.exchange(&get("/", NAVIGATES)).await;
    let request = String::from_utf8(get("/", NAVIGATES)).unwrap();
    client
        .send(request.replace("GET ", "HEAD ").as_bytes())
        .await;
    let head = client.answer_to_head().await;
    for name in [
        "etag",
        "content-encoding",
        "vary",
        "content-length",
        "content-type",
    ] {
        assert_eq!(head.header(name), page.header(name), "{name}");
    }
    let page = client.exchange(&get("/", NAVIGATES)).await;
    assert_eq!(page.status, 200, "the connection is where it should be");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_not_pages_pass_byte_for_byte() {
    let site = Recorder::that(|request: &Recorded| {
        let page = page();
        if request.header("range").is_some() {
            let answer = format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Type: text/html\r\nContent-Range: bytes \
                 0-9/{}\r\nETag: \"v1\"\r\nContent-Length: 10\r\n\r\n{}",
                page.len(),
                &page[..10]
            );
            return Act::Answer(answer.into_bytes());
        }
        let more = match request.head.split(' ').nth(1).unwrap() {
            "/no-transform" => "Cache-Control: no-transform\r\n",
            "/closed" => "Content-Security-Policy: script-src 'self'\r\n",
            "/nonce" => "Content-Security-Policy: script-src 'nonce-aGVk'\r\n",
            _ => "",
        };
        let length = format!("{more}Content-Length: {}\r\n", page.len());
        Act::Answer(format!("{}{page}", head("", &length)).into_bytes())
    })
    .await;
    let proxy = injecting(&site).await;
    let mut client = Client::connect(proxy.address).await;
    let script = "Sec-Fetch-Dest: empty\r\nAccept-Encoding: dcb\r\n";
    let ranged = format!("{NAVIGATES}Range: bytes=0-9\r\n");
    for (path, headers, length) in [
        ("/", script, page().len()),
        ("/", ranged.as_str(), 10),
        ("/no-transform", NAVIGATES, page().len()),
        ("/closed", NAVIGATES, page().len()),
    ] {
        let answer: Answer = client.exchange(&get(path, headers)).await;
        let what = format!("{path} {headers}");
        assert_eq!(answer.body, &page().as_bytes()[..length], "{what}");
        assert_eq!(
            answer.header("content-length"),
            length.to_string(),
            "{what}"
        );
        assert_eq!(answer.header("etag"), "\"v1\"", "{what}");
        // A copy of this answer must not replace the page.
        assert_eq!(answer.header("vary"), "Sec-Fetch-Dest", "{what}");
    }
    assert_eq!(
        site.seen()[0].header("accept-encoding").as_deref(),
        Some("dcb")
    );
    let answer = client.exchange(&get("/nonce", NAVIGATES)).await;
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.contains("<script nonce=\"aGVk\">"), "{text}");
    // HTTP/1.0 has no chunks.
    let mut old = Client::connect(proxy.address).await;
    let request = String::from_utf8(get("/", NAVIGATES)).unwrap();
    old.send(request.replace("HTTP/1.1", "HTTP/1.0").as_bytes())
        .await;
    let seen = String::from_utf8(old.rest().await).unwrap();
    assert!(!seen.to_ascii_lowercase().contains("chunked"), "{seen}");
    let body = seen.split_once("\r\n\r\n").unwrap().1;
    assert_changed(&page(), body, "over HTTP/1.0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_beginning_of_a_slow_page_is_seen_before_its_end_is_there() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (go_on, wait) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // A server that closes the connection without reading the request resets it.
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer
            .write_all(b"<!doctype html><head></head><body>first")
            .unwrap();
        packer.flush().unwrap();
        let first = packer.get_ref().clone();
        let answer = head("gzip", "Transfer-Encoding: chunked\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.write_all(&super::chunk(&first)).await.unwrap();
        wait.await.unwrap();
        packer.write_all(b"second").unwrap();
        let all = packer.finish().unwrap();
        let rest = super::chunk(&all[first.len()..]);
        stream.write_all(&rest).await.unwrap();
        stream.write_all(b"0\r\n\r\n").await.unwrap();
    });
    let proxy = Proxy::start(&format!(
        "projects:\n  shop: {{host: \"http://127.0.0.1:9\", api_key: phc_test}}\nroutes:\n  \
         - {{path: /k3v9x2mn/, posthog: shop}}\n  \
         - {{path: /, origin: {{servers: \"http://{address}\", inject: /k3v9x2mn/}}}}\n",
    ))
    .await;
    let stream = std::net::TcpStream::connect(proxy.address).unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut stream = stream;
    stream.write_all(&get("/", NAVIGATES)).unwrap();
    let mut seen = Vec::new();
    let mut read = |wanted: &str| {
        let mut piece = [0; 4096];
        if let Ok(length) = stream.read(&mut piece) {
            seen.extend_from_slice(&piece[..length]);
        }
        let plain = chunks_inflated(&seen);
        plain.contains(wanted).then_some(plain)
    };
    let plain = eventually("the first part", || read("first")).await;
    assert!(plain.contains("<script") && !plain.contains("second"));
    go_on.send(()).unwrap();
    eventually("the second part", || read("second")).await;
}

/// The readable part of a chunked, compressed answer so far.
fn chunks_inflated(seen: &[u8]) -> String {
    let mut packed = Vec::new();
    let Some(at) = super::support::client::find(seen, b"\r\n\r\n") else {
        return String::new();
    };
    let mut rest = &seen[at + 4..];
    while let Some(at) = super::support::client::find(rest, b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..at]).unwrap(), 16).unwrap();
        rest = &rest[at + 2..];
        packed.extend_from_slice(&rest[..size.min(rest.len())]);
        rest = rest.get(size + 2..).unwrap_or_default();
    }
    let mut plain = Vec::new();
    let _ = flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut plain);
    String::from_utf8(plain).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sites_that_share_a_prefix_get_each_its_own_snippet() {
    let plain = page();
    let answer = format!("{}Content-Length: {}\r\n", head("", ""), plain.len());
    let site = Recorder::that(move |_| {
        let answer = answer.replace("\r\n\r\n", "\r\n");
        Act::Answer(format!("{answer}\r\n{plain}").into_bytes())
    })
    .await;
    let mut yaml = String::from("projects:\n");
    for name in ["a", "b"] {
        yaml.push_str(&format!(
            "  {name}: {{host: \"http://127.0.0.1:9\", api_key: phc_of_{name}}}\n"
        ));
    }
    yaml.push_str("routes:\n");
    for name in ["a", "b"] {
        yaml.push_str(&format!(
            "  - {{host: {name}.test, path: /k3v9x2mn/, posthog: {name}}}\n  \
             - {{host: {name}.test, path: /, origin: {{servers: \"{}\", inject: /k3v9x2mn/}}}}\n",
            site.url()
        ));
    }
    let proxy = Proxy::start(&yaml).await;
    let mut wrong = Vec::new();
    for (name, other) in [("a", "b"), ("b", "a")] {
        let mut client = Client::connect(proxy.address).await;
        let request =
            format!("GET / HTTP/1.1\r\nHost: {name}.test\r\nSec-Fetch-Dest: document\r\n\r\n");
        let seen = client.exchange(request.as_bytes()).await;
        let seen = String::from_utf8_lossy(&seen.body).into_owned();
        if !seen.contains(&format!("phc_of_{name}")) || seen.contains(&format!("phc_of_{other}")) {
            wrong.push(format!("{name}.test: {seen}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
