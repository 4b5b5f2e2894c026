//! Parses and formats sizes and durations in the form that people write.

use std::time::Duration;

/// Parses a size such as `900kB`, `10MiB`, `1GiB`, `512B` or a plain number of bytes. Returns bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "kiB" | "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Parses a duration such as `500ms`, `3s`, `2m`, `1h`, `7d` or `0`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let milliseconds = match unit {
        // Zero needs no unit.
        "" if number == 0 => 1,
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

/// Formats a size in the first listed unit that gives a whole number.
pub(super) fn print_size(bytes: u64) -> String {
    for (factor, unit) in [
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1_000_000_000, "GB"),
        (1_000_000, "MB"),
        (1 << 10, "KiB"),
        (1_000, "kB"),
    ] {
        if bytes > 0 && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    format!("{bytes}B")
}

/// Formats a duration in the largest unit that gives a whole number.
pub(super) fn print_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    for (factor, unit) in [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ] {
        if milliseconds > 0 && milliseconds.is_multiple_of(factor) {
            return format!("{}{unit}", milliseconds / factor);
        }
    }
    format!("{milliseconds}ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_printed() {
        for (text, bytes) in [
            ("10MiB", Some(10 << 20)),
            ("900kB", Some(900_000)),
            ("1 GiB", Some(1 << 30)),
            ("4096", Some(4096)),
            ("7B", Some(7)),
            ("1.5MiB", None),
            ("10M", None),
            ("MiB", None),
            ("-1", None),
            ("", None),
            ("99999999999GiB", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
        for text in ["10MiB", "900kB", "1GiB", "7B", "2MB"] {
            assert_eq!(size(text).map(print_size).as_deref(), Some(text));
        }
    }

    #[test]
    fn durations_are_read_and_printed() {
        for (text, milliseconds) in [
            ("500ms", Some(500)),
            ("3s", Some(3_000)),
            ("2m", Some(120_000)),
            ("1h", Some(3_600_000)),
            ("7d", Some(604_800_000)),
            ("0", Some(0)),
            ("3", None),
            ("3 sec", None),
            ("s", None),
            ("1.5s", None),
            ("300000000000d", None),
        ] {
            let expected = milliseconds.map(Duration::from_millis);
            assert_eq!(duration(text), expected, "{text}");
        }
        for text in ["500ms", "3s", "2m", "1h", "7d"] {
            assert_eq!(duration(text).map(print_duration).as_deref(), Some(text));
        }
    }
}
