//! Finds the configuration file and loads it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hedgerow::config::{self, Config, ConfigError};
use hedgerow::proxy::{fetch_libraries, FetchError};

use super::command_end::CommandEnd;
use super::output::complain;

/// The environment variable that names the configuration file.
const VARIABLE: &str = "HEDGEROW_CONFIG";
/// The paths that are tried, in this order, if nothing names the file.
const PLACES: [&str; 3] = [
    "hedgerow.yaml",
    "conf/hedgerow.yaml",
    "/etc/hedgerow/hedgerow.yaml",
];

/// Returns the file that `-c`, the argument of the command or `HEDGEROW_CONFIG` names, otherwise the first
/// default path that exists. If there is none, it prints to standard error what to do.
pub(super) fn find(option: Option<&Path>, argument: Option<&Path>) -> Result<PathBuf, CommandEnd> {
    match (option, argument) {
        (Some(one), Some(other)) if one != other => {
            complain!(
                "hedgerow: expected one configuration, but two are given: {} and {}",
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
    // A file that exists but cannot be read is an error; it is not skipped.
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

/// Whether a command needs the values of the secrets that a configuration names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyLookup {
    Needed,
    /// The secrets are not needed; placeholders replace missing ones.
    Spared,
}

/// Loads a configuration, and prints mistakes and warnings to standard error.
pub(super) fn load(path: &Path, keys: KeyLookup) -> Result<Config, CommandEnd> {
    let name = path.display().to_string();
    let (config, warnings) = or_print_problems(
        path,
        match keys {
            KeyLookup::Needed => Config::load(path),
            KeyLookup::Spared => Config::load_without_secrets(path),
        },
    )?;
    print_lines(&config::render_warnings(&warnings, &name));
    Ok(config)
}

/// Returns the loaded value, or prints the mistakes to standard error.
pub(super) fn or_print_problems<T>(
    path: &Path,
    loaded: Result<T, ConfigError>,
) -> Result<T, CommandEnd> {
    let name = path.display().to_string();
    match loaded {
        Ok(loaded) => Ok(loaded),
        Err(ConfigError::Invalid { problems, .. }) => {
            print_lines(&config::render_problems(&problems, &name));
            Err(CommandEnd::Unable)
        }
        Err(error) => {
            complain!("hedgerow: {error}");
            Err(CommandEnd::Unable)
        }
    }
}

/// Writes lines to standard error.
pub(super) fn print_lines(lines: &str) {
    if !lines.is_empty() {
        complain!("{}", lines.trim_end());
    }
}

/// The time limit for downloads at the start.
const FETCH: Duration = Duration::from_secs(5);

/// Fetches archives that are not stored yet.
pub(super) fn fetch(config: &Config) -> Result<(), FetchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        // If the system lacks something, the start of the server reports it.
        return Ok(());
    };
    let fetching = async { tokio::time::timeout(FETCH, fetch_libraries(config)).await };
    let fetched = runtime.block_on(fetching);
    fetched.unwrap_or(Err(FetchError::Late))
}
