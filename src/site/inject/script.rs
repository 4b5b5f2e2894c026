//! Where a script element ends. In `<!--` a script may hold whole script elements, as scripts do that
//! write others into their page (HTML 13.2.5.20 to 13.2.5.31).

/// In a script element, after some of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ScriptState {
    comment: ScriptComment,
    /// The last eight bytes in lower case: as many as `</script` has.
    last: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScriptComment {
    Outside,
    /// After `<!--`.
    Within,
    /// After a `<script>` in it, whose end tag does not end the element.
    WithinInner,
}

/// The result of another byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScriptStep {
    Within(ScriptState),
    /// The byte after the name of the end tag.
    Ended,
}

impl ScriptState {
    pub(super) fn new() -> Self {
        Self {
            comment: ScriptComment::Outside,
            last: 0,
        }
    }

    pub(super) fn step(self, byte: u8) -> ScriptStep {
        let mut comment = self.comment;
        if byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>') {
            let ends = self.ends_with(b"</script");
            match comment {
                ScriptComment::Outside | ScriptComment::Within if ends => return ScriptStep::Ended,
                ScriptComment::Within if self.ends_with(b"<script") => {
                    comment = ScriptComment::WithinInner
                }
                ScriptComment::WithinInner if ends => comment = ScriptComment::Within,
                _ => {}
            }
        }
        let mut next = Self {
            comment,
            last: self.last << 8 | u64::from(byte.to_ascii_lowercase()),
        };
        if next.ends_with(b"-->") {
            next.comment = ScriptComment::Outside;
        } else if comment == ScriptComment::Outside && next.ends_with(b"<!--") {
            next.comment = ScriptComment::Within;
        }
        ScriptStep::Within(next)
    }

    /// At most eight bytes.
    fn ends_with(self, text: &[u8]) -> bool {
        let wanted = text.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
        let unused = 64 - 8 * text.len().min(8) as u32;
        self.last << unused >> unused == wanted
    }
}
