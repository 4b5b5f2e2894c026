//! `hedgerow spool`: what waits for PostHog, and what PostHog refused for good.

use std::io;

use clap::Args;
use hedgerow::config::SpoolPlace;
use hedgerow::delivery::SpoolCommand;

use super::output::complain;
use super::{End, File};

/// What `hedgerow spool` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    file: File,
    #[command(subcommand)]
    command: SpoolCommand,
}

/// Looks into the spool of a configuration, or works on its dead letters. The proxy may run.
pub(super) fn spool(options: &Options) -> End {
    let config = match super::load(&options.file.config) {
        Ok(config) => config,
        Err(end) => return end,
    };
    let Some(spool) = &config.delivery.spool else {
        complain!("hedgerow: the configuration has no `delivery.spool`");
        return End::Unable;
    };
    let mut out = io::stdout().lock();
    let done = match &spool.place {
        SpoolPlace::Folder(path) => options.command.run(path, &mut out),
        #[cfg(feature = "nats")]
        SpoolPlace::Nats(nats) => {
            let settings = hedgerow::delivery::NatsSettings::of(nats, spool);
            options.command.run_on_nats(&settings, &mut out)
        }
        #[cfg(not(feature = "nats"))]
        SpoolPlace::Nats(_) => Err(hedgerow::delivery::SpoolError::NotBuiltIn("nats").into()),
    };
    match done {
        Ok(()) => End::Well,
        Err(error) => {
            complain!("hedgerow: {error}");
            End::Unable
        }
    }
}
