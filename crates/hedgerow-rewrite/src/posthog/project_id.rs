//! The identity of the PostHog project that events are for.

use super::api_key::ApiKey;

/// A PostHog project, identified by its key. Its `Debug` form does not show the key.
///
/// The default is no project: nothing is remembered for it, and it has no cookie.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ProjectId(Option<ApiKey>);

impl ProjectId {
    /// Returns the project that a key belongs to.
    pub fn of(api_key: &ApiKey) -> Self {
        Self(Some(api_key.clone()))
    }

    /// The project's key; `None` if this is no project.
    pub(crate) fn api_key(&self) -> Option<&ApiKey> {
        self.0.as_ref()
    }

    /// The bytes that represent the project in hashes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0
            .as_ref()
            .map_or(&[], |api_key| api_key.expose().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_ids_differ_by_key_and_show_no_key() {
        let id = |key: &str| ProjectId::of(&ApiKey::new(key).unwrap());
        assert_eq!(id("phc_a"), id("phc_a"));
        assert_ne!(id("phc_a"), id("phc_b"));
        assert_ne!(id("phc_a"), ProjectId::default());
        assert_ne!(id("phc_a").as_bytes(), id("phc_b").as_bytes());
        assert!(!format!("{:?}", id("phc_a")).contains("phc_a"));
    }
}
