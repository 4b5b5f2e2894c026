//! The output of `hedgerow check`.

use std::collections::BTreeMap;
use std::fmt::Write;

use hedgerow_spool::DeliveryMode;

use super::listeners::Listener;
use super::model::Config;
use super::posthog_route::PostHogPassThrough;
use super::problem::{Problem, Problems, Warning};
use super::projects::Project;
use super::routes::{Action, Route};
use super::sessions::SessionMode;
use super::units::{print_duration, print_size};
use super::{privacy, rules};
use crate::admin::LiveView;
use crate::rewrite::{Integrations, Mode, Repeats};
use crate::segment::WriteKeys;

/// Returns every mistake with its position, its line and a mark below the line. Secrets are masked.
pub fn render_problems(problems: &Problems, file_name: &str) -> String {
    let mut text = String::new();
    for problem in problems {
        render_problem(&mut text, problem, file_name, "");
    }
    let count = problems.count();
    let shown = problems.iter().len();
    if count > shown {
        line(&mut text, &format!("and {} more", count - shown));
    }
    let noun = if count == 1 { "mistake" } else { "mistakes" };
    line(&mut text, &format!("{count} {noun} in {file_name}"));
    text
}

/// Returns every warning in the same form, or an empty text if there is none.
pub fn render_warnings(warnings: &[Warning], file_name: &str) -> String {
    let mut text = String::new();
    for warning in warnings {
        render_problem(&mut text, warning, file_name, "warning: ");
    }
    text
}

fn render_problem(text: &mut String, problem: &Problem, file_name: &str, kind: &str) {
    let (line_number, column) = (problem.position.line, problem.position.column);
    let mut head = format!("{file_name}:{line_number}:{column}: {kind}");
    if !problem.path.is_empty() {
        head.push_str(&problem.path);
        head.push_str(": ");
    }
    head.push_str(&problem.message);
    line(text, &head);
    let Some(snippet) = &problem.snippet else {
        return;
    };
    line(text, &format!("{line_number:>6} | {}", snippet.line));
    let (before, mark) = (" ".repeat(snippet.before), "^".repeat(snippet.width));
    line(text, &format!("       | {before}{mark}"));
}

/// Returns the routes as a table, the listeners and the settings. Contains no key.
pub fn render_table(config: &Config) -> String {
    let mut rows = vec![ROUTE_HEAD.map(str::to_owned).to_vec()];
    for (index, route) in config.routes.iter().enumerate() {
        route_rows(&mut rows, index + 1, route);
    }
    let mut text = String::new();
    line(
        &mut text,
        "Routes (the first matching route handles the request)",
    );
    table(&mut text, &rows);
    line(&mut text, "Listeners");
    for listener in &config.listen {
        line(&mut text, &format!("  {}", listener_text(listener)));
    }
    if let Some(address) = config.admin {
        let view = match &config.live {
            LiveView::Off => "no live view",
            LiveView::Open => "live view",
            LiveView::Token(_) => "live view with a token",
        };
        line(&mut text, &format!("  http://{address} (admin, {view})"));
    }
    if let Some(address) = config.health {
        line(&mut text, &format!("  http://{address} (health)"));
    }
    line(&mut text, "Settings");
    let policies = privacy::lines(&config.mapping.privacy)
        .into_iter()
        .chain(rules::lines(&config.mapping.rules))
        .chain(modes(config))
        .chain(constants(config));
    for setting in settings(config).into_iter().chain(policies) {
        line(&mut text, &format!("  {setting}"));
    }
    text
}

const ROUTE_HEAD: [&str; 7] = ["#", "host", "path", "action", "project", "to", "write keys"];

fn route_rows(rows: &mut Vec<Vec<String>>, number: usize, route: &Route) {
    let host = route
        .host
        .as_ref()
        .map_or_else(|| "any".to_owned(), ToString::to_string);
    let mut add = |action: &str, project: &str, to: String, keys: String| {
        let row = [
            number.to_string(),
            host.clone(),
            route.path.to_string(),
            action.to_owned(),
            project.to_owned(),
            to,
            keys,
        ];
        rows.push(row.to_vec());
    };
    let none = || "-".to_owned();
    match &route.action {
        Action::Segment {
            write_keys: WriteKeys::Any(project),
            ..
        } => add(
            "segment",
            &project.name,
            destination(project),
            "any".to_owned(),
        ),
        Action::Segment {
            write_keys: WriteKeys::Listed(keys),
            ..
        } => {
            let mut counts: BTreeMap<&str, (&Project, usize)> = BTreeMap::new();
            for project in keys.values() {
                counts.entry(&project.name).or_insert((project, 0)).1 += 1;
            }
            for (name, (project, count)) in counts {
                add("segment", name, destination(project), count.to_string());
            }
        }
        Action::PostHog(PostHogPassThrough { project, .. }) => {
            add("posthog", &project.name, destination(project), none());
        }
        Action::Origin(origin) => {
            for server in &origin.servers {
                add("origin", "-", server.to_string(), none());
            }
        }
    }
}

