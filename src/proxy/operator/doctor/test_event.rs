//! Sends one event to a project's PostHog.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use http::header;
use serde_json::json;

use crate::config::{Config, Project};
use crate::doctor::{self, Finding};
use crate::posthog::{Batch, Envelope, BATCH_PATH};

use super::probe::{timeouts, Probe};
use crate::proxy::outbound::pools::ConnectionPools;
use crate::proxy::outbound::verdict::{BatchVerdict, NoAnswerReason};
use crate::proxy::random::random_bits;

/// The event that is sent to each project.
pub const TEST_EVENT: &str = "hedgerow_doctor";

/// Sends one event, and evaluates PostHog's answer.
pub(super) async fn examine(project: &Project, config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (tls, about) = (
        format!("project {}, TLS", project.name),
        format!("project {}, event", project.name),
    );
    let authorities = project.ca_file.as_ref().map(|file| file.path.as_path());
    let mut known = ConnectionPools::default();
    let connections = match known.of(&project.host, authorities) {
        Ok(connections) => connections,
        Err(error) => {
            let advice = "install ca-certificates, or name the authority in `ca_file`";
            return vec![Finding::bad(tls, error.to_string(), advice)];
        }
    };
    let probe = Probe::new(&project.host, Arc::clone(&connections), timeouts(config));
    let event = json!({
        "event": TEST_EVENT,
        "uuid": uuid(),
        "timestamp": DateTime::<Utc>::from(SystemTime::now()).to_rfc3339_opts(SecondsFormat::Millis, true),
        "properties": {
            "distinct_id": "hedgerow-doctor",
            "$process_person_profile": false,
            "$geoip_disable": true,
            "$lib": "hedgerow",
        },
    });
    let body = Batch::of(&Envelope::new(&project.api_key), [event.to_string()]);
    let json = [("content-type", "application/json")];
    let sent = probe
        .ask("POST", BATCH_PATH, &json, Bytes::from(body))
        .await;
    let secure = project.host.to_string().starts_with("https://");
    let answer = match sent {
        Ok(answer) => answer,
        Err(reason) => {
            let (kind, advice) = reason.advice();
            let about = if reason == NoAnswerReason::Tls {
                tls
            } else {
                about
            };
            return vec![Finding::bad(about, format!("no answer ({kind})"), advice)];
        }
    };
    if secure {
        findings.push(Finding::ok(tls, "its certificate is trusted"));
    }
    let status = answer.head.status.as_u16();
    let verdict = BatchVerdict::from_response(status, answer.head.html, answer.head.retry_after);
    findings.push(match verdict.advice() {
        None => Finding::ok(
            about,
            format!(
                "accepted ({status}); PostHog answers so to every key of the right form, so look for {TEST_EVENT} \
                 under Activity in PostHog"
            ),
        ),
        Some((_, advice)) => {
            let to = answer.field("location");
            let to = to.map_or(String::new(), |to| format!(", to {to}"));
            Finding::bad(about, format!("answered {status}{to}"), advice)
        }
    });
    let date = answer.field(header::DATE.as_str());
    let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
    if let (Some(date), BatchVerdict::Accepted) = (date, verdict) {
        let seconds = |time: SystemTime| DateTime::<Utc>::from(time).timestamp();
        findings.push(doctor::clock(seconds(SystemTime::now()) - seconds(date)));
    }
    findings
}

/// Returns a random UUID.
pub(super) fn uuid() -> String {
    let bits = random_bits().to_be_bytes();
    uuid::Builder::from_random_bytes(bits)
        .into_uuid()
        .to_string()
}
