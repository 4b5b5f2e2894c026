//! Connects to a host.

use std::time::Instant;

use tokio::net::{lookup_host, TcpStream};
use tokio::time::timeout;

use crate::config::Config;
use crate::doctor::{milliseconds, Finding};
use crate::posthog::Host;
use crate::proxy::outbound::verdict::NoAnswerReason;

/// Looks up the addresses of a host and connects to one of them. Returns whether a connection was
/// possible.
pub(super) async fn examine(
    about: &str,
    host: &Host,
    config: &Config,
    findings: &mut Vec<Finding>,
) -> bool {
    let (name, port) = (host.name(), host.port());
    let time_limit = config.delivery.connect_timeout;
    let dns = format!("{about}, DNS");
    let found = timeout(time_limit, lookup_host((name, port))).await;
    let (addresses, reason): (Vec<_>, _) = match found {
        Ok(Ok(addresses)) => (addresses.collect(), String::new()),
        Ok(Err(error)) => (Vec::new(), format!(": {error}")),
        Err(_) => (
            Vec::new(),
            format!(": no answer in {}", milliseconds(time_limit)),
        ),
    };
    let Some(first) = addresses.first() else {
        let advice = NoAnswerReason::Dns.advice().1;
        let observation = format!("{name} has no address{reason}");
        findings.push(Finding::bad(dns, observation, advice));
        return false;
    };
    let more = match addresses.len() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    // A host that is given as an IP address needs no DNS.
    if host.address().is_none() {
        let observation = format!("{name} is {}{more}", first.ip());
        findings.push(Finding::ok(dns, observation));
    }
    let tcp = format!("{about}, TCP");
    let mut reasons = Vec::new();
    for address in &addresses {
        let began = Instant::now();
        match timeout(time_limit, TcpStream::connect(address)).await {
            Ok(Ok(_)) => {
                let took = milliseconds(began.elapsed());
                let observation = format!("connected to {address} in {took}");
                findings.push(Finding::ok(tcp, observation));
                return true;
            }
            Ok(Err(error)) => reasons.push(format!("{address}: {error}")),
            Err(_) => reasons.push(format!(
                "{address}: no answer in {}",
                milliseconds(time_limit)
            )),
        }
    }
    let advice = NoAnswerReason::Connect.advice().1;
    findings.push(Finding::bad(tcp, reasons.join("; "), advice));
    false
}
