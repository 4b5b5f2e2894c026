//! What a request's future takes: it is moved to the heap for each of them.

use std::mem::size_of_val;
use std::path::Path;

use pingora::proxy::Session;

use crate::config::Environment;
use crate::delivery::Encoding;

use super::*;

fn hedgerow() -> Hedgerow {
    let yaml = "projects:\n  shop: {host: \"http://127.0.0.1:9\", api_key: phc_test}\n\
                routes:\n  - path: /hr/\n    segment: {project: shop}\n\
                delivery: {spool: \"off\"}\n";
    let (config, _) = crate::Config::parse(yaml, &Environment::new(Path::new("."))).unwrap();
    Hedgerow::new(config).unwrap()
}

#[tokio::test]
async fn a_requests_future_stays_small() {
    let hedgerow = hedgerow();
    let (stream, _other) = tokio::io::duplex(64);
    let mut session = Session::new_h1(Box::new(stream));
    let inner = hedgerow.current();
    let destination = inner.destinations.get("shop").unwrap();
    let body = bytes::Bytes::new();
    let delivery = size_of_val(&destination.deliver(&body, Encoding::Identity, None));
    let request = size_of_val(&inner.intercept(&mut session));
    assert!(delivery < 3 << 10, "{delivery} bytes for a delivery");
    assert!(request < 7 << 10, "{request} bytes in all");
}
