//! `hedgerow run`: the proxy in front of PostHog and, if there is one, of the site.

use std::path::{Path, PathBuf};

use clap::Args;
use hedgerow::clock::is_wrong;
use hedgerow::config::Config;
use hedgerow::proxy::{
    allow_descriptors, unknown_keys, ConfigFile, FetchError, ProcessSignals, Server,
};
use hedgerow::Hedgerow;

use super::command_end::CommandEnd;
use super::output::complain;
use super::process_log::{now, Access, LogFormat};
use super::{file, greeting, supervisor};

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The configuration, as with -c.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Take over the listening sockets of the running process, over its `server.upgrade_socket`. The
    /// running process then shuts down.
    #[arg(short, long)]
    upgrade: bool,
    /// The format of the log lines.
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
    /// Write a line for each request to the log: method, route, call, answer, bytes, time and trace.
    #[arg(long)]
    access_log: bool,
}

impl RunArgs {
    /// Returns the format of the log lines.
    pub(super) fn log_format(&self) -> LogFormat {
        self.log_format
    }

    /// Returns whether the log has a line for each request.
    pub(super) fn access(&self) -> Access {
        match self.access_log {
            true => Access::Logged,
            false => Access::NotLogged,
        }
    }
}

/// Serves until the process is stopped.
pub(super) fn run(config: Option<&Path>, options: &RunArgs) -> CommandEnd {
    let mut signals = match ProcessSignals::catch() {
        Ok(signals) => signals,
        Err(error) => {
            complain!("hedgerow: signals cannot be caught: {error}");
            return CommandEnd::Unable;
        }
    };
    let path = match file::find(config, options.file.as_deref()) {
        Ok(path) => path,
        Err(end) => return end,
    };
    let (followed, config, warnings) = match file::or_print_problems(&path, ConfigFile::load(&path))
    {
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
    write_no_core();
    match file::fetch(&config) {
        Ok(()) => {}
        Err(error @ FetchError::Wrong { .. }) => {
            complain!("hedgerow: {error}");
            return CommandEnd::Unable;
        }
        // Calls are accepted anyway; the first page that asks for the script tries again.
        Err(error) => log::warn!("analytics.js has not been loaded yet: {error}"),
    }
    // After this check clients may connect: they are served before the process shuts down.
    if signals.stopped() {
        log::info!("the process was stopped before it served requests");
        return CommandEnd::Well;
    }
    if now().timestamp() < 0 {
        complain!(
            "hedgerow: the clock is wrong: it shows {}. HTTP has no dates before 1970, so no request can be \
             answered. Set the clock",
            now().format("%Y-%m-%dT%H:%M:%SZ")
        );
        return CommandEnd::Unable;
    }
    let server = watched(Hedgerow::builder(config))
        .build()
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
        Ok((mut server, hedgerow)) => {
            server.follow(followed);
            supervisor::notify_ready();
            for line in greeting::lines(&hedgerow, server.addresses()) {
                log::info!("{line}");
            }
            warn_of_the_clock();
            log_expiring_certificates(&hedgerow);
            check_keys_online(Config::clone(&hedgerow.config()));
            drop(hedgerow);
            server.run_until(Box::new(signals));
            log::info!("shut down");
            CommandEnd::Well
        }
        Err(reason) => {
            complain!("hedgerow: {reason}");
            CommandEnd::Unable
        }
    }
}

/// Reports a clock that must be wrong. A machine without a hardware clock starts with such a time and
/// corrects it later over the network.
fn warn_of_the_clock() {
    let now = now();
    if is_wrong(now.into()) {
        log::error!(
            "the clock says {}, which is wrong. Events without their own time get this time, Hedgerow cannot \
             verify certificates, and `/readyz` says `clock`. Set the clock",
            now.format("%Y-%m-%dT%H:%M:%SZ")
        );
    }
}

/// The number of days before a certificate's expiry from which the process warns at its start.
const ENDING: i64 = 14;

/// Reports certificates that have expired, or expire soon.
fn log_expiring_certificates(hedgerow: &Hedgerow) {
    let now = now().timestamp();
    for certificate in hedgerow.state().certificates {
        let (file, seconds_left) = (certificate.file, certificate.expires - now);
        let days = seconds_left / (24 * 3600);
        if seconds_left <= 0 {
            log::error!(
                "the certificate {file} expired {} days ago, and clients refuse it. Renew it: \
                 Hedgerow reads the new file by itself",
                -days
            );
        } else if days < ENDING {
            log::warn!("the certificate {file} expires in {days} days");
        }
    }
}

/// Asks PostHog's cloud, in the background, whether it has projects with these keys. PostHog accepts
/// the events of any key, and drops those of an unknown one.
fn check_keys_online(config: Config) {
    let thread = std::thread::Builder::new().name("keys".to_owned());
    let started = thread.spawn(move || {
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
    if let Err(error) = started {
        log::warn!("PostHog cannot be asked whether it knows the projects' keys: {error}");
    }
}

/// Disables core files, so that a crash leaves no file with keys and events in it.
fn write_no_core() {
    use rustix::process::{setrlimit, Resource, Rlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        log::warn!(
            "core dumps cannot be turned off: a crash may write keys and events to a file: {error}"
        );
    }
}

/// Makes the spool treat a limit on file sizes as a full disk. Otherwise the limit would end the process.
fn outlive_file_size_limit() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let set = runtime.and_then(|runtime| {
        runtime.block_on(async { hedgerow::delivery::outlive_file_size_limit() })
    });
    if let Err(error) = set {
        log::warn!(
            "SIGXFSZ cannot be handled: a file that reaches the system's limit on file sizes would end \
             this process: {error}"
        );
    }
}

/// Adds no observer in a release build.
#[cfg(not(debug_assertions))]
fn watched(builder: hedgerow::proxy::Builder) -> hedgerow::proxy::Builder {
    builder
}

/// Lets the tests make a request panic in a debug build: at a message that contains the text of
/// `HEDGEROW_PANIC_AT`. The panic's text is the whole message.
#[cfg(debug_assertions)]
fn watched(builder: hedgerow::proxy::Builder) -> hedgerow::proxy::Builder {
    struct PanicAt(String);
    impl hedgerow::proxy::Observer for PanicAt {
        fn message(&self, message: &[u8], _: hedgerow::MessageOutcome<'_>) {
            let text = String::from_utf8_lossy(message);
            assert!(!text.contains(&self.0), "{text}");
        }
    }
    match std::env::var("HEDGEROW_PANIC_AT") {
        Ok(id) => builder.watch(std::sync::Arc::new(PanicAt(id))),
        Err(_) => builder,
    }
}
