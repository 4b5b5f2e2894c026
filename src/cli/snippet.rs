//! `hedgerow snippet`: the snippet for the pages of a configuration.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use hedgerow::config::{page_paths, Config, Libraries, PageHost, Reach, SiteHost};
use hedgerow::site::hand_over::{nginx, LocalAddress, SiteTls};
use hedgerow::site::snippet::{
    content_security_policy, snippet_for, tag_of_template, Page, PageKind, ProxyAddress,
};

use super::command_end::CommandEnd;
use super::file::{self, KeyLookup};
use super::output::{complain, print};

#[derive(Debug, Args)]
pub(super) struct SnippetArgs {
    /// The configuration, as with -c.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The kind of page.
    #[arg(long = "for", value_enum, default_value_t = KindArg::Html)]
    kind: KindArg,
    /// Which libraries the page uses: those that the configuration serves, or one of them.
    #[arg(long, value_enum, default_value_t = LibraryArg::All)]
    libraries: LibraryArg,
    /// The path of the route, if the configuration has several.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// The host name that visitors use, if the configuration has several.
    #[arg(long, value_name = "NAME")]
    domain: Option<SiteHost>,
    /// Hedgerow's address, such as https://t.example.com, if Hedgerow has another host than the page.
    /// The default is `home` of the route.
    #[arg(long, value_name = "URL")]
    home: Option<String>,
    /// The write key that the page sends. The default is the first one of the route.
    #[arg(long, value_name = "KEY")]
    write_key: Option<String>,
    /// The nonce of the HTML tag, or its placeholder in a template.
    #[arg(long, value_name = "NONCE")]
    nonce: Option<String>,
    /// Print the page's Content-Security-Policy instead.
    #[arg(long)]
    csp: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KindArg {
    /// A tag for plain HTML.
    Html,
    /// A module for pages that bundle the npm packages.
    Npm,
    /// A component for Next.js.
    Next,
    /// A plug-in for Nuxt.
    Nuxt,
    /// A module for Vue.
    Vue,
    /// A module for SvelteKit.
    Svelte,
    /// A tag for Google Tag Manager.
    Gtm,
    /// A plug-in for WordPress.
    Wordpress,
}

impl KindArg {
    fn of_page(self) -> PageKind {
        match self {
            Self::Html => PageKind::Html,
            Self::Npm => PageKind::Npm,
            Self::Next => PageKind::Next,
            Self::Nuxt => PageKind::Nuxt,
            Self::Vue => PageKind::Vue,
            Self::Svelte => PageKind::Svelte,
            Self::Gtm => PageKind::Gtm,
            Self::Wordpress => PageKind::WordPress,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LibraryArg {
    All,
    Analytics,
    Posthog,
}

/// Prints the snippet, or the page's Content-Security-Policy.
pub(super) fn snippet(config: Option<&Path>, options: &SnippetArgs) -> CommandEnd {
    if options.nonce.is_some() && !matches!(options.kind, KindArg::Html) {
        complain!("hedgerow: --nonce: only the tag of `--for html` has one");
        return CommandEnd::Unable;
    }
    let loaded = file::find(config, options.file.as_deref())
        .and_then(|path| file::load(&path, KeyLookup::Needed));
    let config = match loaded {
        Ok(config) => config,
        Err(end) => return end,
    };
    let home = match options.home.as_deref().map(ProxyAddress::other) {
        None => None,
        Some(Some(home)) => Some(home),
        Some(None) => {
            complain!("hedgerow: --home: expected scheme and host, such as https://t.example.com");
            return CommandEnd::Unable;
        }
    };
    let libraries = match options.libraries {
        LibraryArg::All => Libraries::All,
        LibraryArg::Analytics => Libraries::Analytics,
        LibraryArg::Posthog => Libraries::PostHog,
    };
    let (path, key) = (options.path.as_deref(), options.write_key.as_deref());
    let domain = options.domain.as_ref();
    let host = domain.map_or(PageHost::Unknown, PageHost::Named);
    match config.page(path, host, libraries, key, home) {
        Ok(page) => match text(options, &page) {
            Some(text) => {
                let printed = print(&text);
                let pasted = matches!(
                    config.reach(&page, host),
                    Reach::HandedOver | Reach::OwnHost
                );
                if pasted && matches!(options.kind, KindArg::Html) && !options.csp {
                    complain!(
                        "hedgerow: paste this into the <head> of every page, before the scripts \
                         that use it"
                    );
                }
                print_next_steps(&config, &page, host);
                printed
            }
            None => {
                complain!("hedgerow: --nonce: expected text that is valid between double quotes");
                CommandEnd::Unable
            }
        },
        Err(error) => {
            complain!("hedgerow: {error}");
            CommandEnd::Unable
        }
    }
}

/// Returns the snippet or the policy, or `None` if the tag cannot contain the nonce.
fn text(options: &SnippetArgs, page: &Page) -> Option<String> {
    if options.csp {
        return Some(content_security_policy(page));
    }
    match (options.kind, &options.nonce) {
        (KindArg::Html, Some(nonce)) => tag_of_template(page, nonce),
        (kind, _) => Some(snippet_for(page, kind.of_page())),
    }
}

/// Prints the remaining steps to standard error, because a page that gets no answer shows no error.
fn print_next_steps(config: &Config, page: &Page, host: PageHost<'_>) {
    let paths = page_paths(page);
    let listed = paths.join(" and ");
    match config.reach(page, host) {
        Reach::Injected => complain!(
            "hedgerow: `inject` already adds this to the site's pages; paste it only into pages \
             that do not pass through Hedgerow"
        ),
        Reach::InFront => complain!(
            "hedgerow: this is for the pages of the configuration's `origin`, which pass through \
             Hedgerow; `inject` would add it to them"
        ),
        Reach::OwnHost => {
            if let ProxyAddress::OtherHost(home) = &page.home {
                complain!(
                    "hedgerow: the page sends requests to {home}{listed}: that host must lead to \
                     this Hedgerow"
                );
            }
        }
        Reach::HandedOver => {
            complain!(
                "hedgerow: the page sends requests to its own host for {listed}; the host must \
                 pass them on to this Hedgerow, or no event arrives."
            );
            let here = config.listen.first().map(|listener| LocalAddress {
                address: listener.address,
                tls: match listener.tls {
                    None => SiteTls::Plain,
                    Some(_) => SiteTls::Spoken,
                },
            });
            if let Some(here) = here {
                complain!(
                    "In the `server` block of nginx on the same machine:\n\n{}",
                    nginx(&paths, here)
                );
            }
            // A web server on the same machine connects from these addresses.
            let local = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            let known = |address: &IpAddr| {
                let mut trusted = config.trusted_proxies.iter();
                trusted.any(|known| known.contains(address))
            };
            let trust = match (local.iter().any(known), config.trusted_proxies.is_empty()) {
                (true, _) => "",
                (false, true) => "Put its address into `trusted_proxies`. ",
                (false, false) => "Its address has to be among `trusted_proxies`. ",
            };
            complain!(
                "{trust}If Hedgerow is in front of the site itself, use an `origin` route; if it has \
                 its own host, `home` of the routes, or --home."
            );
        }
    }
}
