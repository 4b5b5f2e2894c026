//! The context's values that have a property of their own, and whether they were written.

use super::super::json::{name, Name};

/// The context's values that have a property of their own (mapping 1.3, point 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContextValue {
    Ip,
    CurrentUrl,
    Pathname,
    Os,
    Referrer,
    ScreenWidth,
    ScreenHeight,
    DeviceType,
}

/// The context's values that have been written, and those that were skipped because they are empty.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mapped {
    written: u8,
    skipped: u8,
}

impl Mapped {
    pub(super) fn note(&mut self, target: ContextValue) {
        self.written |= 1 << target as u8;
    }

    pub(super) fn has(&self, target: ContextValue) -> bool {
        self.written & 1 << target as u8 != 0
    }

    pub(super) fn note_skipped(&mut self, target: ContextValue) {
        self.skipped |= 1 << target as u8;
    }

    /// Whether a value was skipped, and no other has replaced it.
    pub(super) fn is_left(&self, target: ContextValue) -> bool {
        self.skipped & !self.written & 1 << target as u8 != 0
    }

    /// Whether any value was skipped that no other has replaced.
    pub(super) fn has_left(&self) -> bool {
        self.skipped & !self.written != 0
    }
}

impl ContextValue {
    pub(super) fn property(self) -> Name {
        match self {
            Self::Ip => name!("$ip"),
            Self::CurrentUrl => name!("$current_url"),
            Self::Pathname => name!("$pathname"),
            Self::Os => name!("$os"),
            Self::Referrer => name!("$referrer"),
            Self::ScreenWidth => name!("$screen_width"),
            Self::ScreenHeight => name!("$screen_height"),
            Self::DeviceType => name!("$device_type"),
        }
    }

    pub(super) fn from_property(property: Name) -> Option<Self> {
        let all = [
            Self::Ip,
            Self::CurrentUrl,
            Self::Pathname,
            Self::Os,
            Self::Referrer,
            Self::ScreenWidth,
            Self::ScreenHeight,
            Self::DeviceType,
        ];
        all.into_iter().find(|target| target.property() == property)
    }
}
