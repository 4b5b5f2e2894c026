//! `hedgerow doctor`: whether events would arrive, and what to do where they would not.

use std::path::{Path, PathBuf};

use clap::Args;
use hedgerow::config::Config;
#[cfg(feature = "nats")]
use hedgerow::config::SpoolPlace;
use hedgerow::doctor::{render, Finding, Health};
use hedgerow::posthog::Host;
use hedgerow::proxy::examine;

use super::output::{complain, print};
use super::{file, End, Keys};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The configuration, as with -c.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The site as visitors see it, such as https://shop.example.com: the way from outside is looked
    /// at too.
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

/// Looks at everything, and prints a line for each thing.
pub(super) fn doctor(config: Option<&Path>, options: &Options) -> End {
    let loaded = file::find(config, options.file.as_deref())
        .and_then(|path| super::load(&path, Keys::Needed));
    match loaded {
        Ok(config) => look(&config, options.url.as_ref()),
        Err(end) => end,
    }
}

/// The same for a configuration that has been read.
pub(super) fn look(config: &Config, url: Option<&Host>) -> End {
    let mut findings = Vec::new();
    if let Err(error) = super::fetch(config) {
        let advice = "check `library.url` and `sha256`, and that this machine may connect there";
        findings.push(Finding::bad("library", error.to_string(), advice));
    }
    findings.extend(shared_spool(config));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            complain!("hedgerow: {error}");
            return End::Unable;
        }
    };
    findings.extend(runtime.block_on(examine(config, url)));
    let printed = print(&render(&findings));
    match findings.iter().any(|found| found.health == Health::Bad) {
        true => End::Refused,
        false => printed,
    }
}

/// A spool on NATS is asked what it holds, and how large an event it takes.
#[cfg(feature = "nats")]
fn shared_spool(config: &Config) -> Vec<Finding> {
    use hedgerow::delivery::{CommandError, Form, NatsSettings, SpoolCommand, SpoolError};
    const ABOUT: &str = "spool on NATS";
    let Some(spool) = &config.delivery.spool else {
        return Vec::new();
    };
    let SpoolPlace::Nats(nats) = &spool.place else {
        return Vec::new();
    };
    let settings = NatsSettings::of(nats, spool.max_size, spool.max_age);
    let listed = SpoolCommand::Ls(Form::default()).run_on_nats(&settings, &mut Vec::new());
    let there = match listed {
        Ok(()) => "answers, and has its streams",
        Err(CommandError::Spool(SpoolError::NoStream(_))) => {
            "answers; the first proxy makes the streams"
        }
        Err(error) => {
            let advice =
                "check `delivery.spool.nats`: its URL, its login, and that JetStream is on";
            return vec![Finding::bad(ABOUT, error.to_string(), advice)];
        }
    };
    let about = "spool on NATS, size of an event";
    let asked = config.bounds.event;
    let size = match settings.ask_largest_event() {
        Ok(Some(most)) if most < asked => Finding::bad(
            about,
            format!("`limits.event` is {asked} bytes, and NATS takes {most}"),
            "raise the servers' `max_payload` (or the stream's largest message), or lower \
             `limits.event`: what is larger is refused when the spool is needed",
        ),
        Ok(most) => {
            let most = most.map_or("any size".to_owned(), |most| format!("up to {most} bytes"));
            let said = format!("NATS takes {most}, `limits.event` is {asked}");
            Finding::well(about, said)
        }
        Err(error) => Finding::odd(
            about,
            format!("could not be found out: {error}"),
            "ask again when NATS is well",
        ),
    };
    vec![Finding::well(ABOUT, there), size]
}

#[cfg(not(feature = "nats"))]
fn shared_spool(_: &Config) -> Vec<Finding> {
    Vec::new()
}
