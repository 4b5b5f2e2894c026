//! `hedgerow reload`: the running process reads its configuration again.

use std::path::{Path, PathBuf};

use clap::Args;
use hedgerow::proxy::ask_to_reload;

use super::command_end::CommandEnd;
use super::file::{self, KeyLookup};
use super::output::{complain, print};

#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    /// The configuration, as with -c.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Asks the process at `server.upgrade_socket` to reload, and prints its answer.
pub(super) fn reload(config: Option<&Path>, options: &ReloadArgs) -> CommandEnd {
    let loaded = file::find(config, options.file.as_deref())
        .and_then(|path| file::load(&path, KeyLookup::Spared));
    let config = match loaded {
        Ok(config) => config,
        Err(end) => return end,
    };
    let Some(socket) = &config.server.upgrade_socket else {
        complain!(
            "hedgerow: the configuration has no `server.upgrade_socket` to reach the running \
             process; send it SIGHUP instead"
        );
        return CommandEnd::Unable;
    };
    match ask_to_reload(socket) {
        Ok(Ok(reply)) => print(&format!("reloaded: {reply}\n")),
        Ok(Err(reason)) => {
            complain!("hedgerow: the configuration stays unchanged: {reason}");
            CommandEnd::Refused
        }
        Err(error) => {
            complain!(
                "hedgerow: no process answers at {}: {error}",
                socket.display()
            );
            CommandEnd::Unable
        }
    }
}
