//! Checks what an installation needs: the connection to PostHog, the disk, the certificates, and
//! the path from outside. [`crate::doctor`] evaluates the results.

mod key;
mod machine;
mod outside;
pub(super) mod probe;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use http::header;
use serde_json::json;
use tokio::net::{lookup_host, TcpStream};
use tokio::time::timeout;

use crate::config::{Action, Config, Project};
use crate::doctor::{self, milliseconds, Finding};
use crate::posthog::{Batch, Envelope, Host, BATCH_PATH};

use crate::proxy::outbound::pools::ConnectionPools;
use crate::proxy::outbound::upstream::Timeouts;
use crate::proxy::outbound::verdict::{BatchVerdict, NoAnswerReason};
use crate::proxy::random::random_bits;
use probe::Probe;

pub use key::unknown_keys;

/// The event that is sent to each project.
pub const TEST_EVENT: &str = "hedgerow_doctor";

/// Examines everything that a configuration names and, if the site's URL is given, the path from outside.
/// Sends one event named [`TEST_EVENT`] to each project, and one more over the URL.
pub async fn examine(config: &Config, url: Option<&Host>) -> Vec<Finding> {
    let mut findings = machine::examine(config);
    for project in &config.projects {
        findings.extend(doctor::project(
            &project.name,
            project.api_key.expose(),
            &project.host,
        ));
        let about = format!("project {}", project.name);
        if examine_connection(&about, &project.host, config, &mut findings).await {
            findings.extend(event(project, config).await);
            findings.extend(key::examine(project, config).await);
        }
    }
    for route in &config.routes {
        match &route.action {
            Action::Segment { files, .. } => {
                let hosts = files.forward.iter().flat_map(|to| [&to.api, &to.cdn]);
                for host in hosts {
                    let about = format!("forward of {}", route.path);
                    examine_connection(&about, host, config, &mut findings).await;
                }
            }
            Action::Origin(origin) => {
                for server in &origin.servers {
                    let about = format!("origin of {}", route.path);
                    examine_connection(&about, server, config, &mut findings).await;
                }
            }
            Action::PostHog(_) => {}
        }
    }
    if let Some(url) = url {
        findings.extend(outside::examine(config, url).await);
    }
    findings
}

fn timeouts(config: &Config) -> Timeouts {
    Timeouts {
        connect: config.delivery.connect_timeout,
        exchange: config.delivery.timeout,
    }
}

/// Looks up the addresses of a host and connects to one of them. Returns whether a connection was
/// possible.
async fn examine_connection(
    about: &str,
    host: &Host,
    config: &Config,
    findings: &mut Vec<Finding>,
) -> bool {
    let (name, port) = (host.name(), host.port());
    let patience = config.delivery.connect_timeout;
    let dns = format!("{about}, DNS");
    let found = timeout(patience, lookup_host((name, port))).await;
    let addresses: Vec<_> = match found {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(_)) | Err(_) => Vec::new(),
    };
    let Some(first) = addresses.first() else {
        let advice = NoAnswerReason::Dns.advice().1;
        findings.push(Finding::bad(dns, format!("{name} has no address"), advice));
        return false;
    };
    let more = match addresses.len() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    // A host that is given as an IP address needs no DNS.
    if host.address().is_none() {
        let said = format!("{name} is {}{more}", first.ip());
        findings.push(Finding::ok(dns, said));
    }
    let tcp = format!("{about}, TCP");
    let mut reasons = Vec::new();
    for address in &addresses {
        let began = Instant::now();
        match timeout(patience, TcpStream::connect(address)).await {
            Ok(Ok(_)) => {
                let took = milliseconds(began.elapsed());
                let said = format!("connected to {address} in {took}");
                findings.push(Finding::ok(tcp, said));
                return true;
            }
            Ok(Err(error)) => reasons.push(format!("{address}: {error}")),
            Err(_) => reasons.push(format!(
                "{address}: no answer in {}",
                milliseconds(patience)
            )),
        }
    }
    let advice = NoAnswerReason::Connect.advice().1;
    findings.push(Finding::bad(tcp, reasons.join("; "), advice));
    false
}

/// Sends one event, and evaluates PostHog's answer.
async fn event(project: &Project, config: &Config) -> Vec<Finding> {
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
    let asking = Probe::new(&project.host, Arc::clone(&connections), timeouts(config));
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
    let sent = asking
        .ask("POST", BATCH_PATH, &json, Bytes::from(body))
        .await;
    let secure = project.host.to_string().starts_with("https://");
    let answer = match sent {
        Ok(answer) => answer,
        Err(trouble) => {
            let (kind, advice) = trouble.advice();
            let about = if trouble == NoAnswerReason::Tls {
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
fn uuid() -> String {
    let bits = random_bits().to_be_bytes();
    uuid::Builder::from_random_bytes(bits)
        .into_uuid()
        .to_string()
}
