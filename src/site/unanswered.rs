//! What a page says when nothing answers: after three failures one line on its console, with the URL.
//! Otherwise a page that asks in vain says nothing at all, since its libraries try again in silence.
//!
//! The snippet counts what it asks for itself, which is analytics.js's settings and the scripts. The
//! calls of the analytics.js that we serve are counted where it takes the answer to them. What a library
//! asks for that is not ours to change is counted by what the browser tells an observer of requests
//! (Resource Timing): most of it, and nothing where a browser does not tell the status. `fetch` itself
//! and whatever else the page has stay as they are.
//!
//! Nothing is counted while the browser knows that it is offline. The line names no product, so that
//! no list can find an installation by it.

use super::page_sessions::{with_types, without_types};

/// `fails` counts and says it; `isAnswered` looks at one answer of those below a host and path. What
/// TypeScript wants to know stands between comment marks.
const COUNTED: &str = include_str!("unanswered.js");

/// `watchAnswers` looks at what the browser tells of requests.
const OBSERVED: &str = include_str!("unanswered_observed.js");

/// `watched` gives a function that looks at the answer to a `fetch`, and passes it on.
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

/// analytics.js's code with its calls counted. `home` is an object of the code's whose `calls` is the
/// host and path of its calls; there the function that counts them is kept.
pub(in crate::site) fn counting(code: &str, home: &str) -> String {
    if code.matches(FETCH).count() != 1 {
        return code.to_owned();
    }
    let functions = without_types(&format!("{COUNTED}{FETCHED}"));
    let seen = format!("return {home}.seen((n&&n.fetch||r).apply(void 0,t),t)");
    format!(
        "!function () {{\n{functions}{home}.seen = watched({home}.calls + '/')\n}}();\n{}",
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
