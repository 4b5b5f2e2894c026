//! A spool in a folder of this machine: its key in the configuration, and (feature `sqlite`) the spool
//! itself.

#[cfg(feature = "sqlite")]
mod spool;

use crate::kind::{SpoolBuild, SpoolKind, SpoolTakes};
use crate::settings::SettingForm;

#[cfg(feature = "sqlite")]
pub use spool::{outlive_file_size_limit, SqliteSettings, SqliteSpool};

/// `path: FOLDER`
pub(super) const KIND: SpoolKind = SpoolKind {
    key: "path",
    takes: SpoolTakes::One(SettingForm::Path {
        expected: "the path of a folder",
    }),
    build: BUILD,
};

#[cfg(feature = "sqlite")]
const BUILD: SpoolBuild = SpoolBuild::Made(spool::SqliteBackend::of);
#[cfg(not(feature = "sqlite"))]
const BUILD: SpoolBuild = SpoolBuild::Lacks { feature: "sqlite" };
