//! Reads how long a server asks to wait.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the number of seconds from `now` that a `Retry-After` asks for. Its value is a number of seconds
/// or a date (RFC 9110, 10.2.3). Returns 0 for a date that has passed, and `None` for any other value.
pub(crate) fn seconds(value: &[u8], now: SystemTime) -> Option<u32> {
    let text = std::str::from_utf8(value.trim_ascii()).ok()?;
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let seconds = |time: SystemTime| {
        time.duration_since(UNIX_EPOCH)
            .ok()
            .map(|time| time.as_secs())
    };
    let ahead = seconds(date)?.saturating_sub(seconds(now)?);
    Some(u32::try_from(ahead).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_is_a_number_of_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_717);
        for (value, expected) in [
            ("60", Some(60)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(60)),
            ("Sun Nov  6 08:49:37 1994", Some(60)),
            ("Sun, 06 Nov 1994 08:47:37 GMT", Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(u32::MAX)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(seconds(value.as_bytes(), now), expected, "{value:?}");
        }
        assert_eq!(seconds(b"\xff", now), None);
    }
}