fn destination(project: &Project) -> String {
    project.host.to_string()
}

fn listener_text(listener: &Listener) -> String {
    let scheme = match &listener.tls {
        Some(_) => "https",
        None => "http",
    };
    let ordered = listener.ordered_certificates();
    let ordered: Vec<String> = ordered
        .map(|acme| {
            let domains = acme.domains.join(", ");
            format!(
                "; orders a certificate for {domains} from {}",
                acme.directory
            )
        })
        .collect();
    format!("{scheme}://{}{}", listener.address, ordered.concat())
}

fn settings(config: &Config) -> Vec<String> {
    let mode = match config.mapping.mode {
        Mode::Reference => "reference",
        Mode::Enriched => "enriched",
    };
    let integrations = match config.mapping.integrations {
        Integrations::Respect => "respected",
        Integrations::Ignore => "ignored",
    };
    let size = |bytes: usize| print_size(bytes as u64);
    let proxies = match config.trusted_proxies.as_slice() {
        [] => "none".to_owned(),
        networks => {
            let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
            networks.join(", ")
        }
    };
    let spool = match &config.delivery.spool {
        Some(spool) => format!(
            "{} up to {} and {}, acknowledged {}",
            spool.place.backend().describe(),
            print_size(spool.max_size),
            print_duration(spool.max_age),
            acknowledged(config.delivery.mode),
        ),
        None => "off".to_owned(),
    };
    let sessions = match &config.sessions {
        SessionMode::Off => "those that clients know".to_owned(),
        SessionMode::Cookie(sessions) => format!("kept in the cookie {}", sessions.cookie()),
        SessionMode::Page => "stored by pages, together with analytics.js's anonymous \
            id"
        .to_owned(),
    };
    let repeats = match config.mapping.repeats {
        Repeats::Send => "sent",
        Repeats::Suppress => "suppressed",
    };
    vec![
        format!("mapping: {mode}, integrations {integrations}"),
        format!("sessions: {sessions}; repeats {repeats}"),
        format!(
            "limits: body {}, window {}, event {}, memory {}",
            size(config.limits.body),
            size(config.bounds.window),
            size(config.bounds.event),
            size(config.limits.memory),
        ),
        format!(
            "delivery: connect within {}, answer within {}{}, spool {spool}",
            print_duration(config.delivery.connect_timeout),
            print_duration(config.delivery.timeout),
            together(config),
        ),
        format!(
            "server: {} threads, grace {}, {}",
            config.server.threads,
            print_duration(config.server.grace),
            match &config.server.upgrade_socket {
                None => "no hand-over of sockets".to_owned(),
                Some(path) => format!("hand-over of sockets at {}", path.display()),
            },
        ),
        format!("trusted proxies: {proxies}"),
    ]
}

/// Returns the limits of groups, or an empty text if no project has the mode `group`.
fn together(config: &Config) -> String {
    let group = DeliveryMode::Group;
    let projects = config.projects.iter();
    let mut modes = projects.map(|project| project.mode);
    if !modes.any(|mode| mode == group) {
        return String::new();
    }
    format!(
        ", requests in groups of {} or {}",
        print_duration(config.delivery.linger),
        print_size(config.delivery.group_size as u64),
    )
}

fn acknowledged(mode: DeliveryMode) -> &'static str {
    match mode {
        DeliveryMode::Stream => "when PostHog or the spool has them",
        DeliveryMode::Group => "when PostHog or the spool has them, several requests at a time",
        DeliveryMode::Spool => "when they are in it",
    }
}

/// Returns a line for each project whose mode is not that of `delivery`.
fn modes(config: &Config) -> Vec<String> {
    let projects = config.projects.iter();
    let lines = projects.filter(|project| project.mode != config.delivery.mode);
    let lines = lines.map(|project| {
        let how = acknowledged(project.mode);
        format!("delivery of {}: acknowledged {how}", project.name)
    });
    lines.collect()
}

/// Returns a line for each project with constant properties.
fn constants(config: &Config) -> Vec<String> {
    let projects = config.projects.iter();
    let lines = projects.filter(|project| !project.properties.is_empty());
    let lines = lines.map(|project| {
        let pairs = project.properties.iter();
        let pairs: Vec<_> = pairs
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        format!("properties of {}: {}", project.name, pairs.join(", "))
    });
    lines.collect()
}

/// Writes the rows with columns that are as wide as their widest cell.
fn table(text: &mut String, rows: &[Vec<String>]) {
    let mut widths = Vec::new();
    for row in rows {
        widths.resize(row.len().max(widths.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in rows {
        let mut cells = String::from(" ");
        for (width, cell) in widths.iter().zip(row) {
            // Writing to a string cannot fail.
            let _ = write!(cells, " {cell:<width$} ");
        }
        line(text, cells.trim_end());
    }
}

fn line(text: &mut String, content: &str) {
    text.push_str(content);
    text.push('\n');
}
