//! Tests that the outline of a batch agrees with a parser. Every batch that the conversion tests write
//! is compared in this way.

use super::vectors::vectors;
use super::*;
use crate::posthog::{BatchOutline, EventView, Location};
use crate::rewrite::privacy::{ClickIds, IpMask, Privacy};

/// Returns the differences between an outline and its parsed batch.
pub(super) fn differences(outline: &BatchOutline, batch: &[u8], parsed: &Json) -> Vec<String> {
    let events = parsed["batch"].as_array().unwrap();
    let views: Vec<EventView<'_>> = outline.events(batch).collect();
    if (views.len(), outline.len()) != (events.len(), events.len()) {
        return vec![format!("{} of {} events", views.len(), events.len())];
    }
    let differing = views.iter().zip(events).filter(|(view, event)| {
        let of = |json: &str| serde_json::from_str::<Json>(json).unwrap_or_default();
        let whole = std::str::from_utf8(&batch[view.place.clone()]).map(of);
        let inside = std::str::from_utf8(&batch[view.properties..view.place.end - 1]).map(of);
        let properties = &event["properties"];
        let is_set = |key: &str| {
            !matches!(&properties[key], Json::Null | Json::Bool(false)) && properties[key] != ""
        };
        let is_right = whole.as_ref() == Ok(event)
            && inside.as_ref() == Ok(properties)
            && event["uuid"] == view.uuid
            && event["event"] == of(view.event_json)
            && event["event"] == view.name().as_ref()
            && event.get("timestamp").cloned() == view.timestamp_json.map(of)
            && event["timestamp"].as_str() == view.timestamp().as_deref()
            && properties["distinct_id"] == of(view.distinct_id_json)
            && (view.location == Location::Open || is_set("$ip") || is_set("$geoip_disable"));
        !is_right
    });
    let shown = differing.map(|(view, event)| format!("{view:?}\n  of {event}"));
    shown.collect()
}

/// Converts every vector in every mode that writes events differently, one by one and all in one batch.
#[test]
fn an_outline_matches_a_parser_on_every_vector() {
    let scrubbing = |ip, click_ids| Mapping {
        privacy: Privacy {
            ip,
            click_ids,
            ..Privacy::default()
        },
        ..Mapping::default()
    };
    let mappings = [
        Mapping::reference(),
        Mapping::default(),
        scrubbing(IpMask::All, ClickIds::Mask),
        scrubbing(IpMask::LastOctet, ClickIds::Keep),
    ];
    let vectors = vectors();
    let messages: Vec<&str> = vectors
        .iter()
        .map(|vector| vector.message.as_str())
        .collect();
    let batch = format!("{{\"batch\":[{}]}}", messages.join(","));
    for mapping in mappings {
        for received_at in [None, Some("2026-11-23T12:00:00Z")] {
            for body in messages.iter().copied().chain([batch.as_str()]) {
                let rewriter = Rewriter::new(mapping.clone(), Bounds::default());
                let arrival = arrival(Call::Batch, received_at);
                // This call also compares the outline with the parsed batch.
                rewrite_as(rewriter, arrival, &[body.as_bytes()]).unwrap();
            }
        }
    }
}

#[test]
fn a_location_is_settled_if_the_event_has_one_or_disables_it() {
    let of = |library: &str| {
        format!(
            r#"{{"type":"track","event":"E","userId":"u","context":{{"library":{{"name":"{library}"}}}},"properties":{{}}}}"#
        )
    };
    let own = of("analytics.js").replace("{}", r#"{"$ip":""}"#);
    let (browser, server) = (of("analytics.js"), of("analytics-node"));
    for (mapping, expected) in [
        (Mapping::reference(), "Settled Open Open"),
        // An empty `$ip` is replaced by the address of the connection, so the properties have to be
        // inspected.
        (Mapping::default(), "Settled Open Settled"),
    ] {
        let body = format!("{{\"batch\":[{browser},{own},{server}]}}");
        let rewriter = Arc::new(Rewriter::new(mapping, Bounds::default()));
        let mut rewrite = rewriter
            .begin(arrival(Call::Batch, None))
            .address_to(Arc::default());
        rewrite.push(body.as_bytes()).unwrap();
        rewrite.end();
        let envelope = Envelope::new(&ApiKey::new("phc_test").unwrap());
        let mut batch = Batch::open(&envelope).outlined();
        rewrite.pull(&mut batch, usize::MAX, &mut ()).unwrap();
        let outline = batch.take_outline().unwrap();
        let text = batch.close();
        let locations = outline
            .events(&text)
            .map(|event| format!("{:?}", event.location));
        assert_eq!(locations.collect::<Vec<_>>().join(" "), expected);
    }
}

#[test]
fn an_outline_counts_from_the_beginning_of_a_batch_of_which_parts_have_left() {
    let body = r#"{"batch":[{"type":"track","event":"A\n","userId":"a"},{"type":"page","userId":2},{"type":"track","userId":"c"},{"type":"track","event":"D","userId":"d","timestamp":"2026-11-23T12:00:00Z"}]}"#;
    let rewriter = Arc::new(Rewriter::new(Mapping::reference(), Bounds::default()));
    let mut rewrite = rewriter
        .begin(arrival(Call::Batch, None))
        .address_to(Arc::default());
    rewrite.push(body.as_bytes()).unwrap();
    rewrite.end();
    let envelope = Envelope::new(&ApiKey::new("phc_test").unwrap());
    let mut batch = Batch::open(&envelope).outlined();
    let mut text = Vec::new();
    while rewrite.pull(&mut batch, 1, &mut ()).unwrap() != Pulled::Done {
        text.extend(batch.take());
    }
    let outline = batch.take_outline().unwrap();
    text.extend(batch.close());
    let value: Json = serde_json::from_slice(&text).unwrap();
    assert_eq!(value["batch"].as_array().unwrap().len(), 3);
    assert_eq!(differences(&outline, &text, &value), Vec::<String>::new());
    assert_eq!(outline.events(&text[..text.len() / 2]).count(), 1);
}
