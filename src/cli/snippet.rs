//! `hedgerow snippet`: what goes on a page for a configuration.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use hedgerow::config::{Libraries, PageHost, SiteHost};
use hedgerow::site::snippet::{
    content_security_policy, next_js, npm, tag, tag_of_template, Home, Page,
};

use super::output::{complain, print};
use super::End;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The configuration.
    #[arg(short, long, value_name = "FILE", default_value = "conf/hedgerow.yaml")]
    config: PathBuf,
    /// What kind of page it is for.
    #[arg(long = "for", value_enum, default_value_t = Kind::Html)]
    kind: Kind,
    /// Which libraries the page uses: those that the configuration serves, or one of them.
    #[arg(long, value_enum, default_value_t = Which::All)]
    libraries: Which,
    /// The path of the route, where the configuration has several.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// The host name that visitors use, where the configuration has several.
    #[arg(long, value_name = "NAME")]
    domain: Option<SiteHost>,
    /// Hedgerow's address, such as https://t.example.com, where it is not the page's own host.
    #[arg(long, value_name = "URL")]
    home: Option<String>,
    /// The write key that the page sends; without it the first one of the route.
    #[arg(long, value_name = "KEY")]
    write_key: Option<String>,
    /// The nonce of the tag, or what stands for it in a template.
    #[arg(long, value_name = "NONCE")]
    nonce: Option<String>,
    /// Print the page's Content-Security-Policy instead.
    #[arg(long)]
    csp: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// A tag for plain HTML.
    Html,
    /// A module for pages that bundle the npm packages.
    Npm,
    /// A component for Next.js.
    Next,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Which {
    All,
    Analytics,
    Posthog,
}

/// Prints the snippet, or the policy.
pub(super) fn snippet(options: &Options) -> End {
    let config = match super::load(&options.config) {
        Ok(config) => config,
        Err(end) => return end,
    };
    let home = match options.home.as_deref().map(origin) {
        None => Home::SameHost,
        Some(Some(origin)) => Home::OtherHost(origin),
        Some(None) => {
            complain!("hedgerow: --home: expected scheme and host, such as https://t.example.com");
            return End::Unable;
        }
    };
    let libraries = match options.libraries {
        Which::All => Libraries::All,
        Which::Analytics => Libraries::Analytics,
        Which::Posthog => Libraries::PostHog,
    };
    let (path, key) = (options.path.as_deref(), options.write_key.as_deref());
    let domain = options.domain.as_ref();
    let host = domain.map_or(PageHost::Unknown, PageHost::Named);
    match config.page(path, host, libraries, key, home) {
        Ok(page) => match text(options, &page) {
            Some(text) => print(&text),
            None => {
                complain!("hedgerow: --nonce: expected what can stand between double quotes");
                End::Unable
            }
        },
        Err(error) => {
            complain!("hedgerow: {error}");
            End::Unable
        }
    }
}

/// `None` when the tag cannot have that nonce.
fn text(options: &Options, page: &Page) -> Option<String> {
    if options.csp {
        return Some(content_security_policy(page));
    }
    match (options.kind, &options.nonce) {
        (Kind::Html, Some(nonce)) => tag_of_template(page, nonce),
        (Kind::Html, None) => Some(tag(page, None)),
        (Kind::Npm, _) => Some(npm(page)),
        (Kind::Next, _) => Some(next_js(page)),
    }
}

/// Scheme and host of a URL that has nothing else.
fn origin(text: &str) -> Option<String> {
    let host = text.parse::<hedgerow::posthog::Host>().ok()?;
    let plain = text.contains("://") && host.base_path().is_empty();
    plain.then(|| text.trim_end_matches('/').to_owned())
}
