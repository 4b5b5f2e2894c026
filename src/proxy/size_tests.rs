//! The size of a request's future, which is moved to the heap for each request.

use std::mem::size_of_val;
use std::path::Path;

use pingora::proxy::Session;
use tokio::io::AsyncWriteExt;

use crate::config::Environment;
use crate::delivery::Encoding;

use super::hedgerow::Hedgerow;
use super::intake::intercept::Intake;
use super::request::exchange::FrameworkRequest;
use super::routes::RouteAction;

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
    let (stream, mut other) = tokio::io::duplex(1024);
    let head = b"POST /hr/t HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    other.write_all(head).await.unwrap();
    let mut session = Session::new_h1(Box::new(stream));
    session.read_request().await.unwrap();
    let active = hedgerow.current();
    let destination = active.destinations.get("shop").unwrap();
    let body = bytes::Bytes::new();
    let delivery = size_of_val(&destination.deliver(&body, Encoding::Identity, None));
    let (route, _) = active.routes.find(None, "/hr/").unwrap();
    let RouteAction::Segment(segment) = &route.action else {
        panic!("the route takes no calls");
    };
    let intake = Intake::new(&active, segment, route.number);
    let mut exchange = FrameworkRequest::new(&mut session, active.read_limits());
    let request = size_of_val(&intake.serve(&mut exchange, 4));
    println!("{delivery} bytes for a delivery, {request} in all");
    assert!(delivery < 3 << 10, "{delivery} bytes for a delivery");
    assert!(request < 5_600, "{request} bytes in all");
}
