//! Tests of the flag that makes PostHog drop the events which change persons and groups.

use super::who::{event_of, properties_of, run, track, NOW};
use super::*;
use crate::rewrite::mapping::PersonProfiles;

const PROFILE: &str = "$process_person_profile";

/// Returns messages that make PostHog change persons and groups, with every event name that does so.
fn changes() -> Vec<Json> {
    let mut messages = vec![
        json!({"type": "identify", "userId": "u", "anonymousId": "a", "traits": {"x": 1}}),
        json!({"type": "identify", "anonymousId": "a", "traits": {"x": 1}}),
        json!({"type": "alias", "userId": "u", "previousId": "a"}),
        json!({"type": "group", "userId": "u", "groupId": "g"}),
        json!({"type": "group", "anonymousId": "a", "groupId": "g"}),
    ];
    for event in crate::rewrite::rules::PERSON_EVENTS {
        for id in ["userId", "anonymousId"] {
            for kind in ["track", "page"] {
                messages.push(json!({"type": kind, "event": event, id: "v", "properties": {"$set": {"x": 1}}}));
            }
        }
    }
    messages
}

fn profiles(person_profiles: PersonProfiles) -> Mapping {
    Mapping {
        person_profiles,
        ..Mapping::default()
    }
}

#[test]
fn events_that_change_persons_never_have_the_flag_for_which_posthog_drops_them() {
    for message in changes() {
        let mut flagged = message.clone();
        flagged["properties"][PROFILE] = json!(false);
        for message in [&message, &flagged] {
            for setting in [PersonProfiles::Always, PersonProfiles::IdentifiedOnly] {
                let event = event_of(&profiles(setting), message);
                assert_eq!(
                    event["properties"].get(PROFILE),
                    None,
                    "{setting:?} {message}"
                );
            }
            let never = run(&profiles(PersonProfiles::Never), message);
            assert_eq!(never.reports, ["0 person_profiles"], "{message}");
            assert_eq!(never.events.len(), 0, "{message}");
        }
    }
    // Other events keep the caller's value.
    let plain = track(json!({"properties": {PROFILE: false}}));
    assert_eq!(properties_of(&plain)[PROFILE], false);
}

#[test]
fn an_event_that_changes_a_persons_properties_gets_a_profile() {
    let identified = profiles(PersonProfiles::IdentifiedOnly);
    let flag = |properties: &Json| {
        let message =
            json!({"type": "track", "event": "A", "anonymousId": "a", "properties": properties});
        event_of(&identified, &message)["properties"]
            .get(PROFILE)
            .cloned()
    };
    for properties in [
        json!({"$set": {"x": 1}}),
        json!({"$set_once": {"x": 1}}),
        json!({"$unset": ["x"]}),
        json!({"$unset": {"x": ""}}),
    ] {
        assert_eq!(flag(&properties), None, "{properties}");
    }
    for properties in [
        json!({}),
        json!({"$set": {}}),
        json!({"$set": []}),
        json!({"$set": null}),
        json!({"$unset": []}),
        json!({"$unset": null}),
    ] {
        assert_eq!(flag(&properties), Some(json!(false)), "{properties}");
    }
    let never = profiles(PersonProfiles::Never);
    let message = track(json!({"properties": {"$unset": ["x"]}}));
    assert_eq!(event_of(&never, &message)["properties"][PROFILE], false);
}

#[test]
fn a_projects_constants_do_not_keep_posthog_from_changing_persons() {
    let flag = |message: &Json| {
        let rewriter = Rewriter::new(Mapping::default(), Bounds::default());
        let mut rewrite = rewriter
            .begin(arrival(Call::Batch, Some(NOW)))
            .address_to(Arc::new(Recipient {
                properties: vec![(PROFILE.to_owned(), "false".to_owned())],
                ..Recipient::default()
            }));
        rewrite.push(message.to_string().as_bytes()).unwrap();
        rewrite.end();
        let mut batch = Batch::open(&Envelope::new(&ApiKey::new("phc_test").unwrap()));
        rewrite.pull(&mut batch, usize::MAX, &mut ()).unwrap();
        let sent: Json = serde_json::from_slice(&batch.close()).unwrap();
        sent["batch"][0]["properties"].get(PROFILE).cloned()
    };
    assert_eq!(flag(&track(json!({}))), Some(json!(false)));
    for message in changes() {
        assert_eq!(flag(&message), None, "{message}");
    }
}
