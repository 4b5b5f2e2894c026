//! Shows the active configuration without its secrets, to people and to `hedgerow check --against`.

use std::path::Path;

use http::StatusCode;
use serde_json::json;

use super::state::ConfigState;
use crate::handler::{pairs, Response};

/// The allowed length of a salt, in bytes.
const SALT: std::ops::RangeInclusive<usize> = 16..=128;

/// Returns the response. If the query has a `salt`, each hidden value has a digest that is computed with
/// it, so that a client that knows the value can compare it. Without a salt, there are no digests.
pub(super) fn running(state: &ConfigState, file: Option<&Path>, query: Option<&str>) -> Response {
    let pairs = pairs(query.unwrap_or_default());
    let salt = pairs.into_iter().find(|(name, _)| name == "salt");
    let salt = salt.map(|(_, salt)| salt);
    if salt
        .as_ref()
        .is_some_and(|salt| !SALT.contains(&salt.len()))
    {
        let text = "A salt has 16 to 128 characters.\n";
        return Response::new(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", text);
    }
    let Some(outline) = &state.outline else {
        let text = "The configuration of this process was not read from a file.\n";
        return Response::new(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", text);
    };
    let values = match salt {
        Some(salt) => outline.sealed(salt.as_bytes()),
        None => outline.without_digests(),
    };
    let text = json!({
        "generation": state.generation,
        "since": state.since,
        "file": file.map(|file| file.display().to_string()),
        "last_refusal": state.last_refusal.as_ref().map(|refusal| {
            json!({"at": refusal.at, "says": refusal.says})
        }),
        "values": values.to_json(),
    });
    Response::new(StatusCode::OK, "application/json", text.to_string())
}
