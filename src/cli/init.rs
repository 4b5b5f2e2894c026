//! `hedgerow init`: creates a complete configuration with new neutral paths.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use hedgerow::config::{Config, Problems, WithoutSecrets};
use hedgerow::site::init::{
    init as text, Deployment, InitOptions, PostHogJsServing, DEFAULT_ANALYTICS_JS, DEFAULT_LISTEN,
};
use hedgerow::site::names;

use super::command_end::CommandEnd;
use super::output::{complain, print};

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Where the PostHog project is: us, eu, or the URL of your own PostHog.
    #[arg(long, default_value = "us", value_name = "HOST")]
    host: String,
    /// The site's own server, such as http://127.0.0.1:3000, if Hedgerow is in front of the site.
    #[arg(long, value_name = "URL", conflicts_with = "home")]
    origin: Option<String>,
    /// The address to which pages send requests, if Hedgerow has its own host, such as
    /// https://t.example.com.
    #[arg(long, value_name = "URL")]
    home: Option<String>,
    /// The host name that visitors use; without it Hedgerow serves every host.
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,
    /// The address on which Hedgerow accepts requests.
    #[arg(long, value_name = "ADDRESS", default_value = DEFAULT_LISTEN)]
    listen: SocketAddr,
    /// The address of health, metrics and the live view, such as 127.0.0.1:9090; or off.
    #[arg(long, value_name = "ADDRESS", default_value = "off", value_parser = admin)]
    admin: String,
    /// A write key that pages and SDKs already send, or env:NAME. Repeat the flag for several keys. The
    /// snippet uses the first one. Without this flag, `init` creates a new key.
    #[arg(long, value_name = "KEY")]
    write_key: Vec<String>,
    /// Serve only Segment's calls and analytics.js: no replay, flags, surveys and autocapture.
    #[arg(long)]
    without_posthog_js: bool,
    /// The folder dist/umd of the npm package @segment/analytics-next.
    #[arg(long, default_value = DEFAULT_ANALYTICS_JS, value_name = "FOLDER")]
    analytics_js: String,
    /// Write the configuration into this file: completely, or not at all.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn admin(text: &str) -> Result<String, String> {
    let address = text == "off" || text.parse::<SocketAddr>().is_ok();
    address
        .then(|| text.to_owned())
        .ok_or_else(|| "expected off, or an address and a port such as 127.0.0.1:9090".to_owned())
}

/// Prints the configuration, or writes it.
pub(super) fn init(options: &InitArgs) -> CommandEnd {
    let mut random = [0_u8; names::ENOUGH_RANDOM_BYTES];
    if let Err(error) = getrandom::fill(&mut random) {
        complain!("hedgerow: the system provides no random numbers: {error}");
        return CommandEnd::Unable;
    }
    let chosen = InitOptions {
        host: options.host.clone(),
        deployment: match (&options.origin, &options.home) {
            (Some(origin), _) => Deployment::InFront(origin.clone()),
            (None, Some(home)) => Deployment::OwnHost(home.clone()),
            (None, None) => Deployment::HandedOver,
        },
        listen: options.listen.to_string(),
        admin: options.admin.clone(),
        write_keys: options.write_key.clone(),
        domain: options.domain.clone(),
        posthog_js: if options.without_posthog_js {
            PostHogJsServing::LeftOut
        } else {
            PostHogJsServing::Served
        },
        analytics_js: options.analytics_js.clone(),
    };
    let text = match text(&chosen, &random) {
        Ok(text) => text,
        Err(error) => {
            complain!("hedgerow: {error}");
            return CommandEnd::Unable;
        }
    };
    // A mistake in a flag is reported now, not by the first `hedgerow run`. This check needs no keys.
    match Config::parse(&text, &WithoutSecrets::new("")) {
        Ok((_, warnings)) => {
            for warning in &warnings {
                complain!(
                    "hedgerow: warning: {}{}",
                    flag(&warning.path),
                    warning.message
                );
            }
        }
        Err(problems) => {
            print_problems(&problems);
            return CommandEnd::Unable;
        }
    }
    match &options.output {
        None => print(&text),
        Some(path) if path.as_os_str() == "-" => print(&text),
        Some(path) => match write(path, text.as_bytes()) {
            Ok(None) => CommandEnd::Well,
            Ok(Some(copy)) => {
                complain!(
                    "hedgerow: the existing {} is now {}. Pages that use its names still need its \
                     routes",
                    path.display(),
                    copy.display()
                );
                CommandEnd::Well
            }
            Err(error) => {
                complain!("hedgerow: {}: {error}", path.display());
                CommandEnd::Unable
            }
        },
    }
}

/// Copies a file to a new name, because published pages may still use the path names in it.
fn keep_copy(file: &Path) -> io::Result<PathBuf> {
    for number in 1.. {
        let mut name = file.as_os_str().to_owned();
        name.push(".old");
        if number > 1 {
            name.push(number.to_string());
        }
        let name = PathBuf::from(name);
        let mut copy = match File::create_new(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            made => made?,
        };
        let copied = (|| {
            copy.set_permissions(fs::metadata(file)?.permissions())?;
            io::copy(&mut File::open(file)?, &mut copy)?;
            copy.sync_all()
        })();
        if let Err(error) = copied {
            // The first error is reported.
            let _ = fs::remove_file(&name);
            return Err(error);
        }
        return Ok(name);
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Prints each problem with the flag that caused it, because the user does not know the lines of the
/// generated text.
fn print_problems(problems: &Problems) {
    let mut printed = Vec::new();
    for problem in problems {
        let line = format!("hedgerow: {}{}", flag(&problem.path), problem.message);
        // The value of a flag may be at several places of the file.
        if !printed.contains(&line) {
            complain!("{line}");
            printed.push(line);
        }
    }
}

/// Returns the flag for a path in the configuration, as the beginning of a message.
fn flag(path: &str) -> &'static str {
    let last = path.rsplit('.').next().unwrap_or_default();
    match path {
        "projects.main.host" => "--host: ",
        path if path.starts_with("listen") => "--listen: ",
        "admin" => "--admin: ",
        path if path.contains(".write_keys") => "--write-key: ",
        path if path.contains(".library") => "--analytics-js: ",
        path if path.contains(".origin") => "--origin: ",
        path if path.starts_with("routes") && last == "host" => "--domain: ",
        path if path.starts_with("routes") && last == "home" => "--home: ",
        _ => "",
    }
}

/// Writes the text to a temporary file in the same folder and renames it, so that the target is never
/// incomplete. Returns the name of the copy of the previous file, if that existed and was not empty. A
/// target that is not a regular file, such as a terminal or a pipe, is written directly.
fn write(path: &Path, text: &[u8]) -> io::Result<Option<PathBuf>> {
    // A symbolic link is kept; its target is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let existing = fs::metadata(&target).ok();
    if existing
        .as_ref()
        .is_some_and(|existing| !existing.is_file())
    {
        File::options().write(true).open(&target)?.write_all(text)?;
        return Ok(None);
    }
    let mut temporary = target.clone().into_os_string();
    temporary.push(format!(".{}.part", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = (|| {
        let mut file = File::create_new(&temporary)?;
        if let Some(existing) = &existing {
            file.set_permissions(existing.permissions())?;
        }
        file.write_all(text)?;
        file.sync_all()?;
        let copy = match existing.is_some_and(|existing| existing.len() > 0) {
            true => Some(keep_copy(&target)?),
            false => None,
        };
        fs::rename(&temporary, &target)?;
        Ok(copy)
    })();
    if written.is_err() {
        // The first error is reported.
        let _ = fs::remove_file(&temporary);
    }
    written
}
