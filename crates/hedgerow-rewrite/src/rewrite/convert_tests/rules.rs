//! Tests of a site's own rules, its projects' constants, the notice about group types, and explanations.

use super::*;
use crate::rewrite::privacy::{ClickIds, IpMask, Privacy};
use crate::rewrite::rules::{Rule, RuleAction};

fn rule(event: &str, action: RuleAction) -> Rule {
    Rule {
        event: event.parse().unwrap(),
        action,
    }
}

/// Returns the names of the events, and the reasons why other messages are left out.
fn through(rules: Vec<Rule>, body: &str) -> (Vec<String>, Vec<String>) {
    let mapping = Mapping {
        rules,
        ..Mapping::default()
    };
    let rewriter = Rewriter::new(mapping, Bounds::default());
    let outcome = rewrite_as(rewriter, arrival(Call::Batch, None), &[body.as_bytes()]).unwrap();
    let name = |event: &Json| event["event"].as_str().unwrap().to_owned();
    (outcome.events.iter().map(name).collect(), outcome.reports)
}

const CALLS: &str = r#"{"batch":[
    {"type":"track","event":"Debug x","userId":"u"},
    {"type":"track","event":"Order \"Completed\"","userId":"u"},
    {"type":"page","userId":"u"},
    {"type":"identify","userId":"u","traits":{}},
    {"type":"group","userId":"u","groupId":"g"}]}"#;

#[test]
fn rules_drop_keep_and_rename_events_by_name() {
    let (events, left) = through(
        vec![
            rule("Debug *", RuleAction::Drop),
            rule("Order \"*", RuleAction::Rename("Bought \"it\"".to_owned())),
            rule("$*", RuleAction::Rename("renamed".to_owned())),
            rule("$identify", RuleAction::Keep),
            rule("*", RuleAction::Drop),
        ],
        CALLS,
    );
    assert_eq!(events, ["Bought \"it\"", "renamed", "$identify"]);
    assert_eq!(left, ["0 rule", "4 rule"]);
}

#[test]
fn without_rules_every_event_is_sent_under_its_own_name() {
    let (events, left) = through(Vec::new(), CALLS);
    let expected = [
        "Debug x",
        "Order \"Completed\"",
        "$pageview",
        "$identify",
        "$groupidentify",
    ];
    assert_eq!(events, expected);
    assert_eq!(left, Vec::<String>::new());
}

/// The origins of the last event's properties.
#[derive(Default)]
struct Explanation(Vec<u8>);

impl Watch for Explanation {
    fn message(&mut self, _: usize, _: &[u8], _: MessageOutcome<'_>) {}

    fn explained(&mut self, _: usize, explanation: &[u8]) {
        self.0 = explanation.to_vec();
    }
}

fn pulled(mapping: Mapping, recipient: Recipient, body: &str) -> (Json, Json) {
    let rewriter = Arc::new(Rewriter::new(mapping, Bounds::default()));
    let mut rewrite = rewriter
        .begin(Arrival {
            explanations: Explanations::On,
            ..arrival(Call::Batch, Some("2026-11-23T12:00:00Z"))
        })
        .address_to(Arc::new(recipient));
    rewrite.push(body.as_bytes()).unwrap();
    rewrite.end();
    let mut batch = Batch::open(&Envelope::new(&ApiKey::new("phc_test").unwrap()));
    let mut explanation = Explanation::default();
    rewrite.pull(&mut batch, 1, &mut explanation).unwrap();
    let event = strict(&batch.close()).unwrap()["batch"][0].clone();
    let explanation = strict(&explanation.0).unwrap();
    (event["properties"].clone(), explanation)
}

#[test]
fn every_event_has_the_projects_constants_unless_it_has_its_own() {
    let constants = [
        "environment",
        "name",
        "title",
        "total",
        "segment_app",
        "distinct_id",
        "utm_source",
    ];
    let recipient = || Recipient {
        project: ProjectId::of(&ApiKey::new("phc_c").unwrap()),
        properties: constants
            .iter()
            .map(|name| ((*name).to_owned(), "\"constant\"".to_owned()))
            .collect(),
    };
    let page = r#"{"type":"page","userId":"u","name":"Home","properties":{"total":1},
        "context":{"app":{"name":"a"},"page":{"title":"T","url":"https://a.test/?utm_source=x"}}}"#;
    let (page, _) = pulled(Mapping::default(), recipient(), page);
    assert_eq!(page["environment"], "constant");
    for (key, expected) in [
        ("name", json!("Home")),
        ("title", json!("T")),
        ("total", json!(1)),
        ("segment_app", json!({"name": "a"})),
        ("distinct_id", json!("u")),
        ("utm_source", json!("x")),
    ] {
        assert_eq!(page[key], expected, "{key}");
    }
    for body in [
        r#"{"type":"track","event":"E","userId":"u"}"#,
        r#"{"type":"identify","userId":"u"}"#,
        r#"{"type":"group","userId":"u","groupId":"g"}"#,
        r#"{"type":"alias","userId":"u","previousId":"p"}"#,
    ] {
        for mapping in [Mapping::reference(), Mapping::default()] {
            let (properties, _) = pulled(mapping, recipient(), body);
            assert_eq!(properties["environment"], "constant", "{body}");
            assert_eq!(properties["title"], "constant", "{body}");
        }
    }
}

