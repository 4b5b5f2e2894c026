//! JSON text with line breaks and indentation, every other byte as it was, but for keys.
//!
//! It works on the text, not on values: numbers keep their digits, duplicate keys stay, and text
//! that is no JSON comes out readable too.

use crate::masked;

/// Beyond this depth lines are not indented further: the output must stay near the input's size.
const DEEPEST: usize = 24;

/// Breaks JSON text into lines, two blanks a level.
pub(super) fn indent(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0usize;
    let mut rest = text.chars().peekable();
    // Whether what comes is the value of `writeKey`.
    let mut is_key = false;
    while let Some(letter) = rest.next() {
        match letter {
            '"' => {
                out.push(letter);
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
                out.push(letter);
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
                out.push(letter);
            }
            ',' => {
                out.push(letter);
                line(&mut out, depth);
            }
            ':' => {
                out.push_str(": ");
                continue;
            }
            // Whitespace around punctuation is ours to choose; elsewhere it keeps words apart.
            _ if letter.is_ascii_whitespace() => {
                let ends_word = !out.is_empty() && !out.ends_with([' ', '\n', '{', '[', ',']);
                while rest.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                let begins_word = rest.peek().is_some_and(|next| !",:{}[]".contains(*next));
                if ends_word && begins_word {
                    out.push(' ');
                }
            }
            _ => out.push(letter),
        }
        is_key &= letter.is_ascii_whitespace();
    }
    out
}

/// The content of a string up to its end, and whether it has an end.
fn string(rest: &mut impl Iterator<Item = char>) -> (String, bool) {
    let mut string = String::new();
    let mut escaped = false;
    for letter in rest {
        match letter {
            '"' if !escaped => return (string, true),
            _ => string.push(letter),
        }
        escaped = letter == '\\' && !escaped;
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
        // Doing it twice changes nothing.
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
