//! The path prefix of a route.

use std::fmt;

use crate::site::head::{has_dot_segment, normal};

/// A path prefix of whole segments. `/hr` and `/hr/` are the same prefix: `/hr`, `/hr/` and `/hr/x`
/// have it, `/hrx` does not. Paths are compared as they are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPrefix(String);

impl PathPrefix {
    /// Accepts a path that begins with a slash, or returns the mistake.
    pub(crate) fn new(text: &str) -> Result<Self, &'static str> {
        if !text.starts_with('/') {
            return Err("expected a path that begins with /");
        }
        if text.contains(['?', '#']) {
            return Err("expected a path without query and fragment");
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("expected a path as it is sent: printable ASCII, other characters as %XX");
        }
        let prefix = text.strip_suffix('/').unwrap_or(text);
        let mut segments = prefix.split('/').skip(1);
        if segments.any(|segment| matches!(segment, "" | "." | "..")) {
            return Err("expected a path without empty, `.` and `..` segments");
        }
        if normal(prefix).is_some() || has_dot_segment(prefix.as_bytes()) {
            return Err("expected a path that encodes only the characters that need it");
        }
        if text.contains('*') {
            return Err("expected a prefix; everything below it matches without a `*`");
        }
        Ok(Self(prefix.to_owned()))
    }

    /// Returns the rest of `path` after the prefix and its slash, if `path` has the prefix.
    pub fn tail<'p>(&self, path: &'p str) -> Option<&'p str> {
        let rest = path.strip_prefix(self.0.as_str())?;
        match rest.strip_prefix('/') {
            Some(tail) => Some(tail),
            // Every path that begins with a slash has the prefix "/"; the empty path does not.
            None => (rest.is_empty() && !self.0.is_empty()).then_some(""),
        }
    }

    /// Does the same as [`PathPrefix::tail`], but repeated slashes in the prefix and after it count
    /// once: clients create them when they append a path to a host with a slash at its end. The rest
    /// stays as it was sent.
    pub fn lenient_tail<'p>(&self, path: &'p str) -> Option<&'p str> {
        let mut rest = path;
        for segment in self.segments() {
            let behind = rest.strip_prefix('/')?.trim_start_matches('/');
            rest = behind.strip_prefix(segment)?;
            if !rest.is_empty() && !rest.starts_with('/') {
                return None;
            }
        }
        match rest.strip_prefix('/') {
            Some(tail) => Some(tail.trim_start_matches('/')),
            None => (rest.is_empty() && !self.0.is_empty()).then_some(""),
        }
    }

    /// Returns the prefix's segments. None is empty, and `/` has none.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').skip(1)
    }

    /// Returns whether every path with the prefix `other` has this prefix too.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.0.is_empty() || self.tail(&other.0).is_some()
    }
}

/// Writes the prefix with a slash at its end.
impl fmt::Display for PathPrefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_at_a_segments_end() {
        for (prefix, path, tail) in [
            ("/hr", "/hr", Some("")),
            ("/hr/", "/hr", Some("")),
            ("/hr/", "/hr/", Some("")),
            ("/hr", "/hr/v1/t", Some("v1/t")),
            ("/hr", "/hr//t", Some("/t")),
            ("/hr/", "/hrx", None),
            ("/hr/", "/h", None),
            ("/hr/", "/HR/", None),
            ("/hr/", "/%68r/", None),
            ("/", "/", Some("")),
            ("/", "/hr/x", Some("hr/x")),
            ("/", "", None),
            ("/", "*", None),
        ] {
            let found = PathPrefix::new(prefix).unwrap();
            assert_eq!(found.tail(path), tail, "{prefix} {path}");
        }
    }

    #[test]
    fn repeated_slashes_count_once_if_requested() {
        for (prefix, path, tail) in [
            ("/hr", "/hr", Some("")),
            ("/hr", "//hr", Some("")),
            ("/hr", "/hr//", Some("")),
            ("/hr", "//hr///v1//b", Some("v1//b")),
            ("/a/b", "/a//b/c", Some("c")),
            ("/a/b", "///a///b", Some("")),
            ("/a/b", "/a/bc", None),
            ("/a/b", "/ab", None),
            ("/a/b", "/a", None),
            ("/hr", "/hrx", None),
            ("/hr", "/h//r", None),
            ("/hr", "hr", None),
            ("/hr", "", None),
            ("/", "//", Some("")),
            ("/", "//x//y", Some("x//y")),
            ("/", "", None),
            ("/", "*", None),
        ] {
            let found = PathPrefix::new(prefix).unwrap();
            assert_eq!(found.lenient_tail(path), tail, "{prefix} {path}");
        }
    }

    #[test]
    fn paths_that_no_request_can_have_are_refused() {
        for text in [
            "", "hr", "/a?b", "/a#b", "/a b", "/é", "/a//b", "//", "/../a", "/a/*",
        ] {
            assert!(PathPrefix::new(text).is_err(), "{text}");
        }
    }
}
