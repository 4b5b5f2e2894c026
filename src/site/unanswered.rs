//! The page's message when its requests get no answer: after three failures one line on its
//! console, with the URL. Otherwise the page would show nothing, because its libraries retry
//! silently.
//!
//! The snippet counts its own requests, for analytics.js's settings and the scripts. The
//! analytics.js that Hedgerow serves counts its calls when it gets their answers. Requests of
//! unchanged libraries are counted by the browser's reports (Resource Timing): most of them, and
//! none if a browser does not report the status. `fetch` itself and everything else of the page
//! stay unchanged.
//!
//! Nothing is counted while the browser knows that it is offline. The line names no product, so that
//! no list can find an installation by it.

use super::page_sessions::{with_types, without_types};

/// `fails` counts and reports; `isAnswered` checks one answer of those below a host and path. Types
/// for TypeScript are between comment marks.
const COUNTED: &str = include_str!("unanswered.js");

/// `watchAnswers` reads the browser's reports about requests.
const OBSERVED: &str = include_str!("unanswered_observed.js");

/// `watched` checks the answer to a `fetch` of the library, for any host, and passes it on.
const FETCHED: &str = include_str!("unanswered_fetched.js");

/// Where analytics.js fetches, in 1.83.0 and 1.84.3. In a version that has other words there, its calls
/// are not counted.
const FETCH: &str = "return(n&&n.fetch||r).apply(void 0,t)";

/// The functions for a script.
pub(in crate::site) fn in_a_script() -> String {
    without_types(&format!("{COUNTED}{OBSERVED}"))
}

/// The functions for a module in TypeScript.
pub(in crate::site) fn in_a_module() -> String {
    with_types(&format!("{COUNTED}{OBSERVED}"))
}

/// analytics.js's code with its calls counted. `home` is an object of the code, which stores the
/// counting function.
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
