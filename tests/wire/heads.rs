//! HTTP/2 requests that break RFC 9113, on each kind of route, with and without TLS.

use super::full_server::{FullServer, HTTP2_TRANSPORTS, ROUTES};
use super::support::frames::{block, fields, frame, Fields, Frames, Outcome};
use super::support::frames::{DATA, END_HEADERS, END_STREAM, HEADERS};
use super::support::recorder::Recorder;

/// Stream errors of RFC 9113, 7.
const PROTOCOL_ERROR: u32 = 1;
const STREAM_CLOSED: u32 = 5;

/// The allowed outcomes of a request.
#[derive(Debug, Clone, Copy)]
pub enum ExpectedResult {
    /// The request is malformed: a stream error, or 400 (RFC 9113, 8.1.1).
    Malformed,
    /// The connection may end as well.
    Broken(u32),
    Status(u16),
    /// The request is served.
    Served,
}

impl ExpectedResult {
    fn is(self, outcome: Outcome) -> bool {
        match self {
            Self::Malformed => matches!(
                outcome,
                Outcome::Status(400)
                    | Outcome::Reset(PROTOCOL_ERROR)
                    | Outcome::GoAway(PROTOCOL_ERROR)
            ),
            Self::Broken(code) => matches!(
                outcome,
                Outcome::Reset(other) | Outcome::GoAway(other) if other == code || other == PROTOCOL_ERROR
            ),
            Self::Status(status) => outcome == Outcome::Status(status),
            Self::Served => outcome == Outcome::Status(200),
        }
    }
}

/// A request with one fault: its fields, and the frames after them.
pub struct Case {
    pub name: &'static str,
    want: ExpectedResult,
    fields: Fields,
    /// Frames after the head; empty if the head ends the stream.
    behind: Vec<Vec<u8>>,
}

const EVENT: &[u8] = b"{\"userId\":\"u\",\"event\":\"E\"}";

fn right(method: &str, path: &str) -> Fields {
    fields(&[
        (":method", method),
        (":scheme", "http"),
        (":authority", "shop.example.com"),
        (":path", path),
    ])
}

fn data(bytes: &[u8], flags: u8) -> Vec<u8> {
    frame(DATA, flags, 1, bytes)
}

