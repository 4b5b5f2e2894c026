//! Splits an input into its JSON texts: objects on one line or several, and the items of arrays.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

/// The text of one message or batch. It may be broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InputText {
    /// The line where it begins, counted from 1.
    pub line: u64,
    pub bytes: Vec<u8>,
    pub place: ArrayPosition,
}

/// The position of a text in an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ArrayPosition {
    /// It is not in an array.
    Alone,
    /// The first item of an array.
    First,
    /// A later item of an array.
    Next,
    /// An array that has not ended and whose items so far have all been returned.
    Unclosed,
}

/// Returns the input, decompressed if it is gzip.
pub(super) fn unpacked<'r>(input: impl BufRead + 'r) -> io::Result<Box<dyn BufRead + 'r>> {
    let mut input = input;
    let mut start = Vec::new();
    // A pipe may give one byte at a time.
    input.by_ref().take(2).read_to_end(&mut start)?;
    let packed = start == [0x1f, 0x8b];
    let whole = io::Cursor::new(start).chain(input);
    Ok(match packed {
        true => Box::new(BufReader::new(MultiGzDecoder::new(whole))),
        false => Box::new(whole),
    })
}

/// Cuts an input into texts. A broken text ends with its line if possible, so that the texts after
/// it are found.
pub(super) struct InputTexts<R> {
    input: R,
    /// The lines that have been read but not fully returned.
    lines: VecDeque<Vec<u8>>,
    /// The position of the next byte in the first of these lines.
    at: usize,
    /// The number of the first of these lines, counted from 1.
    number: u64,
    /// The numbers of the lines where the open arrays begin.
    arrays: Vec<u64>,
    items: bool,
}

/// The end of a value. Lines are counted from the current one, which is 0.
enum ValueEnd {
    /// The value ends before the byte (second number) of the line (first number).
    To(usize, usize),
    /// The value is broken; the next text may begin with this line.
    Broken(usize),
}

impl<R: BufRead> InputTexts<R> {
    pub fn new(input: R) -> Self {
        Self {
            input,
            lines: VecDeque::new(),
            at: 0,
            number: 1,
            arrays: Vec::new(),
            items: false,
        }
    }

    /// Returns the next text, or `None` at the end of the input.
    pub fn next(&mut self) -> io::Result<Option<InputText>> {
        loop {
            let Some(byte) = self.first()? else {
                let open = self.arrays.pop();
                self.arrays.clear();
                return Ok(open.map(|line| InputText {
                    line,
                    bytes: Vec::new(),
                    place: ArrayPosition::Unclosed,
                }));
            };
            match byte {
                b'[' => {
                    if self.arrays.is_empty() {
                        self.items = false;
                    }
                    self.arrays.push(self.number);
                    self.at += 1;
                }
                b']' if !self.arrays.is_empty() => {
                    self.arrays.pop();
                    self.at += 1;
                }
                b',' if !self.arrays.is_empty() => self.at += 1,
                b'{' => {
                    let value_end = self.value_end()?;
                    return Ok(Some(self.take(value_end)));
                }
                _ => {
                    let to = self.rest_of_scalar();
                    return Ok(Some(self.take(ValueEnd::To(0, to))));
                }
            }
        }
    }

    /// Skips white space and a byte order mark, and returns the next byte without using it up.
    fn first(&mut self) -> io::Result<Option<u8>> {
        const MARK: &[u8] = b"\xef\xbb\xbf";
        loop {
            let (at, start) = (self.at, self.number == 1 && self.at == 0);
            let Some(line) = self.line(0)? else {
                return Ok(None);
            };
            let rest = line.get(at..).unwrap_or_default();
            let marked = start && rest.starts_with(MARK);
            let skipped = if marked { MARK.len() } else { 0 };
            let found = rest
                .iter()
                .skip(skipped)
                .position(|byte| !byte.is_ascii_whitespace());
            if let Some(found) = found {
                let byte = rest.get(skipped + found).copied();
                self.at += skipped + found;
                return Ok(byte);
            }
            self.lines.pop_front();
            self.number += 1;
            self.at = 0;
        }
    }

