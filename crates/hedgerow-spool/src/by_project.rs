//! A map of values by project. A value is created when it is first requested, and is then stored.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

/// A value for each requested project. Reading an existing value takes only a read lock.
#[derive(Debug)]
pub(super) struct ByProject<V>(RwLock<HashMap<String, V>>);

impl<V> Default for ByProject<V> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<V: Clone> ByProject<V> {
    /// Returns the value of a project, and creates it first if there is none.
    pub(super) fn of(&self, project: &str, make: impl FnOnce() -> V) -> V {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = known.get(project) {
            return value.clone();
        }
        drop(known);
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(project.to_owned()).or_insert_with(make).clone()
    }

    /// Returns all projects and their values, sorted by name.
    pub(super) fn all(&self) -> Vec<(String, V)> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<(String, V)> = all
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        all
    }
}
