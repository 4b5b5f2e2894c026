//! The lines that `run` prints at its start: its addresses, the projects, the waiting events, and a
//! command to try it.

use std::net::SocketAddr;

use hedgerow::config::{Action, Config, Route};
use hedgerow::segment::WriteKeys;
use hedgerow::Hedgerow;

/// Returns the lines for a server that listens on these addresses.
pub(super) fn lines(hedgerow: &Hedgerow, addresses: &[SocketAddr]) -> Vec<String> {
    let config = hedgerow.config();
    let mut lines = Vec::new();
    for address in addresses {
        lines.push(format!("listening on {address}"));
    }
    for (address, what) in [(config.admin, "admin"), (config.health, "health")] {
        lines.extend(address.map(|address| format!("{what}: http://{address}")));
    }
    for (listener, address) in config.listen.iter().zip(addresses) {
        let scheme = scheme(listener.tls.is_some());
        let path = listener.health.as_ref();
        lines.extend(path.map(|path| {
            let path = path.to_string();
            format!("health: {scheme}://{address}{}", path.trim_end_matches('/'))
        }));
    }
    for project in &config.projects {
        lines.push(format!("project {}: {}", project.name, project.host));
    }
    for route in &config.routes {
        lines.push(format!("route {}: {}", route.name(), purpose(route)));
    }
    match &config.delivery.spool {
        None => lines.push("no spool: clients get 503 while PostHog accepts no events".to_owned()),
        Some(spool) => {
            let place = spool.place.backend().describe();
            let state = hedgerow.state();
            let waiting: Vec<String> = state
                .projects
                .iter()
                .filter(|project| project.waiting > 0)
                .map(|project| format!("{} events of {}", project.waiting, project.name))
                .collect();
            let failure = state.spool.and_then(|spool| spool.trouble);
            lines.push(match (waiting.is_empty(), failure) {
                (true, None) => format!("spool {place}: nothing waits"),
                (true, Some(failure)) => format!("spool {place}: {failure}"),
                (false, _) => format!("spool {place}: {} wait", waiting.join(", ")),
            });
        }
    }
    lines.extend(trial_call(&config, addresses));
    lines
}

fn scheme(is_secure: bool) -> &'static str {
    match is_secure {
        true => "https",
        false => "http",
    }
}

fn purpose(route: &Route) -> String {
    match &route.action {
        Action::Segment { write_keys, .. } => match write_keys {
            WriteKeys::Any(project) => {
                format!("segment, project {}, any write key", project.name)
            }
            WriteKeys::Listed(keys) => {
                let mut names: Vec<&str> =
                    keys.values().map(|project| project.name.as_str()).collect();
                names.sort_unstable();
                names.dedup();
                let names = names.join(", ");
                match keys.len() {
                    1 => format!("segment, project {names}, 1 write key"),
                    number => format!("segment, project {names}, {number} write keys"),
                }
            }
        },
        Action::PostHog(route) => format!("posthog, project {}", route.project.name),
        Action::Origin(origin) => {
            let servers: Vec<String> = origin.servers.iter().map(ToString::to_string).collect();
            format!("origin {}", servers.join(", "))
        }
    }
}

/// Returns a `curl` command that sends an event over the first Segment route.
fn trial_call(config: &Config, addresses: &[SocketAddr]) -> Option<String> {
    let is_segment = |route: &&Route| matches!(route.action, Action::Segment { .. });
    let route = config.routes.iter().find(is_segment)?;
    let (listener, address) = config.listen.iter().zip(addresses).next()?;
    let scheme = scheme(listener.tls.is_some());
    let (mut options, mut with) = (String::new(), "");
    if listener.tls.is_some() {
        options.push_str(" -k");
    }
    if let Some(host) = &route.host {
        options.push_str(&format!(" -H 'Host: {host}'"));
    }
    if let Action::Segment {
        write_keys: WriteKeys::Listed(_),
        ..
    } = &route.action
    {
        options.push_str(" -u WRITE_KEY:");
        // The log never contains a key.
        with = ", with one of the route's write keys in the place of WRITE_KEY";
    }
    let mut to = *address;
    if to.ip().is_unspecified() {
        to.set_ip(match to.is_ipv4() {
            true => std::net::Ipv4Addr::LOCALHOST.into(),
            false => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    let path = route.path.to_string();
    let path = path.trim_end_matches('/');
    Some(format!(
        "try it{with}: curl -i{options} {scheme}://{to}{path}/v1/track -d \
         '{{\"userId\":\"test\",\"event\":\"Hello\"}}'"
    ))
}