    /// Returns the line that is `ahead` lines after the current one, and reads it if needed.
    fn line(&mut self, ahead: usize) -> io::Result<Option<&[u8]>> {
        while self.lines.len() <= ahead {
            let mut line = Vec::new();
            if self.input.read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            self.lines.push_back(line);
        }
        Ok(self.lines.get(ahead).map(Vec::as_slice))
    }

    /// Finds the end of the object that begins at the current position.
    fn value_end(&mut self) -> io::Result<ValueEnd> {
        let mut open: Vec<u8> = Vec::new();
        let mut before = b' ';
        let mut from = self.at;
        for ahead in 0.. {
            let Some(line) = self.line(ahead)? else {
                // A line with nothing but `{` begins an object that is spread over lines. Any other
                // line may have been cut short.
                let spread = self.line(0)?.is_some_and(|line| line.trim_ascii() == b"{");
                return Ok(ValueEnd::Broken(if spread { ahead } else { 1 }));
            };
            let mut text = false;
            let mut escaped = false;
            let mut fresh = ahead > 0;
            for (index, byte) in line.iter().copied().enumerate().skip(from) {
                if text {
                    match byte {
                        _ if escaped => escaped = false,
                        b'\\' => escaped = true,
                        b'"' => text = false,
                        _ => {}
                    }
                    continue;
                }
                if byte.is_ascii_whitespace() {
                    continue;
                }
                let value = matches!(byte, b'{' | b'[');
                let fits =
                    before == b':' || (open.last() == Some(&b'[') && matches!(before, b'[' | b','));
                if fresh && value && !fits {
                    return Ok(ValueEnd::Broken(ahead));
                }
                fresh = false;
                match byte {
                    b'"' => text = true,
                    b'{' | b'[' => open.push(byte),
                    b'}' | b']' => {
                        open.pop();
                        if open.is_empty() {
                            return Ok(ValueEnd::To(ahead, index + 1));
                        }
                    }
                    _ => {}
                }
                before = byte;
            }
            // A JSON string cannot continue in the next line.
            if text {
                return Ok(ValueEnd::Broken(ahead + 1));
            }
            from = 0;
        }
        Ok(ValueEnd::Broken(1))
    }

