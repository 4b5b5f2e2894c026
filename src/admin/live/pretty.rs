//! Adds line breaks and indentation to JSON text. It masks write keys and PostHog's keys, and changes
//! nothing else except white space.
//!
//! It works on the text, not on values: numbers keep their digits, duplicate object keys are kept, and
//! text that is not JSON is still readable.

use crate::masked;

/// The maximum depth of the indentation. The limit keeps the output near the size of the input.
const DEEPEST: usize = 24;

/// Breaks JSON text into lines, indented by two spaces for each level.
pub(super) fn indent(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0usize;
    let mut rest = text.chars().peekable();
    // Whether the next string is the value of `writeKey`.
    let mut is_key = false;
    while let Some(character) = rest.next() {
        match character {
            '"' => {
                out.push(character);
                let (string, closed) = string(&mut rest);
                match is_key {
                    true => out.push_str(&masked::end(&string)),
                    false => out.push_str(&masked::text(&string)),
                }
                if closed {
                    out.push('"');
                }
                is_key = !is_key && string == masked::WRITE_KEY;
                continue;
            }
            '{' | '[' => {
                out.push(character);
                while rest.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                match rest.next_if(|next| matches!(next, '}' | ']')) {
                    Some(close) => out.push(close),
                    None => {
                        depth += 1;
                        line(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(character);
            }
            ',' => {
                out.push(character);
                line(&mut out, depth);
            }
            ':' => {
                out.push_str(": ");
                continue;
            }
            // White space next to punctuation is dropped; between words one space is kept.
            _ if character.is_ascii_whitespace() => {
                let ends_word = !out.is_empty() && !out.ends_with([' ', '\n', '{', '[', ',']);
                while rest.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                let begins_word = rest.peek().is_some_and(|next| !",:{}[]".contains(*next));
                if ends_word && begins_word {
                    out.push(' ');
                }
            }
            _ => out.push(character),
        }
        is_key &= character.is_ascii_whitespace();
    }
    out
}

/// Reads a string up to its closing quote. Returns its content, and whether it has a closing quote.
fn string(rest: &mut impl Iterator<Item = char>) -> (String, bool) {
    let mut string = String::new();
    let mut escaped = false;
    for character in rest {
        match character {
            '"' if !escaped => return (string, true),
            _ => string.push(character),
        }
        escaped = character == '\\' && !escaped;
    }
    (string, false)
}

fn line(out: &mut String, depth: usize) {
    out.push('\n');
    for _ in 0..depth.min(DEEPEST) {
        out.push_str("  ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_space_between_tokens_changes() {
        let text = r#"{ "a" : [1.50, "x, {y}: \"z\""],"b":{ },"c":[], "d":12345678901234567890 }"#;
        let indented = indent(text);
        assert_eq!(
            indented,
            r#"{
  "a": [
    1.50,
    "x, {y}: \"z\""
  ],
  "b": {},
  "c": [],
  "d": 12345678901234567890
}"#
        );
        // A second call changes nothing.
        assert_eq!(indent(&indented), indented);
    }

    #[test]
    fn of_a_write_key_only_the_end_is_shown() {
        let text =
            r#"{"writeKey" : "wk_0123456789","a":"writeKey","b":"c","p":{"writeKey":7,"d":"e"}}"#;
        let indented = indent(text);
        assert!(indented.contains(r#""writeKey": "…6789""#), "{indented}");
        for kept in [
            r#""a": "writeKey""#,
            r#""b": "c""#,
            r#""writeKey": 7"#,
            r#""d": "e""#,
        ] {
            assert!(indented.contains(kept), "{kept} in {indented}");
        }
    }

    #[test]
    fn text_that_is_not_json_is_unchanged() {
        for text in ["", "hello world", "}]}", "{\"a", "\"\\"] {
            let out = indent(text);
            let bare = |text: &str| text.replace(['\n', ' '], "");
            assert_eq!(bare(&out), bare(text), "{text:?}");
        }
    }
}
