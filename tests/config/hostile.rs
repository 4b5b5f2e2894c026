use super::{read, shipped, with};
use hedgerow::config::{render_problems, render_table, FILE_LIMIT};
use proptest::prelude::*;

/// Reads a text and renders the problems.
fn survive(text: &str) {
    let rendered = match read(text) {
        Ok((config, _)) => render_table(&config),
        Err(problems) => {
            assert!(problems.count() > 0);
            let lines = text.split(['\n', '\r']).count();
            for problem in &problems {
                assert!(
                    (1..=lines + 1).contains(&problem.position.line),
                    "{problem}"
                );
                assert!(problem.position.column >= 1, "{problem}");
            }
            render_problems(&problems, "x.yaml")
        }
    };
    assert!(!rendered.is_empty());
}

#[test]
fn a_few_aliases_cannot_make_a_large_file() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    let problems = read(&laughs).unwrap_err();
    assert!(
        problems.to_string().contains("too many values"),
        "{problems}"
    );

    let long = format!(
        "a: &a {}\nb: [{}]\n",
        "x".repeat(400_000),
        "*a, ".repeat(100_000)
    );
    let problems = read(&long).unwrap_err();
    assert!(
        problems.to_string().contains("too many values"),
        "{problems}"
    );

    let mut deep = "a0: &a0 []\n".to_owned();
    for level in 1..50_000 {
        deep.push_str(&format!("? &a{level} [*a{}]\n", level - 1));
    }
    survive(&deep);
    let mut deep = "- &a0 []\n".to_owned();
    for level in 1..50_000 {
        deep.push_str(&format!("- &a{level} [*a{}]\n", level - 1));
    }
    let problems = read(&deep).unwrap_err();
    assert!(
        problems.to_string().contains("nested too deeply"),
        "{problems}"
    );
    survive("a: &a [*a]");
}

#[test]
fn depth_and_size_are_bounded() {
    for text in [
        "[".repeat(100_000),
        "- ".repeat(100_000),
        "{a: ".repeat(100_000),
    ] {
        let problems = read(&text).unwrap_err();
        assert!(
            problems.to_string().contains("nested too deeply"),
            "{problems}"
        );
    }
    let long = "#".repeat(FILE_LIMIT);
    assert!(read(&long)
        .unwrap_err()
        .to_string()
        .contains("expected a mapping"));
    let long = "#".repeat(FILE_LIMIT + 1);
    assert!(read(&long).unwrap_err().to_string().contains("larger than"));
    let routes = "  - {path: /, origin: http://a}\n".repeat(1001);
    let problems = read(&format!("routes:\n{routes}")).unwrap_err();
    assert!(
        problems.to_string().contains("more than 1000 routes"),
        "{problems}"
    );
    survive(&with(&format!("limits: {{body: {}}}", "9".repeat(10_000))));
    survive(&with(&format!("{}: 1", "k".repeat(1000))));
}

#[test]
fn every_beginning_of_a_shipped_file_is_survived() {
    for (_, text) in shipped::files() {
        for (end, _) in text.char_indices() {
            survive(&text[..end]);
        }
    }
}

/// A shipped file with pieces replaced, removed or moved.
fn mutated() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "",
        " ",
        "\n",
        "\r",
        "\t",
        ":",
        ": ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        "'",
        "\"",
        "&a ",
        "*a",
        "!a ",
        "|\n",
        ">",
        "#",
        "%",
        "?",
        "~",
        "é",
        "\u{feff}",
        "\u{0}",
        "0",
        "env:",
        "file:",
        "/",
        "<<: ",
        "api_key: ",
        "write_keys: ",
        "phc_x",
        "---\n",
        "...\n",
        "host: ",
        "999999999999999999999",
    ]);
    let edit = (any::<prop::sample::Index>(), 0_usize..12, pieces);
    let files: Vec<String> = shipped::files().into_iter().map(|(_, text)| text).collect();
    (
        prop::sample::select(files),
        prop::collection::vec(edit, 1..8),
    )
        .prop_map(|(text, edits)| {
            let mut characters: Vec<char> = text.chars().collect();
            for (index, cut, piece) in edits {
                let at = index.index(characters.len() + 1);
                let end = (at + cut).min(characters.len());
                characters.splice(at..end, piece.chars());
            }
            characters.into_iter().collect()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_file_never_panics(text in mutated()) {
        survive(&text);
    }

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        survive(&text);
    }
}