/// All requests for one path.
pub fn cases(method: &str, path: &str) -> Vec<Case> {
    use ExpectedResult::{Broken, Malformed, Served, Status};
    let right = || right(method, path);
    let without = |name: &str| {
        let mut fields = right();
        fields.retain(|(known, _)| known != name.as_bytes());
        fields
    };
    let with = |name: &str, value: &str| {
        let mut list = right();
        list.extend(fields(&[(name, value)]));
        list
    };
    let first = |name: &str, value: &str| [fields(&[(name, value)]), right()].concat();
    let instead = |name: &str, value: &str| {
        let mut list = right();
        for (known, text) in &mut list {
            if known == name.as_bytes() {
                *text = value.as_bytes().to_vec();
            }
        }
        list
    };
    let heads = vec![
        ("nothing is wrong", Served, right()),
        (
            "the same host twice",
            Served,
            with("host", "shop.example.com"),
        ),
        ("TE: trailers", Served, with("te", "trailers")),
        ("no :method", Malformed, without(":method")),
        ("no :scheme", Malformed, without(":scheme")),
        ("no :path", Malformed, without(":path")),
        ("no host at all", Malformed, without(":authority")),
        ("an empty :path", Malformed, instead(":path", "")),
        (
            ":path without a slash",
            Malformed,
            instead(":path", "shelf"),
        ),
        (":path *", Malformed, instead(":path", "*")),
        (
            "a whole address in :path",
            Malformed,
            instead(":path", "http://b.example/shelf"),
        ),
        (
            "a :path of dots",
            Malformed,
            instead(":path", "/public/../private"),
        ),
        (
            "an encoded :path of dots",
            Malformed,
            instead(":path", "/public/%2e%2e/private"),
        ),
        // The library drops it (http 1), so no upstream gets it either.
        (
            "a fragment in :path",
            Served,
            instead(":path", &format!("{path}#/../x")),
        ),
        (
            "a blank in :path",
            Malformed,
            instead(":path", "/shelf HTTP/1.1"),
        ),
        (
            "a line break in :path",
            Malformed,
            instead(":path", "/shelf\r\nx: y"),
        ),
        ("NUL in :path", Malformed, instead(":path", "/shelf\0")),
        ("an empty :method", Malformed, instead(":method", "")),
        ("a blank in :method", Malformed, instead(":method", "GE T")),
        (
            "a line break in :method",
            Malformed,
            instead(":method", "GET / HTTP/1.1\r\nx:"),
        ),
        ("a blank in :scheme", Malformed, instead(":scheme", "ht tp")),
        ("an empty :authority", Malformed, instead(":authority", "")),
        (
            "a blank in :authority",
            Malformed,
            instead(":authority", "a b"),
        ),
        (
            "a path in :authority",
            Malformed,
            instead(":authority", "a/b"),
        ),
        (
            "a user in :authority",
            Malformed,
            instead(":authority", "user@shop.example.com"),
        ),
        (
            "a list in :authority",
            Malformed,
            instead(":authority", "a,b"),
        ),
        (
            "a line break in :authority",
            Malformed,
            instead(":authority", "a\r\nb"),
        ),
        ("another Host", Malformed, with("host", "b.example")),
        ("two :method", Malformed, first(":method", method)),
        ("two :path", Malformed, first(":path", "/shelf")),
        ("two :scheme", Malformed, first(":scheme", "http")),
        (
            "two :authority",
            Malformed,
            first(":authority", "b.example"),
        ),
        (
            "two Host",
            Malformed,
            [
                with("host", "shop.example.com"),
                fields(&[("host", "b.example")]),
            ]
            .concat(),
        ),
        (
            "an unknown pseudo-header",
            Malformed,
            first(":color", "red"),
        ),
        (
            "a pseudo-header of answers",
            Malformed,
            first(":status", "200"),
        ),
        (
            ":method behind the fields",
            Malformed,
            [fields(&[("a", "b")]), right()].concat(),
        ),
        (
            ":path at the end",
            Malformed,
            [without(":path"), fields(&[("a", "b"), (":path", path)])].concat(),
        ),
        ("an upper-case name", Malformed, with("X-Upper", "1")),
        ("a name with a blank", Malformed, with("a b", "1")),
        ("a name with a colon", Malformed, with("a:b", "1")),
        ("an empty name", Malformed, with("", "1")),
        ("a name with a line break", Malformed, with("a\r\nb", "1")),
        ("CR in a value", Malformed, with("a", "1\rb")),
        ("LF in a value", Malformed, with("a", "1\nb: c")),
        ("NUL in a value", Malformed, with("a", "1\0")),
        ("Connection", Malformed, with("connection", "keep-alive")),
        ("Connection: close", Malformed, with("connection", "close")),
        ("Keep-Alive", Malformed, with("keep-alive", "timeout=5")),
        (
            "Proxy-Connection",
            Malformed,
            with("proxy-connection", "keep-alive"),
        ),
        (
            "Transfer-Encoding",
            Malformed,
            with("transfer-encoding", "chunked"),
        ),
        ("Upgrade", Malformed, with("upgrade", "websocket")),
        ("another TE", Malformed, with("te", "gzip")),
        ("TRACE", Status(405), instead(":method", "TRACE")),
        ("TRACK", Status(405), instead(":method", "TRACK")),
        (
            "a length and no body",
            Malformed,
            with("content-length", "5"),
        ),
    ];
    let mut cases: Vec<Case> = heads
        .into_iter()
        .map(|(name, want, fields)| Case {
            name,
            want,
            fields,
            behind: Vec::new(),
        })
        .collect();
    let length = |value: &str| with("content-length", value);
    let exact = EVENT.len().to_string();
    let end = || data(EVENT, END_STREAM);
    let trailers = |list: &[(&str, &str)], flags: u8| {
        frame(HEADERS, flags | END_HEADERS, 1, &block(&fields(list)))
    };
    let bodies = vec![
        ("a body", Served, right(), vec![end()]),
        ("a body of its length", Served, length(&exact), vec![end()]),
        (
            "an empty frame at the end",
            Served,
            right(),
            vec![data(EVENT, 0), data(b"", END_STREAM)],
        ),
        (
            "trailers",
            Served,
            right(),
            vec![data(EVENT, 0), trailers(&[("x-sum", "1")], END_STREAM)],
        ),
        (
            "a body shorter than its length",
            Malformed,
            length("99"),
            vec![end()],
        ),
        (
            "a body longer than its length",
            Malformed,
            length("5"),
            vec![end()],
        ),
        (
            "a body of length nought",
            Malformed,
            length("0"),
            vec![end()],
        ),
        (
            "a length that is none",
            Malformed,
            length("abc"),
            vec![end()],
        ),
        ("a negative length", Malformed, length("-1"), vec![end()]),
        (
            "a length with a sign",
            Malformed,
            length(&format!("+{exact}")),
            vec![end()],
        ),
        (
            "a length that overflows",
            Malformed,
            length("99999999999999999999"),
            vec![end()],
        ),
        (
            "two lengths",
            Malformed,
            [length(&exact), fields(&[("content-length", "5")])].concat(),
            vec![end()],
        ),
        (
            "DATA behind the end",
            Broken(STREAM_CLOSED),
            right(),
            vec![end(), data(b"more", 0)],
        ),
        (
            "a second head",
            Broken(PROTOCOL_ERROR),
            right(),
            vec![data(EVENT, 0), trailers(&[("x-sum", "1")], 0)],
        ),
        // The library ignores it (h2 0.4); Hedgerow passes no trailers on anyway.
        (
            "a pseudo-header in trailers",
            Served,
            right(),
            vec![
                data(EVENT, 0),
                trailers(&[(":path", "/private")], END_STREAM),
            ],
        ),
        (
            "an upper-case name in trailers",
            Malformed,
            right(),
            vec![data(EVENT, 0), trailers(&[("X-Sum", "1")], END_STREAM)],
        ),
    ];
    if method == "POST" {
        cases.extend(bodies.into_iter().map(|(name, want, fields, behind)| Case {
            name,
            want,
            fields,
            behind,
        }));
    }
    cases
}

