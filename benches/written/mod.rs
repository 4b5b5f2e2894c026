//! Compares counts with those that are written down in a file: a line `name: count` for each.

/// How much a count may grow, in hundredths.
const GROWTH: u64 = 3;

/// The file's line about the compiler, which is not a count.
pub const COMPILER: &str = "compiler";

/// The value of a name in the file.
pub fn value_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().filter_map(|line| line.split_once(": "));
    lines
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value)
}

/// What speaks against these counts, one line each: counts that have grown, and cases that only the
/// file or only the benchmark has.
pub fn mistakes(text: &str, counted: &[(String, u64)]) -> Vec<String> {
    let mut mistakes = Vec::new();
    for (name, count) in counted {
        let Some(before) = value_of(text, name) else {
            mistakes.push(format!("{name}: counted, but not in the file"));
            continue;
        };
        match before.parse::<u64>() {
            Ok(before) if count * 100 > before * (100 + GROWTH) => {
                mistakes.push(format!("{name}: {count}, and was {before}"));
            }
            Ok(_) => {}
            Err(_) => mistakes.push(format!("{name}: the file has no number but {before}")),
        }
    }
    for line in text.lines() {
        let name = line.split_once(": ").map_or(line, |(name, _)| name);
        if name != COMPILER && !counted.iter().any(|(known, _)| known == name) {
            mistakes.push(format!("{name}: in the file, but not counted any more"));
        }
    }
    mistakes
}
