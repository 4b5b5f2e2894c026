//! `hedgerow reload`: the process that serves reads its configuration again.

use std::path::{Path, PathBuf};

use clap::Args;
use hedgerow::proxy::ask_to_reload;

use super::output::{complain, print};
use super::{file, End, KeyLookup};

#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    /// The configuration, as with -c.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Asks the process at `server.upgrade_socket`, and prints what it says.
pub(super) fn reload(config: Option<&Path>, options: &ReloadArgs) -> End {
    let loaded = file::find(config, options.file.as_deref())
        .and_then(|path| super::load(&path, KeyLookup::Spared));
    let config = match loaded {
        Ok(config) => config,
        Err(end) => return end,
    };
    let Some(socket) = &config.server.upgrade_socket else {
        complain!(
            "hedgerow: the configuration has no `server.upgrade_socket`, where the process that \
             serves could be asked; send it SIGHUP instead"
        );
        return End::Unable;
    };
    match ask_to_reload(socket) {
        Ok(Ok(said)) => print(&format!("reloaded: {said}\n")),
        Ok(Err(why)) => {
            complain!("hedgerow: the configuration stays as it was: {why}");
            End::Refused
        }
        Err(error) => {
            complain!(
                "hedgerow: no process answers at {}: {error}",
                socket.display()
            );
            End::Unable
        }
    }
}
