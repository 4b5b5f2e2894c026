use super::*;

#[test]
fn each_kind_of_request_has_its_own_counter() {
    let routes = ["/hr/", "shop.test/"].map(|name| (name.to_owned(), RoutePurpose::Other));
    let requests = Requests::new(routes.into_iter());
    let mut number = 0;
    for asked in RequestKind::all() {
        for answered in RequestOutcome::ALL {
            for route in [Some(0), Some(1), None] {
                number += 1;
                for _ in 0..number % 3 {
                    requests.count(route, asked, *answered);
                }
            }
        }
    }
    let counts = requests.read();
    let sum: u64 = counts.iter().map(|count| count.number).sum();
    assert_eq!(sum, (1..=number).map(|number| number % 3).sum::<u64>());
    let mut labels: Vec<_> = counts
        .iter()
        .map(|count| {
            let (asked, answered) = (count.asked, count.answered);
            (
                &count.route,
                asked.word(),
                answered.status(),
                answered.code(),
            )
        })
        .collect();
    let all = labels.len();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), all, "two kinds have the same labels");
    assert_eq!(requests.route(Some(7)), "none");
}

#[test]
fn a_refused_write_key_is_there_to_be_watched_before_the_first_one() {
    let requests = Requests::new([("/hr/".to_owned(), RoutePurpose::Calls)].into_iter());
    let counts = requests.read();
    assert!(counts.iter().all(|count| count.number == 0), "{counts:?}");
    let keys = counts
        .iter()
        .filter(|count| count.answered == RequestOutcome::UnknownWriteKey);
    // The calls with one message, and the batch.
    let calls = Kind::ALL.len() + 1;
    assert_eq!(keys.count(), calls, "{counts:?}");
    let later = counts
        .iter()
        .filter(|count| count.answered.status() == "503");
    assert_eq!(later.count(), 3 * calls, "{counts:?}");
}

#[test]
fn routes_of_the_same_name_go_on_counting() {
    let routes = |names: &[&str]| {
        let named = names
            .iter()
            .map(|name| (name.to_string(), RoutePurpose::Other));
        named.collect::<Vec<_>>()
    };
    let before = Requests::new(routes(&["/a/", "/b/"]).into_iter());
    let count = |requests: &Requests, route| {
        requests.count(Some(route), RequestKind::Batch, RequestOutcome::Well);
    };
    count(&before, 0);
    count(&before, 1);
    let after = Requests::after(&before, routes(&["/b/", "/c/"]).into_iter());
    // A request that began with the old configuration ends after the change.
    count(&before, 1);
    count(&after, 0);
    count(&after, 1);
    let counts = after.read();
    let mut counts: Vec<_> = counts
        .iter()
        .map(|count| (count.route.as_str(), count.number))
        .collect();
    counts.sort_unstable();
    assert_eq!(counts, [("/b/", 3), ("/c/", 1)]);
}

#[test]
fn every_fault_of_a_body_has_its_own_code() {
    use crate::rewrite::RewriteError::*;
    for error in [
        Empty,
        InvalidJson,
        NotAnObject,
        BatchNotAnArray,
        LateBatchKey,
        TooManyRefused,
    ] {
        assert_eq!(RequestOutcome::malformed(error.code()).code(), error.code());
    }
    assert_eq!(RequestOutcome::malformed("new"), RequestOutcome::Malformed);
}

#[test]
fn of_a_key_at_most_four_characters_are_shown() {
    for (key, shown) in [
        ("wk_0123456789", "…6789"),
        ("12345", "…2345"),
        ("1234", "…"),
        ("", "…"),
        ("schlüssel-äöüß", "…????"),
        ("line\nbreak\n\u{1b}[2J", "…?[2J"),
    ] {
        assert_eq!(key_end(key), shown, "{key:?}");
    }
}
