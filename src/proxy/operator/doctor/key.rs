//! Checks whether PostHog has a project with a key. PostHog answers 200 to events with every key of the right
//! form, and drops those whose key is of another region. The configuration that posthog-js requests exists
//! only for real keys (posthog-ingestion 6.6).

use bytes::Bytes;

use crate::config::{Config, Project};
use crate::doctor::{self, Finding, KeyKnown};
use crate::posthog::Host;

use super::probe::{timeouts, Probe};
use crate::proxy::outbound::pools::ConnectionPools;

/// Asks for a project's key where its events go and, if it is not known there, in the other region.
pub(super) async fn examine(project: &Project, config: &Config) -> Option<Finding> {
    let here = look_up_key(project, &project.host, config).await?;
    let other = project.host.other_cloud();
    let elsewhere = match (&other, here) {
        (Some((name, host)), KeyKnown::No) => match look_up_key(project, host, config).await {
            Some(KeyKnown::Yes) => Some(*name),
            _ => None,
        },
        _ => None,
    };
    let installation = match other {
        Some(_) => doctor::Installation::Cloud,
        None => doctor::Installation::Own,
    };
    Some(doctor::key(&project.name, here, elsewhere, installation))
}

/// Asks a host whether it knows the project's key. Returns `None` if the answer does not decide it.
async fn look_up_key(project: &Project, host: &Host, config: &Config) -> Option<KeyKnown> {
    let key = project.api_key.expose();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !key.bytes().all(plain) {
        return None;
    }
    let authorities = project.ca_file.as_ref().map(|file| file.path.as_path());
    let connections = ConnectionPools::default().of(host, authorities).ok()?;
    let probe = Probe::new(host, connections, timeouts(config));
    let path = format!("/array/{key}/config");
    let answer = probe.ask("GET", &path, &[], Bytes::new()).await.ok()?;
    match answer.head.status.as_u16() {
        200 if answer.body.trim_start().starts_with('{') => Some(KeyKnown::Yes),
        404 => Some(KeyKnown::No),
        _ => None,
    }
}

/// Returns the warnings of `run` for projects whose key PostHog's cloud does not know. `run` does not
/// ask self-hosted PostHogs, because older versions lack this endpoint. `doctor` asks them too, with
/// [`examine`](super::examine), and reports an unknown key there only as a notice.
pub async fn unknown_keys(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    for project in &config.projects {
        if project.host.other_cloud().is_none() {
            continue;
        }
        let found = examine(project, config).await;
        let bad = found.filter(|finding| finding.status == doctor::CheckStatus::Failed);
        problems.extend(bad.map(|finding| {
            let advice = finding.advice.unwrap_or_default();
            format!("{}: {}; {advice}", finding.about, finding.observation)
        }));
    }
    problems
}
