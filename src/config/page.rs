//! Finds the snippet's data for a page in a configuration.

use thiserror::Error;

use super::model::Config;
use super::routes::{Action, Route};
use super::sessions::SessionMode;
use super::site_host::SiteHost;
use crate::rewrite::Mode;
use crate::segment::WriteKey;
use crate::site::snippet::{AnalyticsPart, Page, PostHogPart, ProxyAddress};
use crate::site::PageSessions;

/// Which libraries a page uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Libraries {
    /// The libraries that the configuration serves.
    #[default]
    All,
    /// Only analytics.js.
    Analytics,
    /// Only posthog-js.
    PostHog,
}

/// The reason why there is no snippet.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PageError {
    /// No route serves a library that a page could load.
    #[error("no route{below} serves {what}")]
    NoRoute {
        /// The part of the message that names the requested path; empty without one.
        below: String,
        /// The missing part.
        what: &'static str,
    },
    /// The route does not accept the write key, or the key is not valid in a path. The settings would be a
    /// 404, and the page would send nothing.
    #[error("expected a write key that the route accepts and that is valid in a path")]
    Key,
}

/// The host of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageHost<'a> {
    /// The host is unknown: the first routes of the file are used, whatever their hosts.
    Unknown,
    /// The page is on any host that reaches Hedgerow: only routes without a host are used.
    Every,
    /// The page is on this host: routes for other hosts are not used.
    Named(&'a SiteHost),
}

impl PageHost<'_> {
    fn reaches(self, route: &Route) -> bool {
        match self {
            Self::Unknown => true,
            Self::Every => route.host.is_none(),
            Self::Named(host) => route.host.as_ref().is_none_or(|wanted| wanted == host),
        }
    }
}

/// Returns whether a key can be one segment of a path, and decoding the segment does not change it.
fn is_valid_in_a_path(key: &str) -> bool {
    !key.contains(['/', '\\', '?', '#', '%']) && !matches!(key, "." | "..")
}

#[doc(hidden)]
impl Config {
    /// Returns whether the library that this installation serves keeps sessions in pages.
    pub fn page_sessions(&self) -> PageSessions {
        match (&self.sessions, self.mapping.mode) {
            (SessionMode::Page, Mode::Enriched) => PageSessions::Kept,
            _ => PageSessions::Off,
        }
    }

