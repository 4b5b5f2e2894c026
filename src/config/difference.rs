//! The differences between two configurations, key by key. Secrets are hidden.

use super::delivery::DeliveryConfig;
use super::outline::outline_of;
use super::problem::Problems;
use super::units;
use crate::admin::outline::{is_below, SealedOutline};

/// The keys that only a new process can change, with all keys below them.
const NEW_PROCESS: [&str; 3] = ["server.threads", "server.upgrade_socket", "delivery.spool"];

/// When a change becomes active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// After a reload.
    Reload,
    /// After a new process has started.
    NewProcess,
}

/// One key with a changed value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The path of the key. Routes, listeners and other entries of lists have their path, address
    /// or host as a name, if they have one.
    pub path: String,
    /// The value before; `None` if the key was not there.
    pub before: Option<String>,
    /// The value after; `None` if the key is not there.
    pub after: Option<String>,
    /// When the change becomes active.
    pub force: Activation,
}

/// Returns the differences between the texts of two configurations, in the order of paths.
///
/// # Errors
///
/// Returns an error if one of them is not YAML.
pub fn differences(before: &str, after: &str) -> Result<Vec<Difference>, Problems> {
    const SALT: &[u8] = b"both stay unchanged in this process";
    let (before, after) = (outline_of(before)?, outline_of(after)?);
    Ok(differences_of(before.sealed(SALT), after.sealed(SALT)))
}

/// Returns the differences between two outlines. Both must be sealed with the same salt.
pub fn differences_of(before: SealedOutline, after: SealedOutline) -> Vec<Difference> {
    let (before, mut after) = (before.0, after.0);
    let spooled = before
        .iter()
        .filter(|(path, _)| is_below(path, "delivery.spool"))
        .any(|(_, value)| !matches!(value.shown.as_str(), "off" | "false"));
    let mut all = Vec::new();
    for (path, value) in before {
        let next = after.remove(&path);
        if next.as_ref() != Some(&value) {
            let next = next.map(|next| next.shown);
            all.push(difference(path, Some(value.shown), next, spooled));
        }
    }
    let added = after.into_iter();
    all.extend(added.map(|(path, value)| difference(path, None, Some(value.shown), spooled)));
    all.sort_by(|one, other| one.path.cmp(&other.path));
    all
}

/// Returns the differences as text, one line for each.
pub fn render_differences(differences: &[Difference]) -> String {
    let mut text = String::new();
    for Difference {
        path,
        before,
        after,
        force,
    } in differences
    {
        let change = match (before, after) {
            (Some(before), Some(after)) => format!("~ {path}: {before} -> {after}"),
            (None, Some(after)) => format!("+ {path}: {after}"),
            (Some(before), None) => format!("- {path}: {before}"),
            (None, None) => continue,
        };
        text.push_str(&change);
        if *force == Activation::NewProcess {
            text.push_str("  (takes a new process)");
        }
        text.push('\n');
    }
    if text.is_empty() {
        text.push_str("nothing is different\n");
    }
    text
}

fn difference(
    path: String,
    before: Option<String>,
    after: Option<String>,
    spooled: bool,
) -> Difference {
    let fixed = NEW_PROCESS.iter().any(|fixed| is_below(&path, fixed));
    let longer = spooled && is_longer(&path, before.as_deref(), after.as_deref());
    Difference {
        force: match fixed || longer {
            true => Activation::NewProcess,
            false => Activation::Reload,
        },
        path,
        before,
        after,
    }
}

/// Returns whether the change makes one of the timeouts longer from which a spool calculates how long one
/// process may remain the leader.
fn is_longer(path: &str, before: Option<&str>, after: Option<&str>) -> bool {
    let default = DeliveryConfig::default();
    let default_timeout = match path {
        "delivery.timeout" => default.timeout,
        "delivery.connect_timeout" => default.connect_timeout,
        _ => return false,
    };
    let timeout = |text: Option<&str>| text.and_then(units::duration).unwrap_or(default_timeout);
    timeout(after) > timeout(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "
listen: [127.0.0.1:8080]
projects:
  shop: {host: us, api_key: phc_one}
routes:
  - path: /hr/
    segment: {project: shop, write_keys: {wk_secret_one: shop}}
  - {path: /, host: a.example, origin: http://user:word@127.0.0.1:1}
server: {threads: 2}
limits: {body: 1MiB}
";

    #[test]
    fn each_change_has_its_path_and_no_secret_is_shown() {
        let after = BEFORE
            .replace("phc_one", "phc_two")
            .replace("wk_secret_one", "wk_secret_two")
            .replace("user:word", "user:other")
            .replace("threads: 2", "threads: 4")
            .replace("limits: {body: 1MiB}", "health: 127.0.0.1:9")
            .replace(
                "  - path: /hr/",
                "  - {path: /new/, posthog: shop}\n  - path: /hr/",
            );
        let found = render_differences(&differences(BEFORE, &after).unwrap());
        let expected = "\
+ health: 127.0.0.1:9
- limits.body: 1MiB
~ projects.shop.api_key: (hidden) -> (hidden)
~ routes[/hr/].segment.write_keys[0] key: (hidden) -> (hidden)
+ routes[/new/].path: /new/
+ routes[/new/].posthog: shop
~ routes[a.example/].origin: (hidden) -> (hidden)
~ server.threads: 2 -> 4  (takes a new process)
";
        assert_eq!(found, expected);
        let spooled = BEFORE.replace(
            "server:",
            "delivery: {timeout: 9s, spool: {path: spool}}\nserver:",
        );
        for (timeout, words) in [
            (
                "10s",
                "~ delivery.timeout: 9s -> 10s  (takes a new process)\n",
            ),
            ("8s", "~ delivery.timeout: 9s -> 8s\n"),
        ] {
            let after = spooled.replace("timeout: 9s", &format!("timeout: {timeout}"));
            let found = render_differences(&differences(&spooled, &after).unwrap());
            assert_eq!(found, words);
        }
        let same = render_differences(&differences(BEFORE, BEFORE).unwrap());
        assert_eq!(same, "nothing is different\n");
    }

    #[test]
    fn another_process_is_compared_by_its_digests() {
        let after = BEFORE.replace("phc_one", "phc_two");
        let sealed = |text: &str, salt: &[u8]| outline_of(text).unwrap().sealed(salt);
        let sent = sealed(BEFORE, b"one").to_json();
        let text = sent.to_string();
        for secret in ["phc_one", "wk_secret_one", "user:word"] {
            assert!(!text.contains(secret), "{text}");
        }
        let received = || SealedOutline::from_json(&sent).unwrap();
        let compared = |text: &str, salt| differences_of(received(), sealed(text, salt));
        assert_eq!(compared(BEFORE, b"one"), []);
        let found = compared(&after, b"one");
        let paths: Vec<&str> = found.iter().map(|found| found.path.as_str()).collect();
        assert_eq!(paths, ["projects.shop.api_key"]);
        // With different salts no two values are equal.
        assert_eq!(compared(BEFORE, b"two").len(), 4);
    }

    #[test]
    fn settings_that_need_a_new_process_keep_the_running_value() {
        let after = BEFORE
            .replace("threads: 2", "threads: 4")
            .replace("body: 1MiB", "body: 2MiB");
        let outline = |text: &str| outline_of(text).unwrap();
        let running = outline(&after).keeping(&["server.threads"], &outline(BEFORE));
        let found = differences_of(running.sealed(b""), outline(&after).sealed(b""));
        let found = render_differences(&found);
        assert_eq!(found, "~ server.threads: 2 -> 4  (takes a new process)\n");
    }
}
