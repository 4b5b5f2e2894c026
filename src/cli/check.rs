//! `hedgerow check`: a configuration looked over without being used.

use std::path::{Path, PathBuf};

use clap::Args;
use hedgerow::config::{self, Config};
use hedgerow::proxy::{check_server, FetchError};

use super::output::{complain, print};
use super::{doctor, file, End, Keys};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The configuration, as with -c.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Take the variables and secret files that it names as if they were there: for a machine that
    /// has no keys.
    #[arg(long)]
    no_secrets: bool,
    /// Look at everything around it as well, as `doctor` does. Sends an event to each project.
    #[arg(long, conflicts_with = "no_secrets")]
    online: bool,
    /// Say what is different from this configuration, such as the one that is at work, instead of
    /// printing the routes.
    #[arg(long, value_name = "FILE", conflicts_with = "online")]
    against: Option<PathBuf>,
}

/// Prints the routes as a table, or every mistake with its place.
pub(super) fn check(config: Option<&Path>, options: &Options) -> End {
    let keys = match options.no_secrets {
        true => Keys::Spared,
        false => Keys::Needed,
    };
    let loaded = file::find(config, options.file.as_deref())
        .and_then(|path| Ok((super::load(&path, keys)?, path)));
    match loaded {
        Ok((config, path)) => {
            let printed = match &options.against {
                None => print(&config::render_table(&config)),
                Some(other) => against(other, &path),
            };
            match startable(config.clone()) {
                Ok(()) if options.online => doctor::look(&config, None),
                Ok(()) => printed,
                Err(reasons) => {
                    for reason in reasons {
                        complain!("hedgerow: {reason}");
                    }
                    End::Unable
                }
            }
        }
        Err(end) => end,
    }
}

/// Prints what changes from one file to another.
fn against(before: &Path, after: &Path) -> End {
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|error| {
            complain!("hedgerow: {}: {error}", path.display());
            End::Unable
        })
    };
    let texts = read(before).and_then(|before| Ok((before, read(after)?)));
    let (old, new) = match texts {
        Ok(texts) => texts,
        Err(end) => return end,
    };
    match config::differences(&old, &new) {
        Ok(found) => print(&config::render_differences(&found)),
        Err(problems) => {
            let name = before.display().to_string();
            super::remark(&config::render_problems(&problems, &name));
            End::Unable
        }
    }
}

/// Whether `run` would start. Of analytics.js, what is not kept yet is fetched now, so that the
/// start needs no network.
fn startable(config: Config) -> Result<(), Vec<String>> {
    let mut reasons = Vec::new();
    match super::fetch(&config) {
        Ok(()) => {}
        Err(error @ FetchError::Wrong { .. }) => reasons.push(error.to_string()),
        Err(error) => complain!("hedgerow: warning: {error}"),
    }
    let found = check_server(config);
    for warning in &found.warnings {
        complain!("hedgerow: warning: {warning}");
    }
    reasons.extend(found.refusals.iter().map(ToString::to_string));
    match reasons.is_empty() {
        true => Ok(()),
        false => Err(reasons),
    }
}
