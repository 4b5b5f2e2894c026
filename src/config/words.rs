//! The nearest of the known words, for "did you mean".

/// The known word that `given` was probably meant to be.
pub(super) fn nearest<'w>(
    given: &str,
    known: impl IntoIterator<Item = &'w str>,
) -> Option<&'w str> {
    // Nothing as long as this is a slip of the finger, and the comparison is quadratic.
    if given.len() > 64 {
        return None;
    }
    let given = plain(given);
    known
        .into_iter()
        .filter_map(|word| {
            let target = plain(word);
            let allowed = (target.len().max(given.len()) / 3).max(1);
            let distance = distance(&given, &target);
            // Sharing no character at all is no resemblance, however short the words are.
            (distance <= allowed && distance < target.len().max(1)).then_some((distance, word))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Lower case without separators: `writeKeys` and `write-keys` are `write_keys`.
pub(super) fn plain(word: &str) -> Vec<char> {
    word.chars()
        .filter(|character| character.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// Edits (insert, delete, replace, swap of neighbours) between two words.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    let mut previous_left = None;
    for (row, a) in left.iter().enumerate() {
        let mut current = Vec::with_capacity(right.len() + 1);
        current.push(row + 1);
        let mut previous_right = None;
        for (column, b) in right.iter().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX);
            let replaced = at(&last, column) + usize::from(a != b);
            let edited = at(&last, column + 1).min(at(&current, column)) + 1;
            let mut best = replaced.min(edited);
            if previous_left == Some(b) && previous_right == Some(a) {
                best = best.min(at(&before_last, column - 1).saturating_add(1));
            }
            current.push(best);
            previous_right = Some(b);
        }
        before_last = std::mem::replace(&mut last, current);
        previous_left = Some(a);
    }
    last.last().copied().unwrap_or(left.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_a_different_word_is_not() {
        let known = ["listen", "projects", "write_keys", "us", "eu"];
        for (given, expected) in [
            ("lisen", Some("listen")),
            ("lsiten", Some("listen")),
            ("project", Some("projects")),
            ("writeKey", Some("write_keys")),
            ("US", Some("us")),
            ("uss", Some("us")),
            ("sinks", None),
            ("", None),
            ("ab", None),
        ] {
            assert_eq!(nearest(given, known), expected, "{given}");
        }
    }
}
