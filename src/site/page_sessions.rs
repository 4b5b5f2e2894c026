//! Sessions that the page keeps itself (`sessions: page`), by posthog-js's rules: a session ends after
//! 30 minutes without an event, and 24 hours after its start. Each tab has its own window.
//!
//! When a page calls analytics.js, the call's event gets `context.sessionId` and
//! `context.windowId`, from which the rewriting derives `$session_id` and `$window_id`. This
//! happens during the call, so that a call before a logout belongs to the earlier session.
//!
//! The session is stored in the first place where analytics.js stores its anonymous id, and belongs
//! to that visitor. If the id is only in memory, or nowhere, no session is stored. A new id
//! (`analytics.reset()`) gets a new session. If the session is in `localStorage`, the window's id is
//! stored in `sessionStorage`. While the page is open, a mark in the stored value keeps a copy of the
//! tab from using the same window.
//!
//! An event's own time counts if it is less than a minute from the visitor's clock; otherwise the
//! clock counts. The session's id contains its start, by the same clock. If posthog-js runs on the
//! page, its ids are used instead, and stored for pages without it.

/// Whether pages keep sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PageSessions {
    /// Pages keep no sessions.
    #[default]
    Off,
    /// Pages store the session beside analytics.js's anonymous id.
    Kept,
}

/// The functions that keep the session. Types for TypeScript are in block comments.
const FUNCTIONS: &str = include_str!("page_sessions.js");

/// The event that analytics.js emits during a call.
pub(in crate::site) const CALL: &str = "dispatch_start";

impl PageSessions {
    /// Returns the code that runs before the library's loader. It puts a listener at the start of the
    /// queue that the library takes over, before every call that waits there.
    pub(in crate::site) fn before_the_loader(self) -> String {
        match self {
            Self::Off => String::new(),
            Self::Kept => format!(
                "!function () {{
{functions}edgeTry(function () {{
  var named = document.querySelector('script[data-global-segment-analytics-key]')
  var name = named && named.getAttribute('data-global-segment-analytics-key') || 'analytics'
  var queue = window[name] = window[name] || []
  if (queue.unshift) queue.unshift(['on', '{CALL}', function (call) {{
    var it = this
    edgeTry(function () {{ edgeSession(it, call.event) }})
  }}])
}})
}}()
",
                functions = without_types(FUNCTIONS),
            ),
        }
    }

    /// Returns the code for a TypeScript module that bundles the library: the functions, and the
    /// statement that has to run before the library is loaded.
    pub(in crate::site) fn in_a_module(self) -> Option<(String, String)> {
        match self {
            Self::Off => None,
            Self::Kept => Some((
                with_types(FUNCTIONS),
                format!(
                    "analytics.on('{CALL}', function (this: any, call: any) {{
    edgeTry(() => edgeSession(this, call.event))
  }})"
                ),
            )),
        }
    }
}

/// Removes the marks of the block comments, so that the text is TypeScript with its types.
pub(in crate::site) fn with_types(text: &str) -> String {
    text.replace("/*", "").replace("*/", "")
}

/// Removes the block comments, so that the text is JavaScript without types.
pub(in crate::site) fn without_types(text: &str) -> String {
    let mut parts = text.split("/*");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once("*/").map_or(part, |(_, rest)| rest));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::super::names::forbidden_word;
    use super::*;

    #[test]
    fn nothing_is_added_if_pages_keep_no_session() {
        assert_eq!(PageSessions::Off.before_the_loader(), "");
        assert_eq!(PageSessions::Off.in_a_module(), None);
    }

    #[test]
    fn the_functions_are_in_the_oldest_javascript_and_typed_only_in_a_module() {
        let plain = PageSessions::Kept.before_the_loader();
        for newer in [
            "=>", "const ", "let ", "`", "/*", ": any", "?.", "??", "...",
        ] {
            assert!(!plain.contains(newer), "{newer} in {plain}");
        }
        let (functions, statement) = PageSessions::Kept.in_a_module().unwrap();
        assert!(
            functions.contains("function edgeTry(work: any)"),
            "{functions}"
        );
        assert!(!functions.contains("/*"), "{functions}");
        assert!(statement.contains("this: any"), "{statement}");
    }

    #[test]
    fn the_name_in_the_storage_is_neutral() {
        let name = "edge_page";
        assert!(FUNCTIONS.contains(&format!("key = '{name}'")));
        assert_eq!(forbidden_word(name), None);
    }
}
