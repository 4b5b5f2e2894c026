//! Which of the real clients are installed, in the places where `make` puts them.

use std::io::Write;
use std::path::{Path, PathBuf};

/// Something that a test needs and Cargo does not install.
#[derive(Debug, Clone, Copy)]
pub enum Prerequisite {
    Node,
    AnalyticsNode,
    /// The package `analytics-node`, the predecessor of `@segment/analytics-node`.
    OlderAnalyticsNode,
    Python,
    RustClient,
    Chromium,
    Playwright,
    /// A version of `@segment/analytics-next`.
    AnalyticsJs(Version),
    /// A version of `posthog-js`.
    PostHogJs(PostHogJs),
    Firefox,
    Puppeteer,
    TypeScript,
    /// The server in which Nuxt runs.
    H3,
    Yaml,
    /// The extension, unpacked.
    UBlock,
}

/// The tested versions of analytics.js.
#[derive(Debug, Clone, Copy)]
pub enum Version {
    Newest,
    /// The last version that sends no `Authorization`.
    V1_83,
}

impl Version {
    /// The version in its `context.library.version`.
    pub fn number(self) -> &'static str {
        match self {
            Self::Newest => "1.84.3",
            Self::V1_83 => "1.83.0",
        }
    }
}

/// The tested versions of posthog-js. A self-hosted PostHog serves the version in its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostHogJs {
    Newest,
    /// Reads the queue of early calls once, when it starts.
    V1_418,
    /// The same, a newer version.
    V1_442,
}

pub fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

impl Prerequisite {
    /// Where it is, installed or not.
    pub fn path(self) -> PathBuf {
        let deps = Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps");
        let modules = clients().join("node_modules");
        match self {
            Self::Node => on_path("node"),
            Self::AnalyticsNode => modules.join("@segment/analytics-node"),
            Self::OlderAnalyticsNode => modules.join("analytics-node-2.4"),
            Self::Python => deps.join("python/bin/python"),
            Self::RustClient => deps.join("rust-client/debug/hedgerow-test-client"),
            Self::Chromium => match std::env::var_os("CHROMIUM") {
                Some(path) => PathBuf::from(path),
                None => on_path("chromium"),
            },
            Self::Playwright => modules.join("playwright-core"),
            Self::Firefox => match std::env::var_os("FIREFOX") {
                Some(path) => PathBuf::from(path),
                None => on_path("firefox-esr"),
            },
            Self::Puppeteer => modules.join("puppeteer-core"),
            Self::TypeScript => modules.join("typescript"),
            Self::H3 => modules.join("h3"),
            Self::Yaml => modules.join("yaml"),
            Self::UBlock => deps.join("ublock"),
            Self::PostHogJs(PostHogJs::Newest) => modules.join("posthog-js"),
            Self::PostHogJs(PostHogJs::V1_418) => modules.join("posthog-js-1.418"),
            Self::PostHogJs(PostHogJs::V1_442) => modules.join("posthog-js-1.442"),
            Self::AnalyticsJs(Version::Newest) => modules.join("@segment/analytics-next"),
            Self::AnalyticsJs(Version::V1_83) => modules.join("@segment/analytics-next-1.83.0"),
        }
    }
}

fn on_path(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .unwrap_or_else(|| PathBuf::from(program))
}

/// Whether all of these are installed. The test run shows what is missing; with
/// `HEDGEROW_CLIENTS=required`, which `make test` sets, that is a failure.
pub fn all_here(test: &str, needed: &[Prerequisite]) -> bool {
    let missing: Vec<_> = needed.iter().filter(|one| !one.path().exists()).collect();
    if missing.is_empty() {
        return true;
    }
    let list: Vec<String> = missing
        .iter()
        .map(|one| format!("{one:?} ({})", one.path().display()))
        .collect();
    let list = list.join(", ");
    let excused = missing.iter().all(|one| {
        matches!(one, Prerequisite::RustClient) && unbuildable()
            || matches!(one, Prerequisite::Firefox | Prerequisite::UBlock) && unfetched()
    });
    let required = std::env::var("HEDGEROW_CLIENTS").is_ok_and(|value| value == "required");
    assert!(!required || excused, "{test}: not installed: {list}");
    writeln!(
        std::io::stderr(),
        "\n*** SKIPPED {test}: not installed: {list}; `make test` installs it ***"
    )
    .expect("standard error can be written");
    false
}

/// `make` writes this note if the `segment` crate does not compile any more.
fn unbuildable() -> bool {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(".deps/rust-client.unbuildable")
        .exists()
}

/// `make` writes this note if it cannot get Debian's packages of Firefox and uBlock Origin.
fn unfetched() -> bool {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(".deps/firefox.missing")
        .exists()
}
