//! Checks what an installation needs: the connection to PostHog, the disk, the certificates, and
//! the path from outside. [`crate::doctor`] evaluates the results.

mod connection;
mod key;
mod machine;
mod outside;
pub(super) mod probe;
mod test_event;

use crate::config::{Action, Config};
use crate::doctor::{self, Finding};
use crate::posthog::Host;

pub use key::unknown_keys;
pub use test_event::TEST_EVENT;

/// Examines everything that a configuration names and, if the site's URL is given, the path from outside.
/// Sends one event named [`TEST_EVENT`] to each project, and one more over the URL.
pub async fn examine(config: &Config, url: Option<&Host>) -> Vec<Finding> {
    let mut findings = machine::examine(config);
    for project in &config.projects {
        findings.extend(doctor::project(
            &project.name,
            project.api_key.expose(),
            &project.host,
        ));
        let about = format!("project {}", project.name);
        if connection::examine(&about, &project.host, config, &mut findings).await {
            findings.extend(test_event::examine(project, config).await);
            findings.extend(key::examine(project, config).await);
        }
    }
    for route in &config.routes {
        match &route.action {
            Action::Segment { files, .. } => {
                let hosts = files.forward.iter().flat_map(|to| [&to.api, &to.cdn]);
                for host in hosts {
                    let about = format!("forward of {}", route.path);
                    connection::examine(&about, host, config, &mut findings).await;
                }
            }
            Action::Origin(origin) => {
                for server in &origin.servers {
                    let about = format!("origin of {}", route.path);
                    connection::examine(&about, server, config, &mut findings).await;
                }
            }
            Action::PostHog(_) => {}
        }
    }
    if let Some(url) = url {
        findings.extend(outside::examine(config, url).await);
    }
    findings
}
