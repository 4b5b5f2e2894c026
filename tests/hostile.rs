//! The properties that the fuzz targets check (for the configuration, heads, pages and the spool's
//! records), on the seeds and broken variants of them. The properties of bodies are tests of
//! `hedgerow-rewrite`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "../src/proxy/listen/balancer.rs"]
#[allow(dead_code)]
mod balancer;
#[path = "../fuzz/properties/broken.rs"]
mod broken;
#[path = "../fuzz/properties/config.rs"]
mod config;
#[path = "../fuzz/properties/edge.rs"]
mod edge;

use broken::{broken, texts, whole_and_broken, Numbers};
use hedgerow::site::inject as scan;
use hedgerow::site::{forwarding_headers, head};

#[test]
fn mistakes_of_any_configuration_have_a_place() {
    // In YAML, a carriage return alone ends a line.
    config::config_parse(b"projects: {}\r\r\r\r\r\runknown: [");
    let mut numbers = Numbers(0xbeef);
    for text in texts("conf") {
        config::config_parse(text.as_bytes());
        for _ in 0..200 {
            config::config_parse(&broken(text.as_bytes(), &mut numbers));
        }
    }
}

#[test]
fn a_head_that_passes_is_read_alike_by_all_and_claims_nothing() {
    let seeds: [&[u8]; 6] = [
        b"/a/b?c=../d\nhost:shop.example:8080\nx_forwarded_host:a\naccept:*/*",
        b"/a/%2e%2e/b\nhost:a\nforwarded:for=1",
        b"http://shop.example/a;x/..;y/b\nhost:shop.example",
        b"/a\\..\\b/.%2E/c\nhost:[::1]:80",
        b"*\nhost: a b\ntransfer-encoding:gzip, chunked",
        b"/%252e%252e/x\nhost:a\nX-Real_IP:1",
    ];
    whole_and_broken(&seeds, 2_000, edge::heads);
}

#[test]
fn a_balancers_header_is_read_to_its_end_and_no_further() {
    let seeds: [&[u8]; 4] = [
        b"PROXY TCP4 192.0.2.1 10.0.0.1 5 443\r\nGET / HTTP/1.1\r\n",
        b"PROXY UNKNOWN\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\x0a\0\0\x01\0\x05\x01\xbbrest",
        b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
    ];
    whole_and_broken(&seeds, 2_000, edge::proxy_header);
}

#[test]
fn a_page_gets_the_snippet_once_wherever_it_is_cut() {
    let seeds: [&[u8]; 6] = [
        b"\x05<!doctype html><html><head><title></head></title></head><body>x</body></html>",
        b"\x01<head><script>'</head>'</script><!-- </head> --></HEAD >",
        b"\x03<html><body onload='</head>'>x",
        b"\x02<head><style></head></style><noscript></head></noscript><textarea></head>",
        b"\x07<head><script><!--<script></head></script>--></script></head>",
        b"\x01<p>a fragment</p>",
    ];
    whole_and_broken(&seeds, 2_000, edge::html);
}

#[test]
fn an_event_in_the_spool_stays_unchanged() {
    let seeds: [&[u8]; 4] = [
        br#"{"event":"E","uuid":"018f-1","timestamp":"2026-11-23T20:00:00Z","properties":{"distinct_id":"u","$ip":"1.2.3.4"}}"#,
        br#"{ "event":"E","properties":{ } }"#,
        br#"{"timestamp":null,"properties":{"$ip":null,"$geoip_disable":true,"a":1e400}}"#,
        br#"{"event":"E","event":"F","properties":{"distinct_id":"\ud83d"}}"#,
    ];
    whole_and_broken(&seeds, 2_000, edge::spool_record);
}
