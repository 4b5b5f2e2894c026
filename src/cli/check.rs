//! `hedgerow check`: checks a configuration without using it.

use std::path::{Path, PathBuf};

use chrono::DateTime;
use clap::Args;
use hedgerow::admin::{AccessToken, LiveView};
use hedgerow::config::{self, Config};
use hedgerow::posthog::{Host, HostError};
use hedgerow::proxy::{check_server, compare_with_running, FetchError};

use super::command_end::CommandEnd;
use super::doctor;
use super::file::{self, KeyLookup};
use super::output::{complain, print};

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The configuration, as with -c.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Assume that the variables and secret files of the configuration exist: for a machine without
    /// keys.
    #[arg(long)]
    no_secrets: bool,
    /// Also check what `doctor` checks. Sends an event to each project.
    #[arg(long, conflicts_with = "no_secrets")]
    online: bool,
    /// Print the differences from this file, or from the running process whose `admin` is at this
    /// URL (http://127.0.0.1:9090), instead of the routes.
    #[arg(long, value_name = "FILE or URL", conflicts_with = "online")]
    against: Option<String>,
    /// The token of the `admin` at that URL: env:NAME, file:PATH or the token itself. The default is
    /// the token of `admin` in this file.
    #[arg(long, value_name = "TOKEN", requires = "against")]
    token: Option<String>,
}

/// Prints the routes as a table, or the differences from another configuration, or every mistake with its
/// position.
pub(super) fn check(config: Option<&Path>, options: &CheckArgs) -> CommandEnd {
    let keys = match options.no_secrets {
        true => KeyLookup::Spared,
        false => KeyLookup::Needed,
    };
    let loaded = file::find(config, options.file.as_deref())
        .and_then(|path| Ok((file::load(&path, keys)?, path)));
    match loaded {
        Ok((config, path)) => {
            let printed = match &options.against {
                None => print(&config::render_table(&config)),
                Some(other) => against(other, &path, &config, options.token.as_deref()),
            };
            match startable(config.clone()) {
                Ok(()) if options.online => doctor::run(&config, None),
                Ok(()) => printed,
                Err(reasons) => {
                    for reason in reasons {
                        complain!("hedgerow: {reason}");
                    }
                    CommandEnd::Unable
                }
            }
        }
        Err(end) => end,
    }
}

/// Prints the differences between a file, or a running process, and this configuration.
fn against(before: &str, after: &Path, config: &Config, token: Option<&str>) -> CommandEnd {
    match before.contains("://") {
        true => against_running(before, config, token),
        false => against_file(Path::new(before), after),
    }
}

fn against_file(before: &Path, after: &Path) -> CommandEnd {
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|error| {
            complain!("hedgerow: {}: {error}", path.display());
            CommandEnd::Unable
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
            file::print_lines(&config::render_problems(&problems, &name));
            CommandEnd::Unable
        }
    }
}

fn against_running(url: &str, config: &Config, token: Option<&str>) -> CommandEnd {
    let target = admin_at(url).and_then(|host| {
        let given = token.map(token_of).transpose()?;
        let known = match &config.live {
            LiveView::Token(token) => Some(token.clone()),
            LiveView::Off | LiveView::Open => None,
        };
        Ok((host, given.or(known)))
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| error.to_string());
    let outline = config.outline.clone().unwrap_or_default();
    let running = target.and_then(|(host, token)| {
        let comparing = compare_with_running(&host, token.as_ref(), &outline);
        let compared = runtime?.block_on(comparing);
        compared.map_err(|error| error.to_string())
    });
    match running {
        Ok(running) => {
            if let Some((at, reason)) = running.last_refusal {
                let at = DateTime::from_timestamp(at, 0).unwrap_or_default();
                complain!(
                    "hedgerow: the process uses generation {} of its configuration. At {} it refused a change: {reason}",
                    running.generation,
                    at.format("%Y-%m-%dT%H:%M:%SZ")
                );
            }
            print(&config::render_differences(&running.differences))
        }
        Err(reason) => {
            complain!("hedgerow: {url}: {reason}");
            CommandEnd::Unable
        }
    }
}

/// Reads the admin address in a URL. The path `/config` after it is removed.
fn admin_at(url: &str) -> Result<Host, String> {
    let base = url.trim_end_matches('/');
    let base = base.strip_suffix("/config").unwrap_or(base);
    base.parse().map_err(|error: HostError| error.to_string())
}

fn token_of(argument: &str) -> Result<AccessToken, String> {
    let text = match (
        argument.strip_prefix("env:"),
        argument.strip_prefix("file:"),
    ) {
        (Some(name), _) => {
            std::env::var(name).map_err(|error| format!("--token: {name}: {error}"))?
        }
        (None, Some(path)) => {
            std::fs::read_to_string(path).map_err(|error| format!("--token: {path}: {error}"))?
        }
        (None, None) => argument.to_owned(),
    };
    AccessToken::new(text.trim()).map_err(|message| format!("--token: {message}"))
}

/// Returns the reasons for which `run` would not start, if any. It fetches archives of analytics.js that
/// are not stored yet, so that the start needs no network.
fn startable(config: Config) -> Result<(), Vec<String>> {
    let mut reasons = Vec::new();
    match file::fetch(&config) {
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