/// What is wrong with the answer to such a request on a connection of its own; `reached` counts what reached the
/// servers behind.
pub async fn trouble(
    frames: &mut Frames,
    path: &str,
    method: &str,
    case: &Case,
    reached: &(dyn Fn() -> usize + Sync),
) -> Option<String> {
    let name = format!("{} at {path}", case.name);
    let before = reached();
    let alone = case.behind.is_empty();
    let refused = matches!(
        case.want,
        ExpectedResult::Malformed | ExpectedResult::Status(_)
    );
    let ends = match alone && (method == "GET" || refused) {
        true => END_STREAM,
        false => 0,
    };
    let mut bytes = frame(HEADERS, END_HEADERS | ends, 1, &block(&case.fields));
    bytes.extend(case.behind.concat());
    if ends == 0 && alone {
        bytes.extend(data(EVENT, END_STREAM));
    }
    frames.send(&bytes).await;
    let outcome = frames.outcome(1).await;
    if !case.want.is(outcome) {
        return Some(format!("{name}: {outcome:?}, not {:?}", case.want));
    }
    // A body that turns out wrong may have been on its way already.
    let reached = reached() - before;
    let through = reached > 0 && refused && alone;
    through.then(|| format!("{name}: it reached a server behind"))
}

/// What reached these servers of the parts that must not.
pub fn smuggled(servers: &[&Recorder]) -> Vec<String> {
    let seen = servers.iter().flat_map(|server| server.seen());
    let heads = seen.map(|seen| seen.head);
    let bad = |head: &String| {
        ["private", "#", "x-sum", ".."]
            .iter()
            .any(|part| head.contains(part))
    };
    heads
        .filter(bad)
        .map(|head| format!("it reached a server behind: {head}"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_malformed_http2_request_gets_the_answer_that_the_rfc_names_on_every_kind_of_route() {
    let server = FullServer::open().await;
    let mut ordinary = server.ordinary().await;
    let mut wrong = Vec::new();
    for transport in HTTP2_TRANSPORTS {
        for (path, method) in ROUTES {
            for case in cases(method, path) {
                let mut frames = server.frames(transport).await;
                let found = trouble(&mut frames, path, method, &case, &|| server.reached()).await;
                wrong.extend(found.map(|found| format!("over {transport:?}: {found}")));
            }
            if let Err(trouble) = ordinary.served().await {
                wrong.push(format!("beside {path} over {transport:?}: {trouble}"));
            }
        }
    }
    wrong.extend(smuggled(&[&server.posthog, &server.site]));
    assert!(
        wrong.is_empty(),
        "{} of them:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