    /// Returns the end of a value that is not an object: the end of the line or, in an array, the
    /// position of the next comma or closing bracket.
    fn rest_of_scalar(&self) -> usize {
        let line = self.lines.front().map(Vec::as_slice).unwrap_or_default();
        if self.arrays.is_empty() {
            return line.len();
        }
        let mut text = false;
        let mut escaped = false;
        for (index, byte) in line.iter().copied().enumerate().skip(self.at) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if text => escaped = true,
                b'"' => text = !text,
                // A `}` closes nothing here: it stays part of the broken text.
                b',' | b']' if !text && index > self.at => return index,
                _ => {}
            }
        }
        line.len()
    }

    fn take(&mut self, value_end: ValueEnd) -> InputText {
        let number = self.number;
        let (whole, part) = match value_end {
            ValueEnd::To(whole, part) => (whole, part),
            ValueEnd::Broken(lines) => (lines.max(1), 0),
        };
        let mut bytes = Vec::new();
        for _ in 0..whole {
            let line = self.lines.pop_front().unwrap_or_default();
            bytes.extend_from_slice(line.get(self.at..).unwrap_or_default());
            self.at = 0;
            self.number += 1;
        }
        if part > 0 {
            let line = self.lines.front().map(Vec::as_slice).unwrap_or_default();
            bytes.extend_from_slice(line.get(self.at..part).unwrap_or_default());
            self.at = part;
        }
        let place = match (self.arrays.is_empty(), self.items) {
            (true, _) => ArrayPosition::Alone,
            (false, false) => ArrayPosition::First,
            (false, true) => ArrayPosition::Next,
        };
        self.items = !self.arrays.is_empty();
        InputText {
            line: number,
            bytes,
            place,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// Line, text and place.
    type FoundText<'t> = (u64, &'t str, ArrayPosition);

    fn all(input: &[u8]) -> Vec<(u64, String, ArrayPosition)> {
        // Small reads, as from a pipe.
        let mut texts = InputTexts::new(unpacked(BufReader::with_capacity(3, input)).unwrap());
        let mut found = Vec::new();
        while let Some(text) = texts.next().unwrap() {
            let bytes = String::from_utf8(text.bytes).unwrap();
            found.push((text.line, bytes.trim().to_owned(), text.place));
        }
        found
    }

    #[test]
    fn lines_values_over_several_lines_and_items_of_arrays_are_each_a_text() {
        use ArrayPosition::*;
        let rows: Vec<(&str, Vec<FoundText<'_>>)> = vec![
            ("", vec![]),
            ("\n \n", vec![]),
            ("{\"a\":1}", vec![(1, "{\"a\":1}", Alone)]),
            (
                "\u{feff}{\"a\":1}\r\n\r\n{}\r\n",
                vec![(1, "{\"a\":1}", Alone), (3, "{}", Alone)],
            ),
            (
                "{\n  \"a\": [\n    {\n    },\n    {}\n  ]\n}\n{}",
                vec![
                    (1, "{\n  \"a\": [\n    {\n    },\n    {}\n  ]\n}", Alone),
                    (8, "{}", Alone),
                ],
            ),
            (
                "{}{\"b\":\"}\\\"{\"} x",
                vec![
                    (1, "{}", Alone),
                    (1, "{\"b\":\"}\\\"{\"}", Alone),
                    (1, "x", Alone),
                ],
            ),
            (
                "[{\"a\":1},\n {\"b\":[]}\n]\n{}\n[{}]",
                vec![
                    (1, "{\"a\":1}", First),
                    (2, "{\"b\":[]}", Next),
                    (4, "{}", Alone),
                    (5, "{}", First),
                ],
            ),
            ("[[{}],[{}]] []", vec![(1, "{}", First), (1, "{}", Next)]),
            (
                "[1, \"a,]\", {}]",
                vec![(1, "1", First), (1, "\"a,]\"", Next), (1, "{}", Next)],
            ),
            ("[{}", vec![(1, "{}", First), (1, "", Unclosed)]),
        ];
        let mut wrong = Vec::new();
        for (input, expected) in rows {
            let found = all(input.as_bytes());
            let found: Vec<_> = found.iter().map(|(l, t, p)| (*l, t.as_str(), *p)).collect();
            if found != expected {
                wrong.push(format!("{input:?}: {found:?}"));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn broken_text_affects_no_other_line() {
        for broken in [
            "not json",
            "\"text\"",
            "{\"a\":\"b",
            "{\"a\":1",
            "{\"a\":1,",
            "{\"a\":",
            "{\"a\":{\"b\":[1",
            "{\"a\":{\"b\":[1,",
            "}",
            "]",
        ] {
            let found = all(format!("{{\"x\":1}}\n{broken}\n{{\"y\":2}}\n").as_bytes());
            let found: Vec<_> = found.iter().map(|(l, t, _)| (*l, t.as_str())).collect();
            let expected = [(1, "{\"x\":1}"), (2, broken), (3, "{\"y\":2}")];
            assert_eq!(found, expected, "{broken}");
        }
        let found = all(b"{\n \"a\": 1,\n{\n \"b\": 2\n}\n");
        let found: Vec<_> = found.iter().map(|(l, t, _)| (*l, t.as_str())).collect();
        assert_eq!(found, [(1, "{\n \"a\": 1,"), (3, "{\n \"b\": 2\n}")]);
    }

    #[test]
    fn gzip_is_unpacked_also_of_several_parts() {
        let pack = |text: &str| {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), Default::default());
            packed.write_all(text.as_bytes()).unwrap();
            packed.finish().unwrap()
        };
        let both = [pack("{\"a\":1}\n{\"b\""), pack(":2}")].concat();
        let plain = all(b"{\"a\":1}\n{\"b\":2}");
        assert_eq!(all(&both), plain);
        let mut cut = InputTexts::new(unpacked(&both[..both.len() - 4]).unwrap());
        let mut last = cut.next();
        while let Ok(Some(_)) = last {
            last = cut.next();
        }
        assert!(last.is_err());
    }
}
