//! Reads the trace id of a request (W3C Trace Context).

/// Returns the id of the trace in a `traceparent` (<https://www.w3.org/TR/trace-context/>). Returns
/// `None` if the value has another form, because it could then be any text that the client chose.
pub fn trace_id(parent: &[u8]) -> Option<&str> {
    let value = std::str::from_utf8(parent).ok()?;
    let mut parts = value.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let (parent, flags) = (parts.next()?, parts.next()?);
    let is_hex = |text: &str, length: usize| {
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        text.len() == length && text.bytes().all(hex)
    };
    let is_zero = |text: &str| text.bytes().all(|byte| byte == b'0');
    let is_whole = is_hex(version, 2)
        && is_hex(trace, 32)
        && is_hex(parent, 16)
        && is_hex(flags, 2)
        && version != "ff"
        && !is_zero(trace)
        && !is_zero(parent);
    // Version 00 has exactly four parts; a later version may have more.
    let ends = version != "00" || parts.next().is_none();
    (is_whole && ends).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_trace_is_logged() {
        const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        let whole = format!("00-{ID}-00f067aa0ba902b7-01");
        let later = format!("01-{ID}-00f067aa0ba902b7-01-more");
        for (value, expected) in [
            (whole.as_str(), Some(ID)),
            (later.as_str(), Some(ID)),
            (&format!("00-{ID}-00f067aa0ba902b7-01-more"), None),
            (&format!("ff-{ID}-00f067aa0ba902b7-01"), None),
            (&format!("00-{ID}-0000000000000000-01"), None),
            (&format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), None),
            (&whole.to_uppercase(), None),
            (&format!("00-{ID}-00f067aa0ba902b7"), None),
            ("phc_secret", None),
            ("", None),
        ] {
            assert_eq!(trace_id(value.as_bytes()), expected, "{value}");
        }
        assert_eq!(trace_id(b"\xff"), None);
    }
}
