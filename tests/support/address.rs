//! Addresses on loopback at which nothing listens, until the test starts a server there.
//!
//! Each test binary uses a part of it.
#![allow(dead_code)]

use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// An address at which nothing listens. A program that the test starts can listen there. This
/// process keeps the port bound as long as it lives, so the kernel gives the port neither to a
/// listener with port 0 nor to an outgoing connection. If the test only looked for a free port,
/// another test could get that port first.
pub fn unused_address() -> SocketAddr {
    let socket = TcpSocket::new_v4().expect("a socket");
    // With this option on both sockets, Linux lets another one listen at the address of a socket
    // that is only bound. All servers set it, to start again soon after their end.
    socket.set_reuseaddr(true).expect("a new socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(any).expect("a free port");
    let address = socket.local_addr().expect("it is bound");
    Box::leak(Box::new(socket));
    address
}

/// A URL with such an address.
pub fn dead_url() -> String {
    format!("http://{}", unused_address())
}
