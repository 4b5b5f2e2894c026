//! `hedgerow demo`: runs a shop, the proxy and a stand-in for PostHog on this machine.

use std::io::{IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use clap::Args;
use hedgerow::config::render_problems;
use hedgerow::demo::live::{render_terminal, LiveEntry};
use hedgerow::demo::shop::ShopLibrary;
use hedgerow::demo::{Demo, DemoOptions, API_KEY};
use hedgerow::proxy::{Observer, Server};
use hedgerow::rewrite::MessageOutcome;
use hedgerow::{Config, Environment, Hedgerow};

use super::command_end::CommandEnd;
use super::output::{complain, print};
use super::process_log::now;

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// The port of the shop; 0 chooses a free one.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// The folder of the npm package @segment/analytics-next, or its dist/umd; `make demo` installs
    /// the package. Without it, the page sends its messages with fetch.
    #[arg(
        long,
        value_name = "FOLDER",
        default_value = ".deps/demo/node_modules/@segment/analytics-next"
    )]
    analytics_js: PathBuf,
}

/// Serves the demo until it is stopped.
pub(super) fn demo(options: &DemoArgs) -> CommandEnd {
    match serve(options) {
        Ok(end) => end,
        Err(reason) => {
            complain!("hedgerow: {reason}");
            CommandEnd::Unable
        }
    }
}

fn serve(options: &DemoArgs) -> Result<CommandEnd, String> {
    let (shop, posthog, admin) = (free_port(0)?, free_port(0)?, free_port(0)?);
    let site = free_port(options.port)?;
    let parts = DemoOptions {
        analytics_js: Some(options.analytics_js.clone()),
        live_view: Some(admin),
        ..DemoOptions::default()
    };
    let demo = Demo::new(&parts);
    let spool = DemoFolder::make()?;
    let yaml = format!(
        "listen: {site}\n\
         admin: {admin}\n\
         delivery: {{spool: {{path: {spool:?}, max_size: 64MB}}}}\n\
         projects:\n  demo: {{host: 'http://{posthog}', api_key: {API_KEY}}}\n\
         routes:\n  - path: {prefix}\n    segment: {{project: demo}}\n  - path: /\n    origin: http://{shop}\n",
        prefix = parts.prefix,
        spool = spool.0.display().to_string(),
    );
    let (config, _) = Config::parse(&yaml, &Environment::new(Path::new(".")))
        .map_err(|problems| render_problems(&problems, "the demo's configuration"))?;
    let observer = Arc::new(Terminal {
        seen: AtomicU64::new(0),
        width: terminal_width(),
    });
    let hedgerow = Hedgerow::builder(config)
        .watch(observer)
        .live(Arc::clone(&demo.live))
        .build()
        .map_err(|error| error.to_string())?;
    let mut server = Server::new(hedgerow).map_err(|error| error.to_string())?;
    server
        .serve("posthog", posthog, demo.capture.clone())
        .map_err(|error| error.to_string())?;
    server
        .serve("shop", shop, demo.shop.clone())
        .map_err(|error| error.to_string())?;
    let page = match demo.shop.library() {
        ShopLibrary::Present(_) => "The page loads the real analytics.js.".to_owned(),
        ShopLibrary::Absent(reason) => format!("The page sends with fetch: {reason}."),
    };
    let printed = print(&format!(
        "The shop, behind Hedgerow:   http://{site}/\n\
         Hedgerow's own live view:    http://{admin}/\n\
         A stand-in for PostHog:      http://{posthog}/batch/\n\
         Segment's calls go to:       http://{site}{}v1/…\n\
         {page}\n\
         This terminal shows each event as it came and as it left. Ctrl-C ends the demo.\n\n",
        parts.prefix
    ));
    if printed != CommandEnd::Well {
        return Ok(printed);
    }
    server.run();
    Ok(CommandEnd::Well)
}

/// Returns the loopback address with this port, or with a free port if it is 0. Fails if the port is in
/// use.
fn free_port(port: u16) -> Result<SocketAddr, String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address)
        .and_then(|listener| listener.local_addr())
        .map_err(|error| format!("cannot listen on {address}: {error}; choose another with --port"))
}

/// The folder of the spool. It is deleted when the value is dropped.
struct DemoFolder(PathBuf);

impl DemoFolder {
    fn make() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("hedgerow-demo-{}", std::process::id()));
        let created = std::fs::create_dir(&path);
        created.map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for DemoFolder {
    fn drop(&mut self) {
        // If the deletion fails, a small temporary folder is left.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Prints each message on the terminal.
struct Terminal {
    seen: AtomicU64,
    width: usize,
}

impl Observer for Terminal {
    fn message(&self, original: &[u8], outcome: MessageOutcome<'_>) {
        let number = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        let entry = LiveEntry::alone(number, now(), original, outcome);
        // The request must not fail because the terminal is closed.
        let _ = writeln!(
            std::io::stdout().lock(),
            "{}",
            render_terminal(&entry, self.width)
        );
    }
}

/// Returns the width of the terminal if `COLUMNS` contains it, otherwise 140 columns: enough for two
/// readable sides.
fn terminal_width() -> usize {
    let columns = std::env::var("COLUMNS")
        .ok()
        .and_then(|text| text.parse().ok());
    match columns {
        Some(columns) if std::io::stdout().is_terminal() => columns,
        _ => 140,
    }
}
