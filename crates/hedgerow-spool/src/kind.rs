//! A kind of spool: how a configuration names it, and what is made of what it says. The list of kinds
//! is [`KINDS`](super::KINDS).

use std::fmt;
use std::sync::Arc;

use crate::backend::Backend;
use crate::settings::{SettingForm, SettingMistake, SpoolSettings};

/// A kind of spool.
#[derive(Debug)]
pub struct SpoolKind {
    /// The key of `delivery.spool` that says where such a spool is.
    pub key: &'static str,
    /// What stands behind this key.
    pub takes: SpoolTakes,
    /// Whether this build has the kind.
    pub(crate) build: SpoolBuild,
}

/// What stands behind the key of a kind.
#[derive(Debug)]
pub enum SpoolTakes {
    /// One value. Among the [`SpoolSettings`] it has the key of the kind.
    One(SettingForm),
    /// A section with keys of its own.
    Section {
        /// The keys, and the form of what each takes.
        settings: &'static [(&'static str, SettingForm)],
        /// Those without which the section means nothing.
        required: &'static [&'static str],
        /// The first is not given without the second. For editors: the kind itself says the mistake.
        needs: &'static [(&'static str, &'static str)],
        /// Not both are given. For editors: the kind itself says the mistake.
        excludes: &'static [(&'static str, &'static str)],
    },
}

/// Makes a spool of its settings, without opening it. Of a setting that is mistaken already the
/// configuration says so itself: what it makes impossible is no further mistake.
pub(crate) type MakeBackend = fn(&SpoolSettings) -> Result<Arc<dyn Backend>, Vec<SettingMistake>>;

/// Whether a build has a kind of spool.
// A build without features uses one of the two.
#[allow(dead_code)]
#[derive(Debug, Clone, Copy)]
pub(crate) enum SpoolBuild {
    /// It has, and this makes one.
    Made(MakeBackend),
    /// It was made without this cargo feature.
    Lacks {
        /// The feature.
        feature: &'static str,
    },
}

impl SpoolKind {
    /// The cargo feature without which this build was made, if it does not have the kind.
    pub fn missing_feature(&self) -> Option<&'static str> {
        match self.build {
            SpoolBuild::Made(_) => None,
            SpoolBuild::Lacks { feature } => Some(feature),
        }
    }

    /// A spool of this kind with these settings, which is not opened yet.
    ///
    /// # Errors
    /// The mistakes that are not [`SettingValue::Mistaken`](super::SettingValue::Mistaken) already. None
    /// are told of a kind that this build does not have.
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

/// Where a spool is: what its kind has made of its settings. Two are equal if their settings are.
#[derive(Clone)]
pub struct SpoolPlace {
    key: &'static str,
    settings: SpoolSettings,
    backend: Arc<dyn Backend>,
}

impl SpoolPlace {
    /// What can be asked of it.
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

/// Shows no login.
impl fmt::Debug for SpoolPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.key, self.backend.describe())
    }
}
