//! `hedgerow run`: the proxy in front of PostHog and, if there is one, of the site.

use std::path::{Path, PathBuf};

use clap::Args;
use hedgerow::config::Config;
use hedgerow::proxy::{unknown_keys, FetchError, Server};
use hedgerow::Hedgerow;

use super::output::complain;
use super::{file, greeting, supervisor, End};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The configuration, as with -c.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Take over the listening sockets of the process that serves now, which leaves then. It is
    /// asked at `server.upgrade_socket`.
    #[arg(short, long)]
    upgrade: bool,
    /// How the lines of the log look.
    #[arg(long, value_enum, default_value = "text")]
    log_format: super::LogFormat,
}

impl Options {
    /// How the lines of the log look.
    pub(super) fn log_format(&self) -> super::LogFormat {
        self.log_format
    }
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
    allow_descriptors(config.limits.connections);
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
                true => Server::take_over(hedgerow.clone()),
                false => Server::new(hedgerow.clone()),
            };
            let server = server.map_err(|error| error.to_string())?;
            Ok((server, hedgerow))
        });
    match server {
        Ok((server, hedgerow)) => {
            supervisor::tell_ready();
            for line in greeting::lines(&hedgerow, server.addresses()) {
                log::info!("{line}");
            }
            look_at_keys(hedgerow.config().clone());
            drop(hedgerow);
            server.run();
            log::info!("it has left");
            End::Well
        }
        Err(reason) => {
            complain!("hedgerow: {reason}");
            End::Unable
        }
    }
}

/// Asks PostHog's cloud, beside everything else, whether it has projects with these keys. It says yes
/// to the events of any key, and throws away those of a key that it has not.
fn look_at_keys(config: Config) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let Ok(runtime) = runtime else {
            return;
        };
        for warning in runtime.block_on(unknown_keys(&config)) {
            log::error!("{warning}");
        }
    });
}

/// Descriptors for anything but clients' connections: connections to PostHog, files.
const OTHERS: u64 = 512;

/// Raises the bound on descriptors as far as this process may, and says when it is not enough for
/// the connections that are allowed.
fn allow_descriptors(connections: usize) {
    use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
    let wanted = connections as u64 + OTHERS;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    let allowed = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raised = Rlimit {
        current: Some(allowed),
        maximum,
    };
    let allowed = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => allowed,
        Err(_) => current.unwrap_or_default(),
    };
    if allowed < wanted {
        log::warn!(
            "{allowed} descriptors are allowed, which is too few for {connections} connections \
             (`limits.connections`); raise LimitNOFILE or `ulimit -n` to {wanted}"
        );
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
