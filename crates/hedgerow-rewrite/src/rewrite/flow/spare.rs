//! Memory that is reused from request to request.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::convert::{ClientContext, ClientContexts, ClientSlot};
use super::workspace::Workspace;

/// The workspaces of requests that have ended, and the last contexts of their clients. A request takes
/// both at once and returns both at once, so one lock protects them.
#[derive(Debug, Default)]
pub(in crate::rewrite) struct Spare(Mutex<SpareMemory>);

#[derive(Debug, Default)]
struct SpareMemory {
    /// Their memory has already grown to the size that messages need.
    ///
    /// A workspace is large, so it is passed around in a `Box`.
    #[allow(clippy::vec_box)]
    workspaces: Vec<Box<Workspace>>,
    contexts: ClientContexts,
}

impl Spare {
    /// The largest number of spare workspaces. They usually take less than 1 MiB, and 8 MiB at most.
    const MOST: usize = 32;
    /// The largest size of a spare workspace, in bytes. A larger one is freed, because it would hold
    /// its memory forever.
    const LARGEST: usize = 64 * 1024;
    /// The size of a body, in bytes, up to which the workspace is not measured: such bodies alone, whatever
    /// is in them, let no workspace grow beyond four times the size above.
    const SMALL: usize = 2 * 1024;

    /// Takes out a workspace, and the context of a client. Until the context is put back, other requests
    /// of the client find none.
    pub(in crate::rewrite) fn take(
        &self,
        client: Option<ClientSlot>,
    ) -> (Option<Box<Workspace>>, Option<ClientContext>) {
        let mut memory = self.memory();
        let context = client.and_then(|client| memory.contexts.take(client));
        (memory.workspaces.pop(), context)
    }

    /// Returns the workspace of a body, and stores the context of its client for the next request.
    pub(in crate::rewrite) fn put_back(&self, mut workspace: Box<Workspace>) {
        let (client, context) = (workspace.client, workspace.clear());
        let fits = workspace.pushed <= Self::SMALL || workspace.held() <= Self::LARGEST;
        let mut memory = self.memory();
        let replaced = match (client, context) {
            (Some(client), Some(context)) => memory.contexts.put(client, context),
            (_, context) => context,
        };
        // Memory is freed after the lock, so that no other request waits for it.
        if fits && memory.workspaces.len() < Self::MOST {
            memory.workspaces.push(workspace);
            drop(memory);
        } else {
            drop(memory);
            drop(workspace);
        }
        drop(replaced);
    }

    /// Locks the memory. It is valid between any two statements, so a panic of another thread does no harm.
    fn memory(&self) -> MutexGuard<'_, SpareMemory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
