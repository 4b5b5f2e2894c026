//! `hedgerow schema`: the JSON Schema of the configuration.

use hedgerow::config::json_schema;

use super::command_end::CommandEnd;
use super::output::{complain, print};

/// Prints the schema.
pub(super) fn schema() -> CommandEnd {
    match serde_json::to_string_pretty(&json_schema()) {
        Ok(text) => print(&format!("{text}\n")),
        Err(error) => {
            complain!("hedgerow: the schema cannot be written: {error}");
            CommandEnd::Unable
        }
    }
}
