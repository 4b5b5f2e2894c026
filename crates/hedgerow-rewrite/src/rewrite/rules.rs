//! A site's own rules for its events: drop, keep or rename them by name.

use super::enrich::privacy::NamePattern;
use crate::segment::Kind;

/// One rule. The first rule whose pattern matches an event's name decides; an event that no rule matches
/// is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The pattern for the name that PostHog would get (`$pageview` for a page call).
    pub event: NamePattern,
    /// What happens to the events that match.
    pub action: RuleAction,
}

/// What happens to the events of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleAction {
    /// They are sent, whatever later rules say.
    Keep,
    /// They are left out.
    Drop,
    /// They get another name. Such a rule matches only track, page and screen calls, because PostHog
    /// recognises identify, group and alias calls by the names of their events.
    Rename(String),
}

impl Rule {
    /// Returns whether the rule applies to an event.
    fn matches(&self, event: &str, kind: Kind) -> bool {
        let renames = matches!(self.action, RuleAction::Rename(_));
        (kind.is_event_call() || !renames) && self.event.matches(event)
    }
}

/// Returns the action of the first rule that matches an event.
pub(super) fn decide<'r>(rules: &'r [Rule], event: &str, kind: Kind) -> Option<&'r RuleAction> {
    let rule = rules.iter().find(|rule| rule.matches(event, kind))?;
    Some(&rule.action)
}

/// The names of the events that change persons and groups in PostHog (posthog-ingestion 3.6). A rule
/// cannot give an event one of these names.
pub const PERSON_EVENTS: &[&str] = &[
    "$identify",
    "$create_alias",
    "$merge_dangerously",
    "$set",
    "$groupidentify",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rule = |event: &str, action| Rule {
            event: event.parse().unwrap(),
            action,
        };
        let renamed = RuleAction::Rename("Old".to_owned());
        let rules = [
            rule("Debug Important", RuleAction::Keep),
            rule("Debug *", RuleAction::Drop),
            rule("*Viewed", renamed.clone()),
            rule("$identify", renamed.clone()),
        ];
        for (event, kind, expected) in [
            ("Debug Important", Kind::Track, Some(&RuleAction::Keep)),
            ("Debug x", Kind::Track, Some(&RuleAction::Drop)),
            ("Page Viewed", Kind::Page, Some(&renamed)),
            ("Order Completed", Kind::Track, None),
            ("$identify", Kind::Identify, None),
            ("$identify", Kind::Track, Some(&renamed)),
        ] {
            assert_eq!(decide(&rules, event, kind), expected, "{event} {kind:?}");
        }
    }
}
