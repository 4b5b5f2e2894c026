//! `hedgerow run`: the proxy in front of PostHog and, if there is one, of the site.

use std::path::{Path, PathBuf};

use clap::Args;
use hedgerow::proxy::{FetchError, Server};
use hedgerow::Hedgerow;

use super::output::complain;
use super::{file, supervisor, End};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The configuration, as with -c.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Take over the listening sockets of the process that serves now, which leaves then. It is
    /// asked at `server.upgrade_socket`.
    #[arg(short, long)]
    upgrade: bool,
}

/// Serves until it is told to stop.
pub(super) fn run(config: Option<&Path>, options: &Options) -> End {
    let path = match file::find(config, options.file.as_deref()) {
        Ok(path) => path,
        Err(end) => return end,
    };
    let (config, warnings) = match super::load_with_warnings(&path) {
        Ok(loaded) => loaded,
        Err(end) => return end,
    };
    for warning in &warnings {
        log::warn!("{}:{warning}", path.display());
    }
    if config.delivery.spool.is_some() {
        outlive_file_size_limit();
    }
    match super::fetch(&config) {
        Ok(()) => {}
        Err(error @ FetchError::Wrong { .. }) => {
            complain!("hedgerow: {error}");
            return End::Unable;
        }
        // Calls are taken all the same; the first page that asks for the script tries again.
        Err(error) => log::warn!("analytics.js is not there yet: {error}"),
    }
    let server = Hedgerow::new(config)
        .map_err(|error| error.to_string())
        .and_then(|hedgerow| {
            let server = match options.upgrade {
                true => Server::take_over(hedgerow),
                false => Server::new(hedgerow),
            };
            server.map_err(|error| error.to_string())
        });
    match server {
        Ok(server) => {
            supervisor::tell_ready();
            for address in server.addresses() {
                log::info!("listening on {address}");
            }
            server.run();
            End::Well
        }
        Err(reason) => {
            complain!("hedgerow: {reason}");
            End::Unable
        }
    }
}

/// Lets the spool meet a limit on file sizes as a full disk, instead of ending the process.
fn outlive_file_size_limit() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let set = runtime.and_then(|runtime| {
        runtime.block_on(async { hedgerow::delivery::outlive_file_size_limit() })
    });
    if let Err(error) = set {
        log::warn!("a limit on file sizes would end this process: {error}");
    }
}
