//! A listener's `health` path: load balancers check the health on the port that takes requests.

use http::Method;
use pingora::proxy::Session;

use crate::admin::HealthCheck;
use crate::config::Listener;
use crate::proxy::active_config::ActiveConfig;
use crate::proxy::reply;
use crate::proxy::state::unready;
use crate::segment::Answer;

/// Returns the answer if the request asks for health at a listener that has a path for it.
pub(super) fn health_answer(active: &ActiveConfig, session: &Session) -> Option<Answer> {
    let listeners = &active.config.listen;
    if listeners.iter().all(|listener| listener.health.is_none()) {
        return None;
    }
    let head = session.req_header();
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return None;
    }
    let path = head.uri.path();
    let mut checks = listeners.iter().filter_map(|listener| {
        let check = HealthCheck::below(listener.health.as_ref()?.tail(path)?)?;
        arrived_at(session, listener).then_some(check)
    });
    let response = checks.next()?.answer(|| unready(active));
    Some(reply::answer(
        response.status,
        response.headers,
        response.body,
    ))
}

/// Whether the request arrived at this listener.
pub(super) fn arrived_at(session: &Session, listener: &Listener) -> bool {
    let local = session.server_addr().and_then(|local| local.as_inet());
    let Some(local) = local else {
        return false;
    };
    // A configured port 0 stands for any free port.
    let (ip, port) = (listener.address.ip(), listener.address.port());
    (port == 0 || port == local.port())
        && (ip.is_unspecified() || ip.to_canonical() == local.ip().to_canonical())
}
