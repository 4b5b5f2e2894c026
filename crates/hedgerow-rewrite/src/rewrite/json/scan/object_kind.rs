//! The kinds of objects whose keys are remembered.

/// The kind of an object in a message; each kind has its own keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rewrite) struct ObjectKind(u8);

/// The number of kinds that are remembered.
pub(super) const KINDS: usize = 4 + ObjectKind::INNERS + ObjectKind::MORE_PROPERTIES;

impl ObjectKind {
    pub(in crate::rewrite) const MESSAGE: Self = Self(0);
    pub(in crate::rewrite) const CONTEXT: Self = Self(1);
    const PROPERTIES: Self = Self(2);
    pub(in crate::rewrite) const INTEGRATIONS: Self = Self(3);
    /// Any other object; its keys are not remembered.
    pub(in crate::rewrite) const OTHER: Self = Self(u8::MAX);

    /// The number of kinds of objects in the context.
    pub(in crate::rewrite) const INNERS: usize = 9;

    /// The number of further kinds of `properties`: each event has properties of its own.
    const MORE_PROPERTIES: usize = 7;

    /// Returns the kind of `properties` with this text. The first bytes of the first key select it.
    #[inline(always)]
    pub(in crate::rewrite) fn properties(text: &[u8]) -> Self {
        const AT: u8 = 4 + ObjectKind::INNERS as u8;
        let Some(first) = text.get(2..).and_then(|key| key.first_chunk()) else {
            return Self::PROPERTIES;
        };
        let hash = u64::from_le_bytes(*first).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61;
        match hash.checked_sub(1) {
            Some(more) => Self(AT + more as u8),
            None => Self::PROPERTIES,
        }
    }

    /// Returns the kind of the context's object with this number.
    pub(in crate::rewrite) const fn inner(number: u8) -> Self {
        Self(4 + number)
    }

    /// Whether the keys of such an object are remembered.
    #[inline(always)]
    pub(super) fn is_remembered(self) -> bool {
        self.index() < KINDS
    }

    /// Returns its index among the kinds that are remembered; [`OTHER`](Self::OTHER) has none below
    /// [`KINDS`].
    #[inline(always)]
    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }
}
