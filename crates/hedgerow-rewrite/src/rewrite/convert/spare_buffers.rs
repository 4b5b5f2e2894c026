//! Memory that is reused from request to request.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Converter;

/// The converters of requests that have ended, for reuse by new requests. Their memory has already
/// grown to the size that messages need.
///
/// A converter is large, so it is passed around in a `Box`.
#[derive(Debug, Default)]
#[allow(clippy::vec_box)]
pub(in crate::rewrite) struct SpareBuffers(Mutex<Vec<Box<Converter>>>);

impl SpareBuffers {
    /// The largest number of spare converters. They take 2 MiB at most.
    const MOST: usize = 32;
    /// The largest size of a spare converter, in bytes. A larger one is freed, because it would hold
    /// its memory forever.
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

    /// Locks the list. It is valid between any two statements, so a panic of another thread does no harm.
    #[allow(clippy::vec_box)]
    fn list(&self) -> MutexGuard<'_, Vec<Box<Converter>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
