//! The memory of a scanner, which is reused for each message.

use super::super::keys::{Hashes, Seen};
use super::expected_keys::{KeyOrders, OrderUpdates};

/// Memory that is reused for each message.
#[derive(Debug, Default)]
pub(in crate::rewrite) struct Scratch {
    pub(super) state: ScanState,
    pub(super) orders: KeyOrders,
}

/// The part of the memory that changes while a text is scanned.
#[derive(Debug, Default)]
pub(super) struct ScanState {
    pub(super) frames: Vec<SkippedContainer>,
    pub(super) hashes: Hashes,
    pub(super) updates: OrderUpdates,
}

impl Scratch {
    /// Returns the memory that it holds, in bytes.
    pub(in crate::rewrite) fn held(&self) -> usize {
        let state = &self.state;
        state.frames.capacity() * size_of::<SkippedContainer>()
            + state.hashes.held()
            + state.updates.held()
            + self.orders.held()
    }
}

/// An array or object that is being skipped, and its keys so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct SkippedContainer {
    pub(super) container: Container,
    pub(super) seen: Seen,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    Array,
    Object,
}

impl Container {
    #[inline(always)]
    pub(super) fn end(self) -> u8 {
        match self {
            Self::Array => b']',
            Self::Object => b'}',
        }
    }
}
