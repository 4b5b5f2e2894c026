//! The check of `make instructions` without Valgrind: which counts it accepts, and that the file
//! has every case of the benchmark.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "../../../benches/support/mod.rs"]
mod support;
#[path = "../../../benches/written/mod.rs"]
mod written;

const FILE: &str = "compiler: rustc 1\ntrack, reference: 1000\npage, enriched: 2000\n";

fn counted(counts: &[(&str, u64)]) -> Vec<(String, u64)> {
    let counts = counts.iter();
    counts
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

#[test]
fn counts_that_have_hardly_grown_are_accepted() {
    let counted = counted(&[("track, reference", 1030), ("page, enriched", 1500)]);
    assert_eq!(written::mistakes(FILE, &counted), [""; 0]);
}

#[test]
fn a_grown_count_fails() {
    let counted = counted(&[("track, reference", 1031), ("page, enriched", 2000)]);
    let expected = ["track, reference: 1031, and was 1000"];
    assert_eq!(written::mistakes(FILE, &counted), expected);
}

#[test]
fn a_case_that_the_benchmark_no_longer_has_fails() {
    let counted = counted(&[("track, reference", 1000)]);
    let expected = ["page, enriched: in the file, but not counted any more"];
    assert_eq!(written::mistakes(FILE, &counted), expected);
}

#[test]
fn a_case_that_the_file_does_not_have_fails() {
    let counted = counted(&[
        ("track, reference", 1000),
        ("page, enriched", 2000),
        ("identify, sessions", 1),
    ]);
    let expected = ["identify, sessions: counted, but not in the file"];
    assert_eq!(written::mistakes(FILE, &counted), expected);
}

#[test]
fn a_line_without_a_count_fails() {
    let counted = counted(&[("track, reference", 1000)]);
    for line in ["track, reference: many", "track, reference"] {
        assert_eq!(written::mistakes(line, &counted).len(), 1, "{line}");
    }
}

/// Without Valgrind, so that every run of the tests sees it.
#[test]
fn the_written_file_has_exactly_the_cases_of_the_benchmark() {
    let file = include_str!("../../../benches/instructions.txt");
    let mut names = vec!["observation".to_owned()];
    for case in support::cases() {
        let ways = support::Way::ALL.iter();
        names.extend(ways.map(|(_, way)| format!("{}, {way}", case.name)));
    }
    let least: Vec<_> = names.into_iter().map(|name| (name, 0)).collect();
    assert_eq!(written::mistakes(file, &least), [""; 0]);
    assert!(written::value_of(file, written::COMPILER).is_some());
}
