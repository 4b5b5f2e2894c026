//! The data of the strip at the top of the live view.

use std::path::Path;

use serde_json::{json, Value};

use super::samples::SampleHistory;
use super::state::{PostHogCondition, ProjectState, ProxyState};

/// Returns the data of the strip at `now`, in seconds since 1970.
pub(super) fn overview(
    state: &ProxyState,
    samples: &SampleHistory,
    file: Option<&Path>,
    now: i64,
) -> Value {
    let waiting = samples.waiting_for(state, now);
    let projects = state.projects.iter().map(|project| {
        let since = waiting.get(&project.name);
        project_of(project, since.copied())
    });
    json!({
        "now": now,
        "file": file.map(|file| file.display().to_string()),
        "version": env!("CARGO_PKG_VERSION"),
        "config": {
            "generation": state.config.generation,
            "since": state.config.since,
            "refused": state.config.last_refusal.as_ref().map(|refusal| {
                json!({"at": refusal.at, "says": refusal.says})
            }),
        },
        "projects": projects.collect::<Vec<_>>(),
        "spool": state.spool.is_some(),
        "unready": state.unready.iter().map(|reason| reason.word()).collect::<Vec<_>>(),
        "refused_lately": samples.refused_lately(state),
        "hour": samples.hour(),
    })
}

fn project_of(project: &ProjectState, waiting_for: Option<i64>) -> Value {
    let failure = project.trouble.as_ref();
    let condition = match (project.posthog, failure) {
        (PostHogCondition::Away, _) => "away",
        (PostHogCondition::Available, Some(_)) => "failing",
        (PostHogCondition::Available, None) => "well",
    };
    json!({
        "name": project.name,
        "posthog": condition,
        "failing_since": failure.map(|failure| failure.since),
        "failed": failure.map(|failure| failure.failed),
        "last_error": project.last_error.as_ref().map(|error| {
            json!({"at": error.at, "says": error.says})
        }),
        "accepted": project.answers.accepted,
        "waiting": project.waiting,
        "waiting_bytes": project.waiting_bytes,
        "oldest": project.oldest.map(|age| age.as_secs()),
        "waiting_for": waiting_for,
        "dead_letters": project.dead_letters,
        "stalled": project.stalled.as_ref().map(|stalled| stalled.reason.as_str()),
    })
}
