//! Tests of the memory that a rewriter keeps between requests.

use super::*;
use crate::rewrite::mapping::Repeats;

/// Rewrites a body, and returns the memory that the spare workspace then holds, in bytes.
fn held_after(rewriter: &Rewriter, call: Call, body: &[u8]) -> usize {
    let recipient = Arc::new(Recipient::default());
    let mut rewrite = rewriter
        .begin(arrival(call, Some("2026-11-23T12:00:00Z")))
        .address_to(recipient);
    let envelope = Envelope::new(&ApiKey::new("phc_test").unwrap());
    let mut batch = Batch::open(&envelope);
    rewrite.push(body).unwrap();
    rewrite.end();
    while rewrite.pull(&mut batch, usize::MAX, &mut ()) == Ok(Pulled::Paused) {}
    drop(rewrite);
    let (workspace, _) = rewriter.spare.take(None);
    let workspace = workspace.expect("the workspace is spare");
    let held = workspace.held();
    rewriter.spare.put_back(workspace);
    held
}

/// As many copies of `item` as fit between `head` and `tail` in a small body.
fn filled(head: &str, item: impl Fn(usize) -> String, tail: &str) -> String {
    let mut body = head.to_owned();
    for number in 0.. {
        let item = item(number);
        if body.len() + item.len() + tail.len() > 2 * 1024 {
            break;
        }
        body.push_str(&item);
    }
    let all = body.strip_suffix(',').unwrap_or(&body).to_owned();
    all + tail
}

/// The spare workspaces are not measured after such bodies, so no content may let them grow far.
#[test]
fn small_bodies_of_any_content_let_no_workspace_grow_beyond_256_kib() {
    const ITEMS: [&str; 12] = [
        r#""":0,"#,
        r#""N":0,"#,
        r#""N":"",  "#,
        r#""N":{},"#,
        r#""N":{"":[]},"#,
        r#""N":[[[[[[[[]]]]]]]],"#,
        r#""N":[{"a":0},{"b":{"c":0}}],"#,
        r#""\u0061N":"\ud83d\ude00\n",  "#,
        r#""N":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",  "#,
        r#""N":'single',  "#,
        "\"N\":\"\u{1}\",",
        r#""$N":{"$N":1},"#,
    ];
    const PLACES: [(&str, &str); 10] = [
        (r#"{"#, r#""userId":"u"}"#),
        (r#"{"userId":"u","event":"E","properties":{"#, "}}"),
        (r#"{"userId":"u","event":"E","traits":{"#, "}}"),
        (r#"{"userId":"u","event":"E","context":{"#, "}}"),
        (r#"{"userId":"u","event":"E","context":{"page":{"#, "}}}"),
        (r#"{"userId":"u","event":"E","context":{"traits":{"#, "}}}"),
        (r#"{"userId":"u","event":"E","integrations":{"#, "}}"),
        (
            r#"{"userId":"u","event":"E","properties":{"$groups":{"#,
            "}}}",
        ),
        (
            r#"{"batch":[{"type":"track","userId":"u","event":"E","context":{"app":{}}}],"context":{"#,
            "}}",
        ),
        (
            r#"{"batch":[{"type":"track","userId":"u","event":"E","context":{"#,
            r#"}}],"context":{"app":{"a":1},"page":{"url":"u"}}}"#,
        ),
    ];
    let mut most = 0;
    for mapping in [Mapping::default(), Mapping::reference()] {
        let rewriter = Rewriter::new(mapping, Bounds::default()).remembering();
        for kind in Kind::ALL.iter().copied() {
            for (head, tail) in PLACES {
                for item in ITEMS {
                    let item = |number: usize| item.replace('N', &number.to_string());
                    let body = filled(head, item, tail);
                    for call in [Call::One(kind), Call::Batch] {
                        most = most.max(held_after(&rewriter, call, body.as_bytes()));
                    }
                }
            }
        }
    }
    assert!(most <= 256 * 1024, "{most} bytes");
}

#[test]
fn a_large_batch_leaves_a_workspace_that_is_small_enough_to_be_kept() {
    let messages: Vec<String> = (0..5_000)
        .map(|number| {
            format!(r#"{{"type":"track","event":"E","userId":"u","messageId":"{number}"}}"#)
        })
        .collect();
    let body = format!(r#"{{"batch":[{}]}}"#, messages.join(","));
    for mapping in [
        Mapping::reference(),
        Mapping {
            repeats: Repeats::Suppress,
            ..Mapping::default()
        },
    ] {
        let rewriter = Rewriter::new(mapping, Bounds::default()).remembering();
        let held = held_after(&rewriter, Call::Batch, body.as_bytes());
        assert!(held <= 32 * 1024, "{held} bytes");
    }
}
