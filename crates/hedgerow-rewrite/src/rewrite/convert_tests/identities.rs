//! Tests that one id has the same form in every place.

use super::who::NOW;
use super::*;

/// A way to give an id: its name, the message, and where the id is in the event's properties.
type IdField = (&'static str, fn(&str) -> String, &'static str);

const WAYS: &[IdField] = &[
    (
        "userId",
        |id| format!(r#"{{"type":"track","event":"A","userId":{id}}}"#),
        "/distinct_id",
    ),
    (
        "anonymousId",
        |id| format!(r#"{{"type":"track","event":"A","anonymousId":{id}}}"#),
        "/distinct_id",
    ),
    (
        "identify, userId",
        |id| format!(r#"{{"type":"identify","userId":{id},"anonymousId":"other"}}"#),
        "/distinct_id",
    ),
    (
        "identify, anonymousId",
        |id| format!(r#"{{"type":"identify","userId":"other","anonymousId":{id}}}"#),
        "/$anon_distinct_id",
    ),
    (
        "identify, $anon_distinct_id",
        |id| {
            format!(
                r#"{{"type":"identify","userId":"other","properties":{{"$anon_distinct_id":{id}}}}}"#
            )
        },
        "/$anon_distinct_id",
    ),
    (
        "track $identify",
        |id| {
            format!(
                r#"{{"type":"track","event":"$identify","userId":"other","properties":{{"$anon_distinct_id":{id}}}}}"#
            )
        },
        "/$anon_distinct_id",
    ),
    (
        "alias, userId",
        |id| format!(r#"{{"type":"alias","userId":{id},"previousId":"other"}}"#),
        "/distinct_id",
    ),
    (
        "alias, previousId",
        |id| format!(r#"{{"type":"alias","userId":"other","previousId":{id}}}"#),
        "/alias",
    ),
    (
        "alias, anonymousId",
        |id| format!(r#"{{"type":"alias","userId":"other","anonymousId":{id}}}"#),
        "/alias",
    ),
    (
        "track $create_alias",
        |id| {
            format!(
                r#"{{"type":"track","event":"$create_alias","userId":"other","properties":{{"alias":{id}}}}}"#
            )
        },
        "/alias",
    ),
    (
        "track $merge_dangerously",
        |id| {
            format!(
                r#"{{"type":"track","event":"$merge_dangerously","userId":"other","properties":{{"alias":{id}}}}}"#
            )
        },
        "/alias",
    ),
    (
        "group, groupId",
        |id| format!(r#"{{"type":"group","userId":"other","groupId":{id}}}"#),
        "/$group_key",
    ),
    (
        "group, $groups",
        |id| format!(r#"{{"type":"group","userId":"other","groupId":{id}}}"#),
        "/$groups/segment_group",
    ),
    (
        "context.groupId",
        |id| {
            format!(
                r#"{{"type":"track","event":"A","userId":"other","context":{{"groupId":{id}}}}}"#
            )
        },
        "/$groups/segment_group",
    ),
    (
        "group, context.groupId",
        |id| {
            format!(
                r#"{{"type":"group","userId":"other","groupId":"g","context":{{"groupId":{id}}}}}"#
            )
        },
        "/$groups/segment_group",
    ),
    (
        "properties.$groups",
        |id| {
            format!(
                r#"{{"type":"track","event":"A","userId":"other","properties":{{"$groups":{{"company":{id}}}}}}}"#
            )
        },
        "/$groups/company",
    ),
    (
        "properties.$groups beside another",
        |id| {
            format!(
                r#"{{"type":"page","userId":"other","properties":{{"$groups":{{"company":{id}}}}},"context":{{"groupId":"g"}}}}"#
            )
        },
        "/$groups/company",
    ),
    (
        "track $groupidentify",
        |id| {
            format!(
                r#"{{"type":"track","event":"$groupidentify","userId":"other","properties":{{"$group_type":"company","$group_key":{id}}}}}"#
            )
        },
        "/$group_key",
    ),
];

/// Returns the text of an id in the event, whichever way it was given; `None` if there is no event or
/// no id.
fn id_in_event(id_field: &IdField, id: &str) -> Option<String> {
    let (_, message, place) = id_field;
    let rewriter = Rewriter::new(Mapping::default(), Bounds::default());
    let body = message(id);
    let arrival = arrival(Call::Batch, Some(NOW));
    let outcome = rewrite_as(rewriter, arrival, &[body.as_bytes()]).unwrap();
    let event = outcome.events.first()?;
    match event["properties"].pointer(place)? {
        Json::String(text) => Some(text.clone()),
        // PostHog itself turns a short number into a string.
        Json::Number(number) => Some(number.to_string()),
        other => Some(other.to_string()),
    }
}

#[test]
fn an_id_has_one_form_in_every_place() {
    let long = "x".repeat(250);
    let hashed = crate::rewrite::enrich::ids::usable(&long)
        .unwrap()
        .into_owned();
    let long = format!("\"{long}\"");
    let mut wrong = Vec::new();
    for (id, expected) in [
        (r#""u-1""#, "u-1"),
        (r#"" 42\n""#, "42"),
        (r#""42""#, "42"),
        ("42", "42"),
        ("42.0", "42"),
        ("4.2e1", "42"),
        ("1e6", "1000000"),
        ("1E+6", "1000000"),
        ("1e21", "1e+21"),
        ("-7", "-7"),
        ("1.50", "1.5"),
        ("9007199254740993", "9007199254740993"),
        ("12345678901234567890", "12345678901234567890"),
        ("12345678901234567890.0", "12345678901234567890"),
        (r#""\u0034\u0032""#, "42"),
        (&long, &hashed),
    ] {
        for id_field in WAYS {
            let got = id_in_event(id_field, id);
            if got.as_deref() != Some(expected) {
                wrong.push(format!("{} {id}: {got:?}, not {expected}", id_field.0));
            }
        }
    }
    for unusable in [
        r#""""#,
        r#"" ""#,
        r#""undefined""#,
        r#""null""#,
        r#""[object Object]""#,
        r#""guest""#,
        r#""0""#,
        r#""00000000-0000-0000-0000-000000000000""#,
        "0",
        "-0",
        "0.0",
    ] {
        for id_field in WAYS {
            let got = id_in_event(id_field, unusable);
            // If another id of the message takes its place, the result is that other id.
            let is_none = matches!(got.as_deref(), None | Some("other" | "g"));
            if !is_none {
                wrong.push(format!("{} {unusable}: {got:?}, not none", id_field.0));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reference_has_numbers_as_javascript_prints_them_too() {
    for (id, expected) in [
        ("42.0", "42"),
        ("1e6", "1000000"),
        ("12345678901234567890", "12345678901234567890"),
    ] {
        let text =
            format!(r#"{{"type":"identify","userId":{id},"anonymousId":{id},"messageId":"m"}}"#);
        let properties = one(&text)["properties"].clone();
        assert_eq!(properties["distinct_id"], expected);
        assert_eq!(properties["$anon_distinct_id"], expected);
        let alias = one(&format!(
            r#"{{"type":"alias","userId":"u","previousId":{id},"messageId":"m"}}"#
        ));
        assert_eq!(alias["properties"]["alias"], expected);
    }
}
