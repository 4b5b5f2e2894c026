//! The detour for text that is JSON only in spirit: writes a clean copy of it.
//!
//! What it does is what JavaScript, from which this traffic comes, or PostHog's advice would do:
//! half a character and bad UTF-8 become U+FFFD, `NaN`, `Infinity` and numbers beyond a double
//! become null, of a key given twice the last value stays, control characters are escaped, and
//! keys are spelled without needless escapes.

use std::collections::HashMap;
use std::ops::Range;

use super::scan::{fits_a_double, hex4};
use super::text::write_escaped;
use super::value::Malformed;
use crate::posthog::NESTING_LIMIT;

/// Writes a clean copy of the value in `text` (valid UTF-8) to `out`.
pub(in crate::rewrite) fn repair(text: &str, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut repair = Repair {
        text,
        at: 0,
        out,
        frames: Vec::new(),
    };
    repair.run()
}

struct Repair<'t, 'o> {
    text: &'t str,
    at: usize,
    out: &'o mut Vec<u8>,
    frames: Vec<Frame>,
}

enum Frame {
    Array,
    Object {
        /// Where its text begins in the output.
        start: usize,
        /// Where in `standing` each key has its place.
        keys: HashMap<String, usize>,
        /// Where each entry stands in the output.
        entries: Vec<Range<usize>>,
        /// For each key, in the order of their first entries, the last of its entries.
        standing: Vec<usize>,
    },
}

enum Step {
    Element,
    After,
}

