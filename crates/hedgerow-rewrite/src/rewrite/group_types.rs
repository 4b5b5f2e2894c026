//! The group types of each project: PostHog has five, and ignores any further one silently
//! (posthog-ingestion 4.5).

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use crate::posthog::ProjectId;

/// How many types of groups a project of PostHog's has.
pub const GROUP_TYPES: usize = 5;

/// A longer name is looked at no further: names come from clients.
const NAME_BYTES: usize = 200;

/// Projects that are told apart. There are as many as the configuration has.
const PROJECTS: usize = 1024;

/// The types that were seen since the start, project by project.
#[derive(Debug, Default)]
pub(super) struct GroupTypes(RwLock<HashMap<ProjectId, SeenGroupTypes, ahash::RandomState>>);

#[derive(Debug, Default)]
struct SeenGroupTypes {
    types: Vec<String>,
    /// Whether the sixth has been reported.
    reported: Reported,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Reported {
    #[default]
    No,
    Yes,
}

/// Whether a group type is new to the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NewGroupTypes {
    None,
    /// It is the sixth of its project.
    Sixth,
}

impl GroupTypes {
    /// Notes a type of a project. The sixth is news, once.
    pub(super) fn note(&self, project: &ProjectId, group_type: &str) -> NewGroupTypes {
        if group_type.is_empty() || group_type.len() > NAME_BYTES {
            return NewGroupTypes::None;
        }
        let is_settled = |seen: &SeenGroupTypes| {
            seen.reported == Reported::Yes || seen.types.iter().any(|known| known == group_type)
        };
        {
            let projects = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if projects.get(project).is_some_and(is_settled) {
                return NewGroupTypes::None;
            }
        }
        let mut projects = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if projects.len() >= PROJECTS && !projects.contains_key(project) {
            return NewGroupTypes::None;
        }
        let seen = projects.entry(project.clone()).or_default();
        if is_settled(seen) {
            return NewGroupTypes::None;
        }
        if seen.types.len() < GROUP_TYPES {
            seen.types.push(group_type.to_owned());
            return NewGroupTypes::None;
        }
        seen.reported = Reported::Yes;
        NewGroupTypes::Sixth
    }
}

/// The last groups of a project whose types had nothing new: a sender mostly has the same ones, and what is known of
/// a type stays so.
#[derive(Debug, Default)]
pub(super) struct NotedGroups {
    project: ProjectId,
    groups: Vec<u8>,
    spelling: GroupSpelling,
}

/// Whether groups have a key that is written differently for PostHog.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum GroupSpelling {
    #[default]
    AsSent,
    Different,
}

impl NotedGroups {
    /// More bytes of groups are not remembered.
    const LONGEST: usize = 512;

    /// The memory it holds, in bytes.
    pub(super) fn held(&self) -> usize {
        self.groups.capacity()
    }

    /// Whether these are the last ones, byte for byte.
    pub(super) fn is(&self, project: &ProjectId, groups: &[u8]) -> bool {
        self.groups == groups && self.project == *project
    }

    /// How these are spelled, if they are the last ones, whatever their project.
    pub(super) fn spelling(&self, groups: &[u8]) -> Option<GroupSpelling> {
        (self.groups == groups).then_some(self.spelling)
    }

    /// Remembers groups, whose types have been noted.
    pub(super) fn keep(&mut self, project: &ProjectId, groups: &[u8], spelling: GroupSpelling) {
        if groups.len() <= Self::LONGEST {
            self.spelling = spelling;
            self.project.clone_from(project);
            self.groups.clear();
            self.groups.extend_from_slice(groups);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::posthog::ApiKey;

    fn project(name: &str) -> ProjectId {
        ProjectId::of(&ApiKey::new(name).unwrap())
    }

    #[test]
    fn the_sixth_type_of_a_project_is_news_once() {
        let types = GroupTypes::default();
        for shop in ["shop", "blog"] {
            for name in ["a", "b", "a", "c", "d", "e", "e", "a", ""] {
                assert_eq!(
                    types.note(&project(shop), name),
                    NewGroupTypes::None,
                    "{shop} {name}"
                );
            }
        }
        assert_eq!(
            types.note(&project("shop"), &"x".repeat(NAME_BYTES + 1)),
            NewGroupTypes::None
        );
        assert_eq!(types.note(&project("shop"), "f"), NewGroupTypes::Sixth);
        assert_eq!(types.note(&project("shop"), "f"), NewGroupTypes::None);
        assert_eq!(types.note(&project("shop"), "g"), NewGroupTypes::None);
        assert_eq!(types.note(&project("blog"), "g"), NewGroupTypes::Sixth);
    }

    #[test]
    fn noted_groups_are_those_of_one_project_byte_for_byte() {
        let mut noted = NotedGroups::default();
        let groups = br#"{"company":"acme"}"#;
        assert!(!noted.is(&project("shop"), groups));
        noted.keep(&project("shop"), groups, GroupSpelling::Different);
        assert_eq!(noted.spelling(groups), Some(GroupSpelling::Different));
        assert_eq!(noted.spelling(b"{}"), None);
        assert!(noted.is(&project("shop"), groups));
        assert!(!noted.is(&project("blog"), groups));
        assert!(!noted.is(&project("shop"), br#"{"company":"acme" }"#));
        noted.keep(
            &project("blog"),
            &[b'x'; NotedGroups::LONGEST + 1],
            GroupSpelling::AsSent,
        );
        assert!(
            noted.is(&project("shop"), groups),
            "too long a text is not kept"
        );
    }

    #[test]
    fn of_many_threads_one_gets_the_news() {
        let types = GroupTypes::default();
        let news: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let names = (0..100).map(|number| format!("type {number}"));
                        names
                            .filter(|name| {
                                types.note(&project("shop"), name) == NewGroupTypes::Sixth
                            })
                            .count()
                    })
                })
                .collect();
            threads.into_iter().map(|one| one.join().unwrap()).sum()
        });
        assert_eq!(news, 1);
    }
}