    /// Returns the snippet's data for a page on `host` with the routes at `path`, or without `path` with
    /// the first routes of the file.
    ///
    /// A route with `library` serves the page's analytics.js. The `posthog` route is one for the same
    /// hosts, preferably below the same prefix. The page sends `write_key`; without it the first key of the
    /// route, or a neutral one if the route accepts every key. Without `home` the page uses the `home` of
    /// the route, or else its own host.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such route, if it does not accept the key, or if the key is not
    /// valid in a path.
    pub fn page(
        &self,
        path: Option<&str>,
        host: PageHost<'_>,
        libraries: Libraries,
        write_key: Option<&str>,
        home: Option<ProxyAddress>,
    ) -> Result<Page, PageError> {
        let here = |route: &&Route| {
            let at = path.is_none_or(|path| {
                let wanted = format!("{}/", path.trim_end_matches('/'));
                route.path.to_string() == wanted
            });
            at && host.reaches(route)
        };
        let scripted = |route: &&Route| match &route.action {
            Action::Segment { files, .. } => files.library.is_some(),
            _ => false,
        };
        let passes = |route: &&Route| matches!(route.action, Action::PostHog(_));
        let segment = self.routes.iter().filter(here).find(scripted);
        let mut posthog_routes: Vec<&Route> = self.routes.iter().filter(passes).collect();
        match segment {
            Some(segment) => {
                posthog_routes.retain(|route| match host {
                    PageHost::Unknown => route.host == segment.host,
                    host => host.reaches(route),
                });
                let below = |route: &&Route| segment.path.covers(&route.path);
                posthog_routes.sort_by_key(|route| !below(route));
            }
            None => posthog_routes.retain(here),
        }
        let analytics = match (libraries, segment.map(|route| &route.action)) {
            (Libraries::PostHog, _) => None,
            (_, Some(Action::Segment { files, write_keys })) => {
                let listed = files.page_key.as_ref().map(|key| key.expose());
                let neutral = files.layout.prefix().rsplit('/').next();
                let neutral = neutral.filter(|name| !name.is_empty());
                let write_key = write_key.or(listed).or(neutral).unwrap_or("page");
                let accepted = WriteKey::new(write_key)
                    .is_some_and(|key| write_keys.target(Some(&key)).is_some());
                if !accepted || !is_valid_in_a_path(write_key) {
                    return Err(PageError::Key);
                }
                Some(AnalyticsPart {
                    layout: files.layout.clone(),
                    write_key: write_key.to_owned(),
                    key_form: files.settings.key_form,
                    sessions: self.page_sessions(),
                })
            }
            _ => None,
        };
        let posthog = match (
            libraries,
            posthog_routes.first().map(|route| (route, &route.action)),
        ) {
            (Libraries::Analytics, _) => None,
            (_, Some((route, Action::PostHog(pass_through)))) => Some(PostHogPart {
                prefix: route.path.to_string().trim_end_matches('/').to_owned(),
                api_key: pass_through.project.api_key.expose().to_owned(),
                ui_host: PostHogPart::ui_host_of(&pass_through.project.host.to_string()),
                names: pass_through.names.clone(),
            }),
            _ => None,
        };
        let what = match (libraries, &analytics, &posthog) {
            (Libraries::All, None, None) => "analytics.js (with `library`) or posthog-js",
            (Libraries::Analytics, None, _) => "analytics.js (with `library`)",
            (Libraries::PostHog, _, None) => "posthog-js",
            _ => {
                let route_home = [segment, posthog_routes.first().copied()];
                let route_home = route_home.into_iter().flatten();
                let route_home = route_home.filter_map(|route| route.home.clone()).next();
                return Ok(Page {
                    home: home.or(route_home).unwrap_or(ProxyAddress::SameHost),
                    analytics,
                    posthog,
                });
            }
        };
        Err(PageError::NoRoute {
            below: path.map_or(String::new(), |path| format!(" at {path}")),
            what,
        })
    }

    /// Returns how a browser reaches the paths of a page that [`page`](Self::page) returned for `host`.
    pub fn reach(&self, page: &Page, host: PageHost<'_>) -> Reach {
        if let ProxyAddress::OtherHost(_) = page.home {
            return Reach::OwnHost;
        }
        let used = page_paths(page);
        let mut found = None;
        for route in &self.routes {
            let Action::Origin(origin) = &route.action else {
                continue;
            };
            let near = match host {
                PageHost::Unknown | PageHost::Every => true,
                PageHost::Named(_) => host.reaches(route),
            };
            if !near {
                continue;
            }
            let inject = origin.inject.as_ref().map(ToString::to_string);
            if inject.is_some_and(|path| used.contains(&path)) {
                return Reach::Injected;
            }
            found = Some(Reach::InFront);
        }
        found.unwrap_or(Reach::HandedOver)
    }
}

/// How the paths of a page's snippet reach this proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Hedgerow is in front of the site and adds the snippet to the pages itself.
    Injected,
    /// Hedgerow is in front of the site, but does not add this snippet.
    InFront,
    /// The page's own host must pass the paths on, because no route of the file leads to the site.
    HandedOver,
    /// Hedgerow has its own host.
    OwnHost,
}

/// Returns the prefixes of a page's requests, each with a slash at its end. A later prefix below an earlier
/// one is omitted.
pub fn page_paths(page: &Page) -> Vec<String> {
    let analytics = page.analytics.as_ref().map(|part| part.layout.prefix());
    let posthog = page.posthog.as_ref().map(|part| part.prefix.as_str());
    let mut paths: Vec<String> = Vec::new();
    for prefix in [analytics, posthog].into_iter().flatten() {
        let path = format!("{}/", prefix.trim_end_matches('/'));
        if !paths.iter().any(|other| path.starts_with(other.as_str())) {
            paths.push(path);
        }
    }
    paths
}