impl Repair<'_, '_> {
    fn run(&mut self) -> Result<(), Malformed> {
        let mut step = Step::Element;
        loop {
            match step {
                Step::Element => {
                    let byte = self.peek().ok_or(Malformed::Syntax)?;
                    match byte {
                        b'{' => {
                            self.open(Frame::Object {
                                start: self.out.len(),
                                keys: HashMap::new(),
                                entries: Vec::new(),
                                standing: Vec::new(),
                            })?;
                            self.out.push(b'{');
                            if self.peek() != Some(b'}') {
                                self.key()?;
                                continue;
                            }
                        }
                        b'[' => {
                            self.open(Frame::Array)?;
                            self.out.push(b'[');
                            if self.peek() != Some(b']') {
                                continue;
                            }
                        }
                        _ => self.scalar(byte)?,
                    }
                    step = Step::After;
                }
                Step::After => {
                    let Some(frame) = self.frames.last() else {
                        return match self.peek() {
                            None => Ok(()),
                            Some(_) => Err(Malformed::Syntax),
                        };
                    };
                    let object = matches!(frame, Frame::Object { .. });
                    match (self.peek(), object) {
                        (Some(b','), true) => {
                            self.at += 1;
                            self.end_entry();
                            self.out.push(b',');
                            self.key()?;
                            step = Step::Element;
                        }
                        (Some(b','), false) => {
                            self.at += 1;
                            self.out.push(b',');
                            step = Step::Element;
                        }
                        (Some(b'}'), true) => {
                            self.at += 1;
                            self.end_entry();
                            self.close_object();
                        }
                        (Some(b']'), false) => {
                            self.at += 1;
                            self.frames.pop();
                            self.out.push(b']');
                        }
                        _ => return Err(Malformed::Syntax),
                    }
                }
            }
        }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.byte(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    fn open(&mut self, frame: Frame) -> Result<(), Malformed> {
        if self.frames.len() >= NESTING_LIMIT {
            return Err(Malformed::TooDeep);
        }
        self.at += 1;
        self.frames.push(frame);
        Ok(())
    }

    fn key(&mut self) -> Result<(), Malformed> {
        if self.peek() != Some(b'"') {
            return Err(Malformed::Syntax);
        }
        let start = self.out.len();
        let key = self.string()?;
        if self.peek() != Some(b':') {
            return Err(Malformed::Syntax);
        }
        self.at += 1;
        self.out.push(b'"');
        write_escaped(self.out, &key);
        self.out.extend_from_slice(b"\":");
        if let Some(Frame::Object {
            keys,
            entries,
            standing,
            ..
        }) = self.frames.last_mut()
        {
            let place = *keys.entry(key).or_insert(standing.len());
            match standing.get_mut(place) {
                Some(last) => *last = entries.len(),
                None => standing.push(entries.len()),
            }
            entries.push(start..start);
        }
        Ok(())
    }

    fn end_entry(&mut self) {
        let end = self.out.len();
        if let Some(Frame::Object { entries, .. }) = self.frames.last_mut() {
            if let Some(entry) = entries.last_mut() {
                entry.end = end;
            }
        }
    }

    /// Ends an object; entries that a later one overrides are taken out, and the later one stands
    /// in their place, as in JavaScript. At most once per level of nesting, which is bounded, so
    /// that the work stays linear in the text.
    fn close_object(&mut self) {
        let Some(Frame::Object {
            start,
            entries,
            standing,
            ..
        }) = self.frames.pop()
        else {
            return;
        };
        if standing.len() < entries.len() {
            let mut kept = Vec::with_capacity(self.out.len() - start);
            kept.push(b'{');
            for entry in standing.iter().filter_map(|place| entries.get(*place)) {
                if kept.len() > 1 {
                    kept.push(b',');
                }
                kept.extend_from_slice(self.out.get(entry.clone()).unwrap_or_default());
            }
            self.out.truncate(start);
            self.out.append(&mut kept);
        }
        self.out.push(b'}');
    }

    fn scalar(&mut self, first: u8) -> Result<(), Malformed> {
        if first == b'"' {
            let text = self.string()?;
            self.out.push(b'"');
            write_escaped(self.out, &text);
            self.out.push(b'"');
            return Ok(());
        }
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let words: [(&[u8], &[u8]); 6] = [
            (b"true", b"true"),
            (b"false", b"false"),
            (b"null", b"null"),
            (b"NaN", b"null"),
            (b"Infinity", b"null"),
            (b"-Infinity", b"null"),
        ];
        for (word, written) in words {
            if rest.starts_with(word) {
                self.at += word.len();
                self.out.extend_from_slice(written);
                return Ok(());
            }
        }
        let length = rest
            .iter()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
            .unwrap_or(rest.len());
        let number = rest.get(..length).unwrap_or_default();
        self.at += length;
        // The scanner has the last word on what a number is: it reads this copy again.
        if number.is_empty() {
            return Err(Malformed::Syntax);
        }
        if number.iter().any(u8::is_ascii_digit) && !fits_a_double(number) {
            self.out.extend_from_slice(b"null");
        } else {
            self.out.extend_from_slice(number);
        }
        Ok(())
    }

    fn string(&mut self) -> Result<String, Malformed> {
        self.at += 1;
        let mut said = String::new();
        loop {
            let rest = self.text.get(self.at..).ok_or(Malformed::Syntax)?;
            let stop = rest.find(['"', '\\']).ok_or(Malformed::Syntax)?;
            said.push_str(rest.get(..stop).unwrap_or_default());
            self.at += stop + 1;
            if rest.as_bytes().get(stop) == Some(&b'"') {
                return Ok(said);
            }
            said.push(self.escape()?);
        }
    }

    /// The character of an escape; `at` stands behind the backslash.
    fn escape(&mut self) -> Result<char, Malformed> {
        let byte = self.byte(self.at).ok_or(Malformed::Syntax)?;
        self.at += 1;
        Ok(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let text = self.text.as_bytes();
                let unit = hex4(text, self.at).ok_or(Malformed::Syntax)?;
                self.at += 4;
                let pair = text.get(self.at..self.at + 2) == Some(b"\\u");
                match (unit, hex4(text, self.at + 2)) {
                    (0xd800..=0xdbff, Some(low @ 0xdc00..=0xdfff)) if pair => {
                        self.at += 6;
                        char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
                    }
                    (unit, _) => char::from_u32(unit),
                }
                .unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return Err(Malformed::Syntax),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repaired(text: &str) -> Result<String, Malformed> {
        let mut out = Vec::new();
        repair(text, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn each_defect_is_mended_and_the_rest_stays() {
        for (text, expected) in [
            (
                r#"{"a":NaN,"b":-Infinity,"c":[Infinity,1]}"#,
                r#"{"a":null,"b":null,"c":[null,1]}"#,
            ),
            (r#""x\ud83d""#, "\"x\u{fffd}\""),
            (
                r#"["\udc00a","\ud83d\u0041","\ud83d\ude00"]"#,
                "[\"\u{fffd}a\",\"\u{fffd}A\",\"😀\"]",
            ),
            (
                r#"{"a":1,"b":{"x":1,"y":2,"x":3},"a":{"a":2}}"#,
                r#"{"a":{"a":2},"b":{"x":3,"y":2}}"#,
            ),
            (r#"{"a":1,"\u0061":2}"#, r#"{"a":2}"#),
            (r#"{"a":1,"a":2,"a":3}"#, r#"{"a":3}"#),
            (
                r#"[1e400,-1e400,1e5,12345678901234567890123]"#,
                "[null,null,1e5,12345678901234567890123]",
            ),
            ("\"a\u{1}\nb\"", r#""a\u0001\u000ab""#),
            (" { \"k\" : [ ] , \"l\" : { } } ", r#"{"k":[],"l":{}}"#),
        ] {
            assert_eq!(repaired(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_mended_is_refused() {
        for text in [
            "{",
            "[1",
            "{\"a\":}",
            "\"\\x\"",
            "nul",
            "[1}",
            "{\"a\":1]",
            "1 2",
            "\"\\u12\"",
        ] {
            assert_eq!(repaired(text), Err(Malformed::Syntax), "{text}");
        }
        assert_eq!(repaired(&"[".repeat(200)), Err(Malformed::TooDeep));
    }

    #[test]
    fn an_object_with_very_many_keys_takes_linear_time() {
        let entries: Vec<String> = (0..50_000)
            .map(|n| format!("\"k{}\":{n}", n % 25_000))
            .collect();
        let out = repaired(&format!("{{{}}}", entries.join(","))).unwrap();
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(value.as_object().unwrap().len(), 25_000);
        assert_eq!(value["k0"], 25_000);
    }
}
