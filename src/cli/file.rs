//! Which configuration is meant.

use std::path::{Path, PathBuf};

use super::output::complain;
use super::CommandEnd;

/// The variable that names it.
const VARIABLE: &str = "HEDGEROW_CONFIG";
/// Where this process looks for otherwise, in this order.
const PLACES: [&str; 3] = [
    "hedgerow.yaml",
    "conf/hedgerow.yaml",
    "/etc/hedgerow/hedgerow.yaml",
];

/// The file of `-c`, or the argument of the command, or the first existing one. Without one,
/// standard error says what to do.
pub(super) fn find(option: Option<&Path>, argument: Option<&Path>) -> Result<PathBuf, CommandEnd> {
    match (option, argument) {
        (Some(one), Some(other)) if one != other => {
            complain!(
                "hedgerow: two configurations are named: {} and {}",
                one.display(),
                other.display()
            );
            Err(CommandEnd::Unable)
        }
        (Some(named), _) | (None, Some(named)) => Ok(named.to_owned()),
        (None, None) => find_default(),
    }
}

fn find_default() -> Result<PathBuf, CommandEnd> {
    let named = std::env::var_os(VARIABLE).filter(|name| !name.is_empty());
    if let Some(named) = named {
        return Ok(named.into());
    }
    // A file that exists and cannot be read is an error, and is not skipped.
    let found = PLACES.iter().map(Path::new).find(|path| path.exists());
    if let Some(path) = found {
        return Ok(path.to_owned());
    }
    complain!(
        "hedgerow: no configuration found: no -c FILE, no ${VARIABLE}, and nothing at {}\n\
         `hedgerow init --output hedgerow.yaml` creates one",
        PLACES.join(", ")
    );
    Err(CommandEnd::Unable)
}
