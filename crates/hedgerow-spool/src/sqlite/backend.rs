//! What is asked of a spool in a folder.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::look::inspect_folder;
use super::settings::FolderState;
use super::worker::Command;
use super::{Spool, SpoolSettings};
use crate::backend::{Backend, Examination, Found, Limits, Opened, SharedFolder, Terms, Trouble};
use crate::{CommandError, Leadership, SpoolCommand, SpoolError};

/// A spool in a folder.
pub(crate) struct Folder<'p>(pub(crate) &'p Path);

impl Backend for Folder<'_> {
    fn describe(&self) -> String {
        self.0.display().to_string()
    }

    fn open(&self, terms: Terms) -> Result<Opened, SpoolError> {
        let settings = SpoolSettings {
            max_size: terms.limits.max_size,
            max_age: terms.limits.max_age,
            ..SpoolSettings::default()
        };
        let spool = Spool::open_with_clock(self.0, settings, terms.clock)?;
        Ok(Opened {
            store: spool.as_store(),
            folder: Some(Arc::new(spool)),
        })
    }

    fn check(&self) -> Result<(), SpoolError> {
        inspect_folder(self.0).map(drop)
    }

    fn run(
        &self,
        _: Limits,
        command: &SpoolCommand,
        out: &mut dyn Write,
    ) -> Result<(), CommandError> {
        command.run(self.0, out)
    }

    fn examine(&self, _: Limits, _: usize) -> Vec<Examination> {
        let found = match inspect_folder(self.0) {
            Ok(FolderState::Usable) => Found::Well("is there and can be used".to_owned()),
            Ok(FolderState::Empty) => Found::Well("is not there yet and can be made".to_owned()),
            Err(error) => Found::Bad(Trouble {
                what: error.to_string(),
                advice: "give the user that Hedgerow runs as a folder it can write in",
            }),
        };
        vec![Examination {
            about: format!("spool {}", self.describe()),
            found,
        }]
    }

    fn folder(&self) -> Option<&Path> {
        Some(self.0)
    }
}

#[async_trait]
impl SharedFolder for Spool {
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
        if self.send(Command::Reload { reply }).is_ok() {
            let _ = answer.await;
        }
    }
}
