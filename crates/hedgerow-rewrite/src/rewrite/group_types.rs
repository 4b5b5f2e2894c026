//! Counts the group types of each project: PostHog accepts five and silently ignores any further one
//! (posthog-ingestion 4.5).

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use crate::posthog::ProjectId;

/// The number of group types that a PostHog project can have.
pub const GROUP_TYPES: usize = 5;

/// The longest name that is remembered, in bytes. Clients choose the names, so the memory needs a limit.
const NAME_BYTES: usize = 200;

/// The most projects that are remembered. The configuration determines how many there are.
const PROJECTS: usize = 1024;

/// The types of each project that were seen since the start.
#[derive(Debug, Default)]
pub(super) struct GroupTypes(RwLock<HashMap<ProjectId, SeenGroupTypes, ahash::RandomState>>);

#[derive(Debug, Default)]
struct SeenGroupTypes {
    types: Vec<String>,
    /// Whether a sixth type has been reported.
    reported: Reported,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Reported {
    #[default]
    No,
    Yes,
}

/// Whether the operator should be told of a group type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NewGroupTypes {
    None,
    /// The type is the sixth of its project.
    Sixth,
}

impl GroupTypes {
    /// Records a group type of a project. Returns [`NewGroupTypes::Sixth`] once per project.
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

/// The last groups whose types have been recorded. Senders mostly repeat the same groups, whose types then
/// need no second check.
#[derive(Debug, Default)]
pub(super) struct NotedGroups {
    project: ProjectId,
    groups: Vec<u8>,
    spelling: GroupSpelling,
    /// The index of the groups among the properties of their event, where the next event may have its own.
    pub(super) place: usize,
}

/// Whether PostHog gets a group's key in another spelling than the sender's.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum GroupSpelling {
    #[default]
    AsSent,
    Different,
}

impl NotedGroups {
    /// The longest text of groups that is remembered, in bytes.
    const LONGEST: usize = 512;

    /// Returns the memory that it holds, in bytes.
    pub(super) fn held(&self) -> usize {
        self.groups.capacity()
    }

    /// Whether these are the remembered groups, byte for byte, of the same project.
    pub(super) fn is(&self, project: &ProjectId, groups: &[u8]) -> bool {
        self.groups == groups && self.project == *project
    }

    /// Returns the spelling of these groups, if they are the remembered ones, of any project.
    pub(super) fn spelling(&self, groups: &[u8]) -> Option<GroupSpelling> {
        (self.groups == groups).then_some(self.spelling)
    }

    /// Remembers groups whose types have been recorded.
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
        let reports: usize = std::thread::scope(|scope| {
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
        assert_eq!(reports, 1);
    }
}
