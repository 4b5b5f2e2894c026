//! Sessions that the page keeps itself (`sessions: page`), by posthog-js's rules: they end after 30
//! minutes without an event and after 24 hours, and each tab has its own window.
//!
//! When a page calls analytics.js, the call's event gets `context.sessionId` and
//! `context.windowId`, from which the rewriting derives `$session_id` and `$window_id`. This
//! happens during the call, so that a call before a logout belongs to the earlier session.
//!
//! The session is stored in the first place where analytics.js keeps its anonymous id, and belongs
//! to that visitor: if the id is kept in memory, or nowhere, nothing is stored, and a new id
//! (`analytics.reset()`) gets a new session. The window is stored in the tab's own storage, if the
//! session is in the page's; with a mark while its page is open, so that a copy of the tab does not
//! use it.
//!
//! Times are the event's own, by the visitor's clock, as is the session's start in its id. The ids
//! of a posthog-js on the page are taken instead of our own, and kept for pages without it.

/// Whether pages keep sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PageSessions {
    /// They do not.
    #[default]
    Off,
    /// Beside analytics.js's anonymous id.
    Kept,
}

/// The functions. Types for TypeScript are between comment marks.
const FUNCTIONS: &str = include_str!("page_sessions.js");

/// The event of analytics.js that announces a call, while the call is made.
pub(in crate::site) const CALL: &str = "dispatch_start";

impl PageSessions {
    /// The code before the library's loader: it adds a listener to the queue that the library takes
    /// over, before every call that waits there.
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

    /// The same for a module in TypeScript that bundles the library: the functions, and the
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

/// The text with the types between comment marks, for TypeScript.
pub(in crate::site) fn with_types(text: &str) -> String {
    text.replace("/*", "").replace("*/", "")
}

/// The text without the types between comment marks.
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
