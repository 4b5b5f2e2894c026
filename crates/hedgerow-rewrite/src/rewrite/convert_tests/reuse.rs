//! Tests that the memory which passes from request to request brings nothing of a request into another.

use super::enriched::keeper;
use super::*;
use crate::rewrite::enrich::edge_session::Transport;

/// Bodies of every kind: single messages and batches, with the envelope before and behind the messages, with
/// repairs, wrong guesses about the end of `batch`, refused messages, and errors in the middle.
const BODIES: [&str; 19] = [
    r#"{"type":"track","event":"A","userId":"u1","messageId":"m1","properties":{"a":1,"b":[1,{"c":2}]},"context":{"page":{"url":"https://a.example.com/?utm_source=x&gclid=1"},"userAgent":"Mozilla/5.0 (X11; Linux x86_64) Firefox/130.0","ip":"192.0.2.1"},"integrations":{"All":true}}"#,
    r#"{"type":"track","event":"A","userId":"u2","messageId":"m2","properties":{"a":1,"b":[1,{"c":2}]},"context":{"page":{"url":"https://a.example.com/?utm_source=x&gclid=1"},"userAgent":"Mozilla/5.0 (X11; Linux x86_64) Firefox/130.0","ip":"192.0.2.1"},"integrations":{"All":true}}"#,
    r#"{"type":"page","name":"P","anonymousId":"a1","properties":{"url":"https://b.example.com/p","title":"T"}}"#,
    r#"{"type":"identify","userId":"u1","anonymousId":"a1","traits":{"email":"a@example.com","groups":{"x":1}}}"#,
    r#"{"type":"group","userId":"u1","groupId":"g1","traits":{"name":"G"}}"#,
    r#"{"type":"alias","userId":"u9","previousId":"u1"}"#,
    r#"{"type":"track","event":"Bare","userId":"u3"}"#,
    r#"{"batch":[{"type":"track","event":"B1","userId":"u4"},{"type":"track","event":"B2","userId":"u5","context":{"locale":"de"}}],"sentAt":"2026-11-23T12:00:01Z","context":{"library":{"name":"analytics-python","version":"2.3.0"}},"integrations":{"Mixpanel":true}}"#,
    r#"{"writeKey":"wk","sentAt":"2026-11-23T12:00:09Z","context":{"app":{"name":"App"}},"batch":[{"type":"screen","name":"S","userId":"u6"},{"type":"track","userId":"u6"},17]}"#,
    // A visitor's library, which may use cookies and sessions.
    r#"{"type":"page","anonymousId":"a2","messageId":"m3","timestamp":"2026-11-23T12:00:00Z","context":{"library":{"name":"analytics.js","version":"next-1.81.0"}}}"#,
    r#"{"type":"track","event":"V","anonymousId":"a3","context":{"library":{"name":"analytics.js"}}}"#,
    // A second `batch` replaces the first, which had been guessed to be the only one.
    r#"{"batch":[{"type":"track","event":"Lost","userId":"u7"}],"batch":[{"type":"track","event":"Kept","userId":"u7"}],"writeKey":"]}"}"#,
    r#"{"batch":[{"type":"track","event":"C","userId":"u8","properties":{"$groups":{"company":"c1"},"$ip":"198.51.100.4"}}],"timestamp":"2026-11-23T11:00:00Z"}"#,
    r#"{"type":"track","event":"\u0045scaped","userId":"u\u0031","properties":{"a":"\ud800","b":1,"b":2}}"#,
    r#"{"batch":[]}"#,
    r#"{"batch":[{"type":"track","event":"D","userId":"u1"},{"type":"track","event":"E"#,
    r#"{"type":"track","event":"Broken","userId":"u1""#,
    r#"["#,
    "",
];

const COOKIES: [Option<&str>; 4] = [
    None,
    Some(
        "ajs_group_id=%22cookie-group%22; _fbp=fb.1.1700000000000.123; _fbc=fb.1.1700000000000.abc",
    ),
    Some("other=1"),
    Some("ajs_group_id=%22second%22"),
];

/// One request.
#[derive(Debug, Clone)]
struct TestRequest {
    body: &'static str,
    cookies: Option<&'static str>,
    call: Call,
    piece: usize,
    end: TestEnd,
    explanations: Explanations,
    recipient: Arc<Recipient>,
    nonce: u128,
}

/// How far the request gets.
#[derive(Debug, Clone, Copy)]
enum TestEnd {
    Whole,
    /// The client is gone after so many pieces.
    Gone(usize),
    /// The request stops before its events have a recipient.
    Unaddressed,
}

