//! `hedgerow doctor`: checks whether events would arrive, and prints what to do if they would not.

use std::path::{Path, PathBuf};

use clap::Args;
use hedgerow::config::Config;
use hedgerow::doctor::{render, CheckStatus, Finding};
use hedgerow::posthog::Host;
use hedgerow::proxy::examine;

use super::command_end::CommandEnd;
use super::file::{self, KeyLookup};
use super::output::{complain, print};

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// The configuration, as with -c.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The site as visitors see it, such as https://shop.example.com: doctor then checks it from
    /// outside too.
    #[arg(long, value_name = "URL", value_parser = url)]
    url: Option<Host>,
}

fn url(text: &str) -> Result<Host, String> {
    const EXPECTED: &str = "expected scheme and host, such as https://shop.example.com";
    let host = text.parse::<Host>().map_err(|_| EXPECTED.to_owned())?;
    match text.contains("://") && host.base_path().is_empty() {
        true => Ok(host),
        false => Err(EXPECTED.to_owned()),
    }
}

/// Checks everything, and prints a line for each finding.
pub(super) fn doctor(config: Option<&Path>, options: &DoctorArgs) -> CommandEnd {
    let loaded = file::find(config, options.file.as_deref())
        .and_then(|path| file::load(&path, KeyLookup::Needed));
    match loaded {
        Ok(config) => run(&config, options.url.as_ref()),
        Err(end) => end,
    }
}

/// Does the same as `doctor` for a configuration that is already loaded.
pub(super) fn run(config: &Config, url: Option<&Host>) -> CommandEnd {
    let mut findings = Vec::new();
    if let Err(error) = file::fetch(config) {
        let advice = "check `library.url` and `sha256`, and that this machine may connect there";
        findings.push(Finding::bad("library", error.to_string(), advice));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            complain!("hedgerow: {error}");
            return CommandEnd::Unable;
        }
    };
    findings.extend(runtime.block_on(examine(config, url)));
    let printed = print(&render(&findings));
    match findings
        .iter()
        .any(|found| found.status == CheckStatus::Failed)
    {
        true => CommandEnd::Refused,
        false => printed,
    }
}
