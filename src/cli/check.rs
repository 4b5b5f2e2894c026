//! `hedgerow check`: a configuration looked over without being used.

use std::path::Path;

use hedgerow::config;

use super::End;

/// Prints the routes as a table, or every mistake with its place.
pub(super) fn check(path: &Path) -> End {
    match super::load(path) {
        Ok(config) => {
            print!("{}", config::render_table(&config));
            End::Well
        }
        Err(end) => end,
    }
}
