//! The nearest of the known words, for "did you mean".

/// The known word that `given` was probably meant to be.
pub(super) fn nearest<'w>(
    given: &str,
    known: impl IntoIterator<Item = &'w str>,
) -> Option<&'w str> {
    // A text of this length is not a typing mistake, and the comparison is quadratic.
    if given.len() > 64 {
        return None;
    }
    let given = plain(given);
    known
        .into_iter()
        .filter_map(|word| {
            let target = plain(word);
            let longest = target.chars().count().max(given.chars().count());
            let allowed = (longest / 3).max(1);
            // Insert, delete, replace, and swap of adjacent letters.
            let distance = strsim::osa_distance(&given, &target);
            // Sharing no character at all is no resemblance, however short the words are.
            (distance <= allowed && distance < target.chars().count().max(1))
                .then_some((distance, word))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Lower case without separators: `writeKeys` and `write-keys` are `write_keys`.
pub(super) fn plain(word: &str) -> String {
    word.chars()
        .filter(|character| character.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
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
