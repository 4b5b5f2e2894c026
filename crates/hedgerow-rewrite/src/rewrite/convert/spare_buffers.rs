//! Memory that is handed on from request to request.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Converter;

/// Converters of requests that have ended, for those that come: their memory has grown to what
/// messages need.
///
/// A converter is large, and moves from hand to hand as a pointer.
#[derive(Debug, Default)]
#[allow(clippy::vec_box)]
pub(in crate::rewrite) struct SpareBuffers(Mutex<Vec<Box<Converter>>>);

impl SpareBuffers {
    /// As many as are worth their memory: 2 MiB at most.
    const MOST: usize = 32;
    /// One that had to grow further is freed, or it would hold the memory without end. In bytes.
    const LARGEST: usize = 64 * 1024;

    pub(in crate::rewrite) fn take(&self) -> Box<Converter> {
        self.list().pop().unwrap_or_default()
    }

    pub(in crate::rewrite) fn put_back(&self, mut converter: Box<Converter>) {
        converter.forget();
        if converter.held() <= Self::LARGEST {
            let mut list = self.list();
            if list.len() < Self::MOST {
                list.push(converter);
            }
        }
    }

    /// The list is whole between any two statements, whatever became of a thread.
    #[allow(clippy::vec_box)]
    fn list(&self) -> MutexGuard<'_, Vec<Box<Converter>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
