//! `hedgerow spool`: what waits for PostHog, and what PostHog refused for good.

use std::io::{self, IsTerminal};
use std::path::Path;

use clap::Args;
use hedgerow::config::SpoolPlace;
use hedgerow::delivery::SpoolCommand;

use super::output::{aligned, complain, print};
use super::{file, End, Keys};

/// What `hedgerow spool` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: SpoolCommand,
}

/// Looks into the spool of a configuration, or works on its dead letters. The proxy may run.
pub(super) fn spool(config: Option<&Path>, options: &Options) -> End {
    let loaded = file::find(config, None).and_then(|path| super::load(&path, Keys::Spared));
    let config = match loaded {
        Ok(config) => config,
        Err(end) => return end,
    };
    let Some(spool) = &config.delivery.spool else {
        complain!("hedgerow: the configuration has no `delivery.spool`");
        return End::Unable;
    };
    let mut out = Vec::new();
    let done = match &spool.place {
        SpoolPlace::Folder(path) => options.command.run(path, &mut out),
        #[cfg(feature = "nats")]
        SpoolPlace::Nats(nats) if lacks_login(nats) => {
            complain!(
                "hedgerow: `delivery.spool.nats` needs its login, and a variable or file that it \
                 names is not there"
            );
            return End::Unable;
        }
        #[cfg(feature = "nats")]
        SpoolPlace::Nats(nats) => {
            let settings = hedgerow::delivery::NatsSettings::of(nats, spool);
            options.command.run_on_nats(&settings, &mut out)
        }
        #[cfg(not(feature = "nats"))]
        SpoolPlace::Nats(_) => Err(hedgerow::delivery::SpoolError::NotBuiltIn("nats").into()),
    };
    let text = String::from_utf8_lossy(&out);
    // Columns for people, tabs for programs. An event is one long line.
    let listed = matches!(options.command, SpoolCommand::Ls(_));
    let printed = match listed && io::stdout().is_terminal() {
        true => print(&aligned(&text)),
        false => print(&text),
    };
    match done {
        Ok(()) => printed,
        Err(error) => {
            complain!("hedgerow: {error}");
            End::Unable
        }
    }
}

/// Whether a part of the login was made up.
#[cfg(feature = "nats")]
fn lacks_login(nats: &hedgerow::config::Nats) -> bool {
    use hedgerow::config::{NatsLogin, WithoutSecrets};
    match &nats.login {
        None => false,
        Some(NatsLogin::Token(text) | NatsLogin::Credentials(text)) => {
            WithoutSecrets::made_up(text)
        }
        Some(NatsLogin::User { name, password }) => {
            WithoutSecrets::made_up(name) || WithoutSecrets::made_up(password)
        }
    }
}
