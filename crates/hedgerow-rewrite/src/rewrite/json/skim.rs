//! Finds the end of a value without parsing it, and remembers its position: a body that arrives byte by
//! byte is read only once.

use super::block::plain_run;

/// How far the skim has followed the value that begins at the start of a buffer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::rewrite) struct Skim {
    at: usize,
    depth: u32,
    mode: SkimState,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum SkimState {
    /// Before the first byte of the value.
    #[default]
    Before,
    /// In a number or a word at the outermost level.
    Bare,
    /// In an array or object, outside strings.
    Inside,
    /// In a string.
    Text,
    /// In a string, after a backslash.
    Escape,
}

/// The result of following a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rewrite) enum Skimmed {
    /// The value ends before this offset.
    End(usize),
    /// The value continues after the available bytes.
    More,
    /// No value can begin or continue like this.
    Malformed,
}

impl Skim {
    /// Returns a skim that begins inside an array or object, at nesting depth 1.
    pub(in crate::rewrite) fn inside_of_one() -> Self {
        Self {
            at: 0,
            depth: 1,
            mode: SkimState::Inside,
        }
    }

    /// Continues to follow the value, through the bytes of `text` that have arrived since the last call.
    /// `ended` states whether more bytes can arrive; if not, a bare number ends with `text`.
    pub(in crate::rewrite) fn follow(&mut self, text: &[u8], ended: Ended) -> Skimmed {
        // Works on a copy, which stays in registers: every byte of a batch passes through here.
        let mut skim = *self;
        let end = skim.run(text);
        *self = skim;
        match (end, ended, self.mode) {
            (Some(end), _, _) => end,
            (None, Ended::Yes, SkimState::Bare) => Skimmed::End(text.len()),
            (None, Ended::Yes, _) => Skimmed::Malformed,
            (None, Ended::No, _) => Skimmed::More,
        }
    }

    /// Runs to the end of the value, or of the available bytes (`None`).
    #[inline]
    fn run(&mut self, text: &[u8]) -> Option<Skimmed> {
        loop {
            match self.mode {
                SkimState::Inside => {
                    let rest = text.get(self.at..)?;
                    let structural = |byte: &u8| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']');
                    let Some(run) = rest.iter().position(structural) else {
                        self.at = text.len();
                        return None;
                    };
                    self.at += run;
                    match text.get(self.at)? {
                        b'"' => self.step(SkimState::Text),
                        b'{' | b'[' => {
                            self.depth = self.depth.saturating_add(1);
                            self.at += 1;
                        }
                        _ => {
                            self.depth -= 1;
                            self.at += 1;
                            if self.depth == 0 {
                                return Some(Skimmed::End(self.at));
                            }
                        }
                    }
                }
                SkimState::Text => {
                    self.at += plain_run(text.get(self.at..)?);
                    match text.get(self.at)? {
                        b'\\' => self.step(SkimState::Escape),
                        b'"' if self.depth == 0 => {
                            self.at += 1;
                            return Some(Skimmed::End(self.at));
                        }
                        b'"' => self.step(SkimState::Inside),
                        // A control character: the scanner checks it later.
                        _ => self.at += 1,
                    }
                }
                SkimState::Escape => {
                    text.get(self.at)?;
                    self.step(SkimState::Text);
                }
                SkimState::Before => match text.get(self.at)? {
                    b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                    b'"' => self.step(SkimState::Text),
                    b'{' | b'[' => {
                        self.depth = 1;
                        self.step(SkimState::Inside);
                    }
                    b',' | b':' | b'}' | b']' => return Some(Skimmed::Malformed),
                    _ => self.step(SkimState::Bare),
                },
                SkimState::Bare => match text.get(self.at)? {
                    b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r' => {
                        return Some(Skimmed::End(self.at));
                    }
                    _ => self.at += 1,
                },
            }
        }
    }

    /// Moves the position back after `bytes` bytes were removed from the start of the buffer.
    pub(in crate::rewrite) fn forget(&mut self, bytes: usize) {
        self.at = self.at.saturating_sub(bytes);
    }

    fn step(&mut self, mode: SkimState) {
        self.mode = mode;
        self.at += 1;
    }
}

/// Whether more bytes can arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rewrite) enum Ended {
    /// All bytes have arrived.
    Yes,
    /// More bytes may arrive.
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_whatever_the_pieces() {
        for (text, end) in [
            ("{\"a\":[1,{\"b\":\"}]\\\"\"}]} ,", 22),
            (" [1,2] ", 6),
            ("\"a\\\\\",", 5),
            ("12,3", 2),
            ("true}", 4),
        ] {
            for cut in 0..text.len() {
                let mut skim = Skim::default();
                let first = skim.follow(&text.as_bytes()[..cut], Ended::No);
                let got = match first {
                    Skimmed::More => skim.follow(text.as_bytes(), Ended::Yes),
                    other => other,
                };
                assert_eq!(got, Skimmed::End(end), "{text} cut at {cut}");
            }
        }
    }

    #[test]
    fn an_impossible_value_is_reported() {
        for text in ["", "  ", "}", ",1", "{\"a\":1", "\"abc"] {
            assert_eq!(
                Skim::default().follow(text.as_bytes(), Ended::Yes),
                Skimmed::Malformed,
                "{text:?}"
            );
        }
        assert_eq!(Skim::default().follow(b"12", Ended::Yes), Skimmed::End(2));
        assert_eq!(Skim::default().follow(b"12", Ended::No), Skimmed::More);
    }
}
