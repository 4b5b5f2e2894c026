//! `hedgerow check`: a configuration looked over without being used.

use std::path::Path;

use hedgerow::config::{self, Config};
use hedgerow::proxy::{check_libraries, FetchError};

use super::output::{complain, print};
use super::End;

/// Prints the routes as a table, or every mistake with its place.
pub(super) fn check(path: &Path) -> End {
    match super::load(path) {
        Ok(config) => {
            let printed = print(&config::render_table(&config));
            match libraries(&config) {
                Ok(()) => printed,
                Err(reason) => {
                    complain!("hedgerow: {reason}");
                    End::Unable
                }
            }
        }
        Err(end) => end,
    }
}

/// Whether analytics.js can be served, where a route does. What is not kept yet is fetched now, so
/// that the start needs no network.
fn libraries(config: &Config) -> Result<(), String> {
    match super::fetch(config) {
        Ok(()) => {}
        Err(error @ FetchError::Wrong { .. }) => return Err(error.to_string()),
        Err(error) => complain!("hedgerow: warning: {error}"),
    }
    check_libraries(config).map_err(|error| error.to_string())
}
