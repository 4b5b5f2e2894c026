//! JSON text with line breaks and indentation, every other byte as it was.
//!
//! It works on the text, not on values: numbers keep their digits, duplicate keys stay, and text
//! that is no JSON comes out readable too.

/// Beyond this depth lines are not indented further: the output must stay near the input's size.
const DEEPEST: usize = 24;

/// Breaks JSON text into lines, two blanks a level.
pub(super) fn indent(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0usize;
    let mut rest = text.chars().peekable();
    while let Some(letter) = rest.next() {
        match letter {
            '"' => {
                out.push(letter);
                let mut escaped = false;
                for letter in rest.by_ref() {
                    out.push(letter);
                    match letter {
                        _ if escaped => escaped = false,
                        '\\' => escaped = true,
                        '"' => break,
                        _ => {}
                    }
                }
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
            ':' => out.push_str(": "),
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
    }
    out
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
    fn text_that_is_no_json_comes_out_whole() {
        for text in ["", "hello world", "}]}", "{\"a", "\"\\"] {
            let out = indent(text);
            let bare = |text: &str| text.replace(['\n', ' '], "");
            assert_eq!(bare(&out), bare(text), "{text:?}");
        }
    }
}
