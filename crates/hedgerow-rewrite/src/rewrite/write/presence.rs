//! Which keys are taken, asked for forty times an event and so answered quickly.

/// A set of the caller's keys that may say yes where it should say no, and never the other way.
#[derive(Debug, Default)]
pub(super) struct Presence([u64; 4]);

impl Presence {
    pub(super) fn note(&mut self, key: &[u8]) {
        let (word, bit) = place(key);
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    pub(super) fn may_have(&self, key: &[u8]) -> bool {
        let (word, bit) = place(key);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }
}

/// Where a key has its bit: PostHog's keys differ in length, in their second letter or in their end.
fn place(key: &[u8]) -> (usize, u64) {
    let at = |index: usize| key.get(index).copied().unwrap_or(0);
    let last = key.len().wrapping_sub(1);
    let mixed = (key.len() as u32)
        .wrapping_mul(31)
        .wrapping_add(u32::from(at(1)) * 7)
        .wrapping_add(u32::from(at(3)) * 3)
        .wrapping_add(u32::from(at(last)) * 17)
        .wrapping_add(u32::from(at(last.wrapping_sub(2))) * 5);
    let bit = mixed & 0xff;
    ((bit >> 6) as usize, 1 << (bit & 63))
}

/// The context's values that have a property of their own (mapping 1.3, point 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Ip,
    CurrentUrl,
    Pathname,
    Os,
    Referrer,
    ScreenWidth,
    ScreenHeight,
    DeviceType,
}

/// Which of them have been written, and which have given way because they say nothing.
#[derive(Debug, Default)]
pub(super) struct Mapped {
    written: u8,
    given_way: u8,
}

impl Mapped {
    pub(super) fn note(&mut self, target: Target) {
        self.written |= 1 << target as u8;
    }

    pub(super) fn has(&self, target: Target) -> bool {
        self.written & 1 << target as u8 != 0
    }

    pub(super) fn give_way(&mut self, target: Target) {
        self.given_way |= 1 << target as u8;
    }

    /// Whether a value has given way, and nothing has taken its place.
    pub(super) fn is_left(&self, target: Target) -> bool {
        self.given_way & !self.written & 1 << target as u8 != 0
    }

    /// Whether there is any such value.
    pub(super) fn has_left(&self) -> bool {
        self.given_way & !self.written != 0
    }
}

impl Target {
    pub(super) fn property(self) -> &'static str {
        match self {
            Self::Ip => "$ip",
            Self::CurrentUrl => "$current_url",
            Self::Pathname => "$pathname",
            Self::Os => "$os",
            Self::Referrer => "$referrer",
            Self::ScreenWidth => "$screen_width",
            Self::ScreenHeight => "$screen_height",
            Self::DeviceType => "$device_type",
        }
    }

    pub(super) fn from_property(property: &str) -> Option<Self> {
        Some(match property {
            "$ip" => Self::Ip,
            "$current_url" => Self::CurrentUrl,
            "$pathname" => Self::Pathname,
            "$os" => Self::Os,
            "$referrer" => Self::Referrer,
            "$screen_width" => Self::ScreenWidth,
            "$screen_height" => Self::ScreenHeight,
            "$device_type" => Self::DeviceType,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_that_was_noted_is_denied() {
        let mut presence = Presence::default();
        let keys = [
            "",
            "a",
            "$os",
            "$browser",
            "utm_source",
            "segment_library_name",
            "é",
        ];
        for key in keys {
            presence.note(key.as_bytes());
        }
        for key in keys {
            assert!(presence.may_have(key.as_bytes()), "{key}");
        }
        assert!(!Presence::default().may_have(b"$os"));
    }
}
