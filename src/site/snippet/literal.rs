//! JavaScript literals.

/// Returns a text as a JavaScript string literal. The literal is ASCII, so the page's charset does not
/// matter, and is valid inside a script tag: `</script>` and `<!--` cannot appear in it.
pub(super) fn literal(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    let mut ascii = String::with_capacity(quoted.len());
    for character in quoted.chars() {
        if character == '<' || !character.is_ascii() {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            ascii.push(character);
        }
    }
    ascii
}
