//! Implements [`Backend`] for a spool in a folder.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::inspect::inspect_folder;
use super::settings::{FolderState, SqliteSettings};
use super::store::SqliteSpool;
use super::worker::WorkerCommand;
use crate::backend::{
    Backend, Examination, OpenedSpool, SharedFolder, SpoolHealth, SpoolLimits, SpoolTrouble, Terms,
};
use crate::command::{CommandError, SpoolCommand};
use crate::error::SpoolError;
use crate::settings::{SettingMistake, SpoolSettings};
use crate::store::Leadership;

/// A spool in a folder.
pub(crate) struct SqliteBackend(PathBuf);

impl SqliteBackend {
    /// Creates the backend for the folder in the setting `path`.
    pub(crate) fn of(settings: &SpoolSettings) -> Result<Arc<dyn Backend>, Vec<SettingMistake>> {
        let folder = settings.path("path").ok_or_else(Vec::new)?;
        Ok(Arc::new(Self(folder.to_owned())))
    }
}

impl Backend for SqliteBackend {
    fn describe(&self) -> String {
        self.0.display().to_string()
    }

    fn open(&self, terms: Terms) -> Result<OpenedSpool, SpoolError> {
        let settings = SqliteSettings {
            max_size: terms.limits.max_size,
            max_age: terms.limits.max_age,
            ..SqliteSettings::default()
        };
        let spool = SqliteSpool::open_with_clock(&self.0, settings, terms.clock)?;
        Ok(OpenedSpool {
            store: spool.as_store(),
            folder: Some(Arc::new(spool)),
        })
    }

    fn check(&self) -> Result<(), SpoolError> {
        inspect_folder(&self.0).map(drop)
    }

    fn run(
        &self,
        _: SpoolLimits,
        command: &SpoolCommand,
        out: &mut dyn Write,
    ) -> Result<(), CommandError> {
        command.run(&self.0, out)
    }

    fn examine(&self, _: SpoolLimits, _: usize) -> Vec<Examination> {
        let found = match inspect_folder(&self.0) {
            Ok(FolderState::Usable) => SpoolHealth::Well("is there and can be used".to_owned()),
            Ok(FolderState::Empty) => {
                SpoolHealth::Well("does not exist yet and can be created".to_owned())
            }
            Err(error) => SpoolHealth::Bad(SpoolTrouble {
                what: error.to_string(),
                advice: "set a folder in which Hedgerow's user can write",
            }),
        };
        vec![Examination {
            about: format!("spool {}", self.describe()),
            found,
        }]
    }

    fn folder(&self) -> Option<&Path> {
        Some(&self.0)
    }
}

#[async_trait]
impl SharedFolder for SqliteSpool {
    fn path(&self) -> &Path {
        &self.inner.folder
    }

    fn leadership(&self) -> Leadership {
        self.inner.lease.leadership()
    }

    fn announce_follower(&self) {
        self.inner.lease.announce_follower();
    }

    fn withdraw_follower(&self) {
        self.inner.lease.withdraw_follower();
    }

    fn has_follower(&self) -> bool {
        self.inner.lease.has_follower()
    }

    fn acknowledge_follower(&self) {
        self.inner.lease.acknowledge_follower();
    }

    fn resume_leading(&self) {
        self.inner.lease.resume_leading();
    }

    fn is_follower_known(&self) -> bool {
        self.inner.lease.is_follower_known()
    }

    async fn reload(&self) {
        let (reply, answer) = oneshot::channel();
        if self.send(WorkerCommand::Reload { reply }).is_ok() {
            let _ = answer.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::SettingValue;
    use crate::store_contract;

    fn backend(folder: &Path) -> Arc<dyn Backend> {
        let mut settings = SpoolSettings::default();
        settings.set("path", SettingValue::Path(folder.join("spool")));
        SqliteBackend::of(&settings).unwrap()
    }

    #[tokio::test]
    async fn the_promises_of_a_store_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        store_contract::are_kept(&*backend(folder.path())).await;
    }

    #[tokio::test]
    async fn the_size_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        store_contract::are_bounded(&*backend(folder.path()), 1 << 20).await;
    }
}
