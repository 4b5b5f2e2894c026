//! Finds the text of the documentation about a code, for the live view.

/// The document. It is compiled in, so that the page loads nothing from other servers.
const REPAIRS: &str = include_str!("../../docs/repairs.md");

/// The path of the document in the repository.
const PLACE: &str = "docs/repairs.md";

/// The text of a document about a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Advice {
    /// The text, in Markdown.
    pub(super) text: &'static str,
    /// The path of the document in the repository.
    pub(super) document: &'static str,
}

/// Returns the text about a code of a message or a request with this `result`. The section depends on
/// `result`, because a code may have different meanings for a message and for a body.
pub(super) fn of(result: &str, code: &str) -> Option<Advice> {
    let heading = match result {
        "left_out" => "## Left out",
        "refused" => "## Refused messages",
        _ => "## Refused bodies",
    };
    let section = REPAIRS
        .split_once(heading)
        .and_then(|(_, behind)| row(behind.split("\n## ").next()?, code));
    let text = section.or_else(|| row(REPAIRS, code))?;
    Some(Advice {
        text,
        document: PLACE,
    })
}

/// Returns the second cell of the first table row that begins with this code.
fn row(text: &'static str, code: &str) -> Option<&'static str> {
    text.lines().find_map(|line| {
        let line = line.strip_prefix("| `")?;
        let cells = line.strip_prefix(code)?.strip_prefix("` | ")?;
        cells.split(" | ").next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::RequestOutcome;
    use crate::rewrite::{Fault, Omission};

    #[test]
    fn the_documents_explain_every_code_that_the_live_view_shows() {
        use Omission::*;
        let left_out = [
            Integrations,
            SelfAlias,
            PersonProfiles,
            Repeat,
            GlobalPrivacyControl,
            DoNotTrack,
            Consent,
            Anonymous,
            Rule,
        ];
        let refused = [
            Fault::NotAnObject,
            Fault::MissingType,
            Fault::UnknownType,
            Fault::MissingDistinctId,
            Fault::MissingEvent,
            Fault::EventNotText,
            Fault::PreviousIdNotText,
            Fault::CookielessNotBoolean,
            Fault::TooDeep,
            Fault::TooLarge,
            Fault::RefusedByPostHog,
        ];
        let mut codes: Vec<_> = left_out.map(|one| ("left_out", one.code())).to_vec();
        codes.extend(refused.map(|fault| ("refused", fault.code())));
        let rejected = RequestOutcome::ALL
            .iter()
            .filter(|answer| answer.is_refusal());
        codes.extend(rejected.map(|answer| ("rejected", answer.code())));
        codes.push(("event", "try_again"));
        codes.retain(|(result, code)| of(result, code).is_none());
        assert!(
            codes.is_empty(),
            "docs/repairs.md says nothing of {codes:?}"
        );
        let body = of("rejected", "not_an_object").unwrap();
        assert_ne!(body, of("refused", "not_an_object").unwrap());
    }
}
