//! A kind of spool: the key and the settings by which a configuration selects it, and the function that
//! creates a spool from them. The list of kinds is [`KINDS`](super::KINDS).

use std::fmt;
use std::sync::Arc;

use crate::backend::Backend;
use crate::settings::{SettingForm, SettingMistake, SpoolSettings};

/// A kind of spool.
#[derive(Debug)]
pub struct SpoolKind {
    /// The key of `delivery.spool` whose value states where such a spool is.
    pub key: &'static str,
    /// The form of this key's value.
    pub takes: SpoolTakes,
    /// Whether this build has the kind.
    pub(crate) build: SpoolBuild,
}

/// The form of the value of a kind's key.
#[derive(Debug)]
pub enum SpoolTakes {
    /// One value. In the [`SpoolSettings`] its key is the key of the kind.
    One(SettingForm),
    /// A section with its own keys.
    Section {
        /// The keys, and the form of each key's value.
        settings: &'static [(&'static str, SettingForm)],
        /// The keys that the section must have.
        required: &'static [&'static str],
        /// Pairs of keys of which the first requires the second. Only editors use them: the kind itself
        /// reports the mistake.
        needs: &'static [(&'static str, &'static str)],
        /// Pairs of keys of which only one may be set. Only editors use them: the kind itself reports the
        /// mistake.
        excludes: &'static [(&'static str, &'static str)],
    },
}

/// Creates a spool from its settings, without opening it. The configuration itself has reported each
/// setting that is `SettingValue::Mistaken`, so this function reports no mistake that only follows from
/// such a setting.
pub(crate) type MakeBackend = fn(&SpoolSettings) -> Result<Arc<dyn Backend>, Vec<SettingMistake>>;

/// Whether a build has a kind of spool.
// A build without features uses one of the two.
#[allow(dead_code)]
#[derive(Debug, Clone, Copy)]
pub(crate) enum SpoolBuild {
    /// The build has the kind, and this function creates a spool of it.
    Made(MakeBackend),
    /// The build lacks the kind, because it was built without a cargo feature.
    Lacks {
        /// The feature.
        feature: &'static str,
    },
}

impl SpoolKind {
    /// Returns the cargo feature that this build lacks, if it does not have the kind.
    pub fn missing_feature(&self) -> Option<&'static str> {
        match self.build {
            SpoolBuild::Made(_) => None,
            SpoolBuild::Lacks { feature } => Some(feature),
        }
    }

    /// Creates a spool of this kind with these settings, without opening it.
    ///
    /// # Errors
    /// The mistakes that are not [`SettingValue::Mistaken`](super::SettingValue::Mistaken) already. The
    /// list is empty if this build does not have the kind.
    pub fn place(&self, settings: SpoolSettings) -> Result<SpoolPlace, Vec<SettingMistake>> {
        let SpoolBuild::Made(make) = self.build else {
            return Err(Vec::new());
        };
        let backend = make(&settings)?;
        Ok(SpoolPlace {
            key: self.key,
            settings,
            backend,
        })
    }
}

/// The place of a spool: its settings, and the [`Backend`] that its kind created from them. Two places are
/// equal if their kinds and settings are equal.
#[derive(Clone)]
pub struct SpoolPlace {
    key: &'static str,
    settings: SpoolSettings,
    backend: Arc<dyn Backend>,
}

impl SpoolPlace {
    /// Returns the spool's functions.
    pub fn backend(&self) -> &dyn Backend {
        &*self.backend
    }
}

impl PartialEq for SpoolPlace {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.settings == other.settings
    }
}

impl Eq for SpoolPlace {}

/// Writes the kind and the place, but no login.
impl fmt::Debug for SpoolPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.key, self.backend.describe())
    }
}
