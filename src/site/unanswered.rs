//! The message that a page writes to its console when its requests fail: one line with the URL, after
//! the third failure. Without it the page would show nothing, because its libraries retry silently.
//!
//! The snippet counts its own failed requests, which are those for analytics.js's settings and for
//! the scripts. The analytics.js that Hedgerow serves counts its calls when it gets their answers.
//! Requests of unchanged libraries are counted by the browser's reports (Resource Timing). These
//! contain most of the requests, but a browser that does not report the status counts none.
//! `fetch` itself and the rest of the page stay unchanged.
//!
//! Nothing is counted while the browser knows that it is offline. The line names no product, so that
//! no list can find an installation by it.

use super::page_sessions::{with_types, without_types};

/// `fails` counts and reports failures. `isAnswered` checks one answer, if its URL is below a host and
/// path. Types for TypeScript are in block comments.
const COUNTED: &str = include_str!("unanswered.js");

/// `watchAnswers` checks requests by the browser's reports.
const OBSERVED: &str = include_str!("unanswered_observed.js");

/// `watched` checks the answer to a `fetch` of the library, for any host, and passes it on.
const FETCHED: &str = include_str!("unanswered_fetched.js");

/// The code of analytics.js that calls `fetch`, in 1.83.0 and 1.84.3. In a version with other code the
/// calls are not counted.
const FETCH: &str = "return(n&&n.fetch||r).apply(void 0,t)";

/// Returns the functions for a script.
pub(in crate::site) fn in_a_script() -> String {
    without_types(&format!("{COUNTED}{OBSERVED}"))
}

/// Returns the functions for a module in TypeScript.
pub(in crate::site) fn in_a_module() -> String {
    with_types(&format!("{COUNTED}{OBSERVED}"))
}

/// Changes analytics.js's code so that it counts its calls that fail. `home` is the name of an object
/// in the code, in which the counting function is stored.
pub(in crate::site) fn counting(code: &str, home: &str) -> String {
    if code.matches(FETCH).count() != 1 {
        return code.to_owned();
    }
    let functions = without_types(&format!("{COUNTED}{FETCHED}"));
    let seen = format!("return {home}.seen((n&&n.fetch||r).apply(void 0,t),t)");
    format!(
        "!function () {{\n{functions}{home}.seen = watched\n}}();\n{}",
        code.replace(FETCH, &seen)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_are_in_the_oldest_javascript_and_typed_only_in_a_module() {
        let plain = in_a_script() + &counting(FETCH, "here");
        assert!(plain.contains("return here.seen("), "{plain}");
        for newer in [
            "=>", "const ", "let ", "`", "/*", ": any", ": string", "?.", "??", "...",
        ] {
            assert!(!plain.contains(newer), "{newer} in {plain}");
        }
        let typed = in_a_module();
        assert!(
            typed.contains("function watchAnswers(place: string)"),
            "{typed}"
        );
        assert!(!typed.contains("/*"), "{typed}");
    }

    #[test]
    fn the_line_names_no_product() {
        let lower = (in_a_script() + FETCHED).to_lowercase();
        for name in ["hedgerow", "segment", "posthog", "analytics"] {
            assert!(!lower.contains(name), "{name}");
        }
    }

    #[test]
    fn a_version_that_fetches_elsewhere_is_left_as_it_is() {
        for code in ["fetch()", "", &format!("{FETCH};{FETCH}")] {
            assert_eq!(counting(code, "here"), code);
        }
    }
}
