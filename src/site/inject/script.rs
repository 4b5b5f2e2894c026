//! Finds the end of a script element. After `<!--` a script may contain whole script elements, for
//! example if it writes other scripts into its page (HTML 13.2.5.20 to 13.2.5.31).

/// The state inside a script element, after some of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ScriptState {
    comment: ScriptComment,
    /// The last eight bytes in lower case; `</script` has eight.
    last: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScriptComment {
    Outside,
    /// After `<!--`.
    Within,
    /// After `<!--` and an inner `<script>`, whose end tag does not end the outer element.
    WithinInner,
}

/// The result of reading one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScriptStep {
    Within(ScriptState),
    /// The byte follows the name of the end tag: the element has ended.
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

    /// Returns whether the bytes that were just read end with `text`, which has at most eight bytes.
    fn ends_with(self, text: &[u8]) -> bool {
        let wanted = text.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
        let unused = 64 - 8 * text.len().min(8) as u32;
        self.last << unused >> unused == wanted
    }
}