/// Everything that can be seen of a request, as text.
fn record_of(rewriter: &Rewriter, request: &TestRequest) -> String {
    let mut seen = Seen::default();
    let mut body = rewriter.begin(Arrival {
        cookies: request.cookies.map(str::to_owned),
        explanations: request.explanations,
        nonce: request.nonce,
        ..arrival(request.call, Some("2026-11-23T12:00:10Z"))
    });
    let pieces = request.body.as_bytes().chunks(request.piece.max(1));
    if let TestEnd::Unaddressed = request.end {
        for piece in pieces {
            seen.0.push(format!("{:?}", body.push(piece)));
        }
        body.end();
        seen.0.push(format!("{:?}", body.write_key()));
        return seen.0.join("\n");
    }
    let mut rewrite = body.address_to(Arc::clone(&request.recipient));
    let envelope = Envelope::new(&ApiKey::new("phc_test").unwrap());
    let mut batch = Batch::open(&envelope);
    for (number, piece) in pieces.enumerate() {
        if matches!(request.end, TestEnd::Gone(after) if after == number) {
            return seen.0.join("\n");
        }
        let pushed = rewrite.push(piece);
        seen.0.push(format!("{pushed:?}"));
        if pushed.is_err() {
            return seen.0.join("\n");
        }
        while rewrite.pull(&mut batch, usize::MAX, &mut seen) == Ok(Pulled::Paused) {}
    }
    rewrite.end();
    let last = loop {
        match rewrite.pull(&mut batch, usize::MAX, &mut seen) {
            Ok(Pulled::Paused) => {}
            last => break last,
        }
    };
    let ended = rewrite.finish();
    let cookie = ended.set_cookie(Transport::Plain);
    seen.0.push(format!("{last:?} {cookie:?}"));
    let events = batch.close();
    seen.0.push(String::from_utf8_lossy(&events).into_owned());
    seen.0.join("\n")
}

#[derive(Default)]
struct Seen(Vec<String>);

impl Watch for Seen {
    fn message(&mut self, index: usize, message: &[u8], outcome: MessageOutcome<'_>) {
        let message = String::from_utf8_lossy(message);
        self.0.push(format!("{index} {message} {outcome:?}"));
    }

    fn notice(&mut self, notice: Notice<'_>) {
        self.0.push(format!("{notice:?}"));
    }

    fn explained(&mut self, index: usize, explanation: &[u8]) {
        let explanation = String::from_utf8_lossy(explanation);
        self.0.push(format!("{index} {explanation}"));
    }
}

#[test]
fn a_request_is_rewritten_as_if_there_had_been_none_before_it() {
    let recipients = ["phc_one", "phc_two"].map(|key| {
        Arc::new(Recipient {
            project: ProjectId::of(&ApiKey::new(key).unwrap()),
            ..Recipient::default()
        })
    });
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut any = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % below
    };
    let small = Bounds {
        window: 200,
        ..Bounds::default()
    };
    let mut wrong = Vec::new();
    for (mapping, bounds) in [
        (Mapping::reference(), Bounds::default()),
        (Mapping::reference(), small),
        (Mapping::default(), Bounds::default()),
        (Mapping::default(), small),
    ] {
        let new = || Rewriter::new(mapping.clone(), bounds).with_sessions(keeper());
        let used = new();
        for number in 0..1_500 {
            let body = BODIES[any(BODIES.len())];
            let request = TestRequest {
                body,
                cookies: COOKIES[any(COOKIES.len())],
                call: [Call::Batch, Call::Batch, Call::One(Kind::Track)][any(3)],
                piece: [usize::MAX, 64, 7][any(3)],
                end: match any(8) {
                    0 => TestEnd::Gone(any(4)),
                    1 => TestEnd::Unaddressed,
                    _ => TestEnd::Whole,
                },
                explanations: [Explanations::Off, Explanations::On][any(2)],
                recipient: Arc::clone(&recipients[any(2)]),
                nonce: number,
            };
            let (after, alone) = (record_of(&used, &request), record_of(&new(), &request));
            if after != alone {
                wrong.push(format!(
                    "{number} {request:?}\n{alone}\n--- after others:\n{after}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ: {}", wrong.len(), wrong[0]);
}

#[test]
fn sessions_that_are_set_later_hold_for_used_memory_too() {
    let request = TestRequest {
        body: BODIES[9],
        cookies: None,
        call: Call::Batch,
        piece: usize::MAX,
        end: TestEnd::Whole,
        explanations: Explanations::Off,
        recipient: Arc::default(),
        nonce: 1,
    };
    let rewriter = Rewriter::new(Mapping::default(), Bounds::default());
    let without = record_of(&rewriter, &request);
    assert!(without.contains("Ok(Done) None"), "{without}");
    let with = record_of(&rewriter.with_sessions(keeper()), &request);
    assert!(with.contains("Ok(Done) Some("), "{with}");
}
