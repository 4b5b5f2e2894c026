//! A site with analytics.js on its pages, as a customer's web server would serve it.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use hedgerow::demo::http::{Handler, Request, Response};
use http::{Method, StatusCode};
use serde_json::Value;

use super::installed::{clients, Prerequisite, Version};

/// The pages of `tests/clients/pages`, one version of analytics.js, and its settings.
pub struct Origin {
    scripts: PathBuf,
    settings: Value,
}

impl Origin {
    /// `settings` is the answer to analytics.js's first request (segment-tracking 3.3).
    pub fn new(version: Version, settings: Value) -> Self {
        Self {
            scripts: Prerequisite::AnalyticsJs(version).path().join("dist/umd"),
            settings,
        }
    }

    /// The file of a path, if the path is a plain name.
    fn file(&self, path: &str) -> Option<PathBuf> {
        if path.ends_with("/analytics.min.js") {
            return Some(self.scripts.join("standalone.js"));
        }
        if let Some(name) = path.strip_prefix("/analytics-next/bundles/") {
            return plain(name).map(|name| self.scripts.join(name));
        }
        let name = match path {
            "/" => "index.html",
            path => path.strip_prefix('/')?,
        };
        plain(name).map(|name| clients().join("pages").join(name))
    }
}

fn plain(name: &str) -> Option<&str> {
    (!name.contains(['/', '\\', '%']) && !name.starts_with('.')).then_some(name)
}

fn content_type(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        _ => "application/octet-stream",
    }
}

impl Handler for Origin {
    fn handle(&self, request: &Request) -> Response {
        if request.method != Method::GET {
            return Response::empty(StatusCode::METHOD_NOT_ALLOWED);
        }
        if request.path.starts_with("/v1/projects/") {
            let settings = self.settings.to_string();
            return Response::new(StatusCode::OK, "application/json", settings);
        }
        let read = self.file(&request.path).and_then(|file| {
            let bytes = std::fs::read(&file).ok()?;
            Some((content_type(&file), Bytes::from(bytes)))
        });
        match read {
            Some((content_type, bytes)) => Response::new(StatusCode::OK, content_type, bytes),
            None => Response::empty(StatusCode::NOT_FOUND),
        }
    }
}
