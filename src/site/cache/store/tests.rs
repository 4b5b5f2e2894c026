//! Tests of the copies: variants, limits, and the time when PostHog is unreachable.

use std::time::Duration;

use super::*;

fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn key(path: &str) -> CacheKey {
    CacheKey::new("us-assets.i.posthog.com", path)
}

fn put(
    cache: &mut Cache,
    path: &str,
    request: &HeaderMap,
    headers: &HeaderMap,
    body: &'static str,
    now: Instant,
) {
    cache.store(
        key(path),
        request,
        StatusCode::OK,
        headers.clone(),
        Bytes::from_static(body.as_bytes()),
        now,
    );
}

fn kind(found: &CacheLookup) -> &'static str {
    match found {
        CacheLookup::Fresh(_) => "fresh",
        CacheLookup::Stale(_) => "stale",
        CacheLookup::Nothing => "nothing",
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_copy_is_fresh_then_asked_about_and_the_last_good_one_while_posthog_is_away() {
    let start = Instant::now();
    let mut cache = Cache::new(1 << 20);
    let request = HeaderMap::new();
    let answer = map(&[
        ("cache-control", "max-age=300"),
        ("etag", "\"a\""),
        ("age", "40"),
    ]);
    put(
        &mut cache,
        "/static/array.js",
        &request,
        &answer,
        "x",
        start,
    );
    let key = key("/static/array.js");
    let CacheLookup::Fresh(stored) = cache.find(&key, &request, start + 10 * SECOND) else {
        panic!("not fresh");
    };
    assert_eq!(stored.headers(start + 10 * SECOND)["age"], "50");
    let later = start + 260 * SECOND;
    let CacheLookup::Stale(stored) = cache.find(&key, &request, later) else {
        panic!("not stale");
    };
    assert_eq!(
        stored.conditions(),
        [(header::IF_NONE_MATCH, HeaderValue::from_static("\"a\""))]
    );
    assert_eq!(cache.last_good(&key, &request, later).unwrap().body(), "x");
    let week = start + 7 * 24 * 3600 * SECOND + 300 * SECOND;
    assert!(cache.last_good(&key, &request, week).is_none());
}

#[test]
fn a_304_makes_the_copy_fresh_again_with_its_new_headers() {
    let start = Instant::now();
    let mut cache = Cache::new(1 << 20);
    let request = HeaderMap::new();
    let answer = map(&[
        ("cache-control", "max-age=300"),
        ("etag", "\"a\""),
        ("age", "299"),
        ("content-type", "t"),
    ]);
    put(&mut cache, "/a", &request, &answer, "x", start);
    let later = start + 500 * SECOND;
    assert_eq!(kind(&cache.find(&key("/a"), &request, later)), "stale");
    let not_modified = map(&[("cache-control", "max-age=60"), ("content-length", "0")]);
    let renewed = cache
        .renew(&key("/a"), &request, &not_modified, later)
        .unwrap();
    let headers = renewed.headers(later);
    assert_eq!(headers["cache-control"], "max-age=60");
    assert_eq!(headers["content-type"], "t");
    assert_eq!(headers["age"], "0");
    assert!(!headers.contains_key("content-length"));
    assert_eq!(renewed.body(), "x");
    assert_eq!(
        kind(&cache.find(&key("/a"), &request, later + 59 * SECOND)),
        "fresh"
    );
    assert_eq!(
        kind(&cache.find(&key("/a"), &request, later + 60 * SECOND)),
        "stale"
    );
    assert!(cache
        .renew(&key("/b"), &request, &not_modified, later)
        .is_none());
}

#[test]
fn answers_that_vary_are_kept_apart_and_lent_only_within_a_site_while_posthog_is_away() {
    let now = Instant::now();
    let mut cache = Cache::new(1 << 20);
    let answer = map(&[
        ("cache-control", "max-age=300"),
        ("vary", "Origin, Referer"),
    ]);
    let page = |origin: &str, referer: &str| map(&[("origin", origin), ("referer", referer)]);
    let one = page("https://a.test", "https://a.test/one");
    put(&mut cache, "/c", &one, &answer, "A", now);
    assert_eq!(kind(&cache.find(&key("/c"), &one, now)), "fresh");
    let two = page("https://a.test", "https://a.test/two");
    assert_eq!(kind(&cache.find(&key("/c"), &two, now)), "nothing");
    assert_eq!(cache.last_good(&key("/c"), &two, now).unwrap().body(), "A");
    let other = page("https://b.test", "https://a.test/one");
    assert!(cache.last_good(&key("/c"), &other, now).is_none());
    let lookalike = page("https://a.test", "https://a.test.evil/one");
    assert!(cache.last_good(&key("/c"), &lookalike, now).is_none());
    put(&mut cache, "/c", &two, &answer, "B", now);
    assert_eq!(cache.last_good(&key("/c"), &two, now).unwrap().body(), "B");
    assert_eq!(cache.last_good(&key("/c"), &one, now).unwrap().body(), "A");
}

#[test]
fn a_body_is_never_lent_to_a_client_that_asked_for_another_encoding() {
    let now = Instant::now();
    let mut cache = Cache::new(1 << 20);
    let answer = map(&[("cache-control", "max-age=300"), ("content-encoding", "br")]);
    let brotli = map(&[("accept-encoding", "br")]);
    put(&mut cache, "/a", &brotli, &answer, "x", now);
    for request in [HeaderMap::new(), map(&[("accept-encoding", "gzip")])] {
        assert_eq!(kind(&cache.find(&key("/a"), &request, now)), "nothing");
        assert!(cache.last_good(&key("/a"), &request, now).is_none());
    }
}

#[test]
fn an_answer_that_may_not_be_kept_takes_the_place_of_one_that_was() {
    let now = Instant::now();
    let mut cache = Cache::new(1 << 20);
    let request = HeaderMap::new();
    put(
        &mut cache,
        "/a",
        &request,
        &map(&[("cache-control", "max-age=300")]),
        "x",
        now,
    );
    put(
        &mut cache,
        "/a",
        &request,
        &map(&[("cache-control", "no-store")]),
        "y",
        now,
    );
    assert_eq!(kind(&cache.find(&key("/a"), &request, now)), "nothing");
    assert_eq!(cache.held(), 0);
}

#[test]
fn the_bound_holds_and_what_was_asked_for_longest_ago_goes_first() {
    let now = Instant::now();
    let mut cache = Cache::new(16 << 10);
    let request = HeaderMap::new();
    let answer = map(&[("cache-control", "max-age=300")]);
    let body = Bytes::from(vec![b'x'; 1000]);
    let store = |cache: &mut Cache, path: &str| {
        cache.store(
            key(path),
            &request,
            StatusCode::OK,
            answer.clone(),
            body.clone(),
            now,
        );
    };
    store(&mut cache, "/kept");
    for number in 0..200 {
        store(&mut cache, &format!("/{number}"));
        assert!(cache.held() <= 16 << 10);
        assert_eq!(
            kind(&cache.find(&key("/kept"), &request, now)),
            "fresh",
            "{number}"
        );
    }
    assert_eq!(kind(&cache.find(&key("/0"), &request, now)), "nothing");
    assert_eq!(kind(&cache.find(&key("/199"), &request, now)), "fresh");
    let before = cache.held();
    let large = Bytes::from(vec![b'x'; 8 << 10]);
    cache.store(key("/large"), &request, StatusCode::OK, answer, large, now);
    assert_eq!(kind(&cache.find(&key("/large"), &request, now)), "nothing");
    assert_eq!(cache.held(), before);
}

#[test]
fn one_address_never_has_more_variants_than_the_bound() {
    let now = Instant::now();
    let mut cache = Cache::new(64 << 20);
    let answer = map(&[("cache-control", "max-age=300"), ("vary", "Referer")]);
    for number in 0..1_000 {
        let request = map(&[("referer", &format!("https://a.test/{number}"))]);
        put(&mut cache, "/c", &request, &answer, "x", now);
    }
    assert_eq!(cache.entries[&key("/c")].len(), MAX_VARIANTS);
    let held: usize = cache.entries[&key("/c")]
        .iter()
        .map(|slot| slot.stored.cost())
        .sum();
    assert_eq!(cache.held(), held);
}

#[test]
fn a_client_that_has_the_copy_is_told_so() {
    let now = Instant::now();
    let mut cache = Cache::new(1 << 20);
    let request = HeaderMap::new();
    let answer = map(&[("cache-control", "max-age=300"), ("etag", "W/\"a\"")]);
    put(&mut cache, "/a", &request, &answer, "x", now);
    let CacheLookup::Fresh(stored) = cache.find(&key("/a"), &request, now) else {
        panic!("not fresh");
    };
    assert!(stored.is_known_to("\"b\", \"a\""));
    assert!(!stored.is_known_to("\"b\""));
}

#[test]
fn debug_output_shows_no_path_and_no_body() {
    let text = format!("{:?}", key("/array/phc_visible/config"));
    assert!(!text.contains("visible"), "{text}");
}
