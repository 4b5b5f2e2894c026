//! The files of the proxy that need no framework.
#![allow(dead_code, unused_imports)]

#[path = "../../../src/proxy/listen/balancer.rs"]
mod balancer;
#[path = "../../../src/site/forwarding_headers.rs"]
mod forwarding_headers;
#[path = "../../properties/edge.rs"]
pub mod edge;
#[path = "../../../src/site/head.rs"]
mod head;
#[path = "../../../src/site/inject/scan.rs"]
mod scan;
#[path = "../../../src/site/inject/script.rs"]
mod script;