#[test]
fn an_explanation_has_each_property_that_leaves_and_no_other() {
    let body = r#"{"type":"page","userId":"u","anonymousId":"a","properties":{"email":"e","order":{"x": 1,"card":"c"},
        "plain" : [ 1, 2 ],"gclid":"G"},"context":{"ip":"203.0.113.9","page":{"url":"https://a.test/?gclid=G"},"library":{"name":"analytics.js"}}}"#;
    let path = |text: &str| text.parse().unwrap();
    let privacy = Privacy {
        drop: vec![path("email"), path("*.card"), path("segment_page.none")],
        hash: vec![path("$device_id")],
        ip: IpMask::All,
        click_ids: ClickIds::Mask,
        ..Privacy::default()
    };
    let mapping = Mapping {
        privacy,
        ..Mapping::default()
    };
    let (properties, explanation) = pulled(mapping, Recipient::default(), body);
    let keys = |object: &Json| {
        let mut keys: Vec<_> = object.as_object().unwrap().keys().cloned().collect();
        keys.sort_unstable();
        keys
    };
    assert_eq!(keys(&properties), keys(&explanation));
    for (key, expected) in [
        ("order", "properties.order, then changed by privacy"),
        ("plain", "properties.plain"),
        ("gclid", "properties.gclid, then changed by privacy"),
        ("$ip", "context.ip, then changed by privacy"),
        ("$geoip_disable", "privacy: no address leaves"),
        ("distinct_id", "userId"),
    ] {
        assert_eq!(explanation[key], expected, "{key}");
    }
}

#[test]
fn every_property_of_every_vector_and_recording_is_explained() {
    const SPREAD: &str =
        r#"{"type":"page","userId":"u","properties":"ab","context":["x",{"y":1}]}"#;
    let mut wrong = Vec::new();
    let mut bodies = super::bodies::bodies();
    bodies.push(("spread".to_owned(), Call::Batch, SPREAD.into()));
    for (name, call, body) in bodies {
        for mapping in [Mapping::default(), Mapping::reference()] {
            let rewriter = Arc::new(Rewriter::new(mapping, Bounds::default()));
            let mut rewrite = rewriter
                .begin(Arrival {
                    explanations: Explanations::On,
                    ..arrival(call, Some("2026-11-23T12:00:00Z"))
                })
                .address_to(Arc::default());
            rewrite.push(&body).unwrap();
            rewrite.end();
            let mut pulled = Pulled::Full;
            while pulled == Pulled::Full {
                let mut batch = Batch::open(&Envelope::new(&ApiKey::new("phc_test").unwrap()));
                let mut explanation = Explanation::default();
                pulled = rewrite.pull(&mut batch, 1, &mut explanation).unwrap();
                let json = strict(&batch.close()).unwrap();
                let Some(properties) = json["batch"][0]["properties"].as_object() else {
                    continue;
                };
                let explanation = strict(&explanation.0).unwrap();
                let explained = explanation.as_object().unwrap();
                if !properties.keys().eq(explained.keys()) {
                    wrong.push(format!("{name}: {properties:?}\n  {explained:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_sixth_type_of_groups_is_reported_once_for_each_project() {
    let mut items = Vec::new();
    for number in 0..8 {
        items.push(format!(
            r#"{{"type":"track","event":"E","userId":"u","properties":{{"$groups":{{"type {}":"g"}}}}}}"#,
            number % 4
        ));
    }
    items.push(r#"{"type":"track","event":"E","userId":"u","context":{"groupId":"g"}}"#.to_owned());
    items.push(r#"{"type":"group","userId":"u","groupId":"g"}"#.to_owned());
    let five = format!("{{\"batch\":[{}]}}", items.join(","));
    let sixth = r#"{"type":"group","userId":"u","groupId":"g","traits":{"groupType":"si\"xth"}}"#;
    let seventh =
        r#"{"type":"track","event":"E","userId":"u","properties":{"$groups":{"seventh":1}}}"#;
    for mapping in [Mapping::default(), Mapping::reference()] {
        let rewriter = Arc::new(Rewriter::new(
            Mapping {
                group_type_from: crate::rewrite::GroupTypeFrom::Traits,
                ..mapping
            },
            Bounds::default(),
        ));
        let reported = |body: &str| {
            let chunks: [&[u8]; 1] = [body.as_bytes()];
            let arrival = arrival(Call::Batch, None);
            rewrite_through(&rewriter, arrival, &chunks, PostHogAnswer::No)
                .unwrap()
                .reports
        };
        assert_eq!(reported(&five), Vec::<String>::new());
        assert_eq!(reported(sixth), ["notice sixth_group_type"]);
        assert_eq!(reported(sixth), Vec::<String>::new());
        assert_eq!(reported(seventh), Vec::<String>::new());
    }
}
