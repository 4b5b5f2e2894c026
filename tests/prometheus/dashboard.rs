//! The dashboard has everything that Grafana needs to show it, and queries only metrics that exist.

use std::collections::BTreeSet;

use serde_json::Value;

use super::rules::unknown;
use super::{file, promtool};

const DASHBOARD: &str = "conf/grafana/hedgerow.json";

fn dashboard() -> Value {
    serde_json::from_str(&file(DASHBOARD)).expect("JSON")
}

/// All expressions, each with its panel.
fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().unwrap_or("?").to_owned();
        for target in panel["targets"].as_array().into_iter().flatten() {
            all.push((
                title.clone(),
                target["expr"].as_str().expect("text").to_owned(),
            ));
        }
    }
    for annotation in dashboard["annotations"]["list"].as_array().expect("a list") {
        if let Some(expression) = annotation["expr"].as_str() {
            all.push(("annotations".to_owned(), expression.to_owned()));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().expect("a list") {
        if let Some(query) = variable["query"]["query"].as_str() {
            let inner = query.strip_prefix("label_values(").expect(query);
            let (metric, label) = inner.trim_end_matches(')').split_once(", ").expect(query);
            let asked = format!("count by ({label}) ({metric})");
            all.push((format!("variable {}", variable["name"]), asked));
        }
    }
    all
}

/// An expression of the dashboard for all instances and projects, with rates over this time.
fn asked(expression: &str, over: &str) -> String {
    expression
        .replace("$__rate_interval", over)
        .replace("$instance", ".*")
        .replace("$project", ".*")
}

/// All queries with their panels. Annotations are left out: they mark rare events, such as a start.
pub fn queries(over: &str) -> Vec<(String, String)> {
    let all = expressions(&dashboard()).into_iter();
    let all = all.filter(|(panel, _)| panel != "annotations");
    all.map(|(panel, expression)| (panel, asked(&expression, over)))
        .collect()
}

/// What a panel lacks, by Grafana's schema.
fn faults(panel: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let kind = panel["type"].as_str().unwrap_or_default();
    if !["row", "stat", "timeseries"].contains(&kind) {
        faults.push(format!("type {kind:?}"));
    }
    if panel["title"].as_str().is_none_or(str::is_empty) || !panel["id"].is_u64() {
        faults.push("a title and an id".to_owned());
    }
    let place = |side: &str| panel["gridPos"][side].as_u64();
    match [place("x"), place("y"), place("w"), place("h")] {
        [Some(x), Some(_), Some(1..), Some(1..)] if x + place("w").unwrap_or(25) <= 24 => {}
        other => faults.push(format!("a place in 24 columns, not {other:?}")),
    }
    if kind == "row" {
        return faults;
    }
    let of_the_variable = |value: &Value| {
        value["datasource"]["type"] == "prometheus" && value["datasource"]["uid"] == "${datasource}"
    };
    if !of_the_variable(panel) {
        faults.push("the chosen datasource".to_owned());
    }
    if !panel["fieldConfig"]["defaults"]["unit"].is_string()
        || !panel["fieldConfig"]["overrides"].is_array()
        || !panel["options"].is_object()
    {
        faults.push("fieldConfig and options".to_owned());
    }
    let targets = panel["targets"].as_array().map_or(&[][..], Vec::as_slice);
    let names: BTreeSet<&str> = targets
        .iter()
        .filter_map(|one| one["refId"].as_str())
        .collect();
    if targets.is_empty() || names.len() != targets.len() {
        faults.push("targets with names of their own".to_owned());
    }
    for target in targets {
        let said = ["expr", "legendFormat"];
        if !said.iter().all(|key| target[*key].is_string()) || !of_the_variable(target) {
            faults.push(format!("target {target}"));
        }
    }
    faults
}

#[test]
fn the_dashboard_has_the_form_that_grafana_needs() {
    let dashboard = dashboard();
    let mut wrong = Vec::new();
    for (key, is_there) in [
        ("title", dashboard["title"].is_string()),
        (
            "uid",
            dashboard["uid"].as_str().is_some_and(|uid| uid.len() <= 40),
        ),
        ("id", dashboard["id"].is_null()),
        (
            "schemaVersion",
            dashboard["schemaVersion"]
                .as_u64()
                .is_some_and(|version| version >= 36),
        ),
        (
            "time",
            dashboard["time"]["from"].is_string() && dashboard["time"]["to"].is_string(),
        ),
        ("tags", dashboard["tags"].is_array()),
        ("annotations", dashboard["annotations"]["list"].is_array()),
        (
            "templating",
            dashboard["templating"]["list"][0]["type"] == "datasource",
        ),
        ("refresh", dashboard["refresh"].is_string()),
    ] {
        if !is_there {
            wrong.push(format!("{key}: {}", dashboard[key]));
        }
    }
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<Option<u64>> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    if ids.len() != panels.len() {
        wrong.push("two panels have one id".to_owned());
    }
    let mut taken = BTreeSet::new();
    for panel in panels {
        let lacking = faults(panel);
        wrong.extend(
            lacking
                .iter()
                .map(|fault| format!("{}: lacks {fault}", panel["title"])),
        );
        let place = |side: &str| panel["gridPos"][side].as_u64().unwrap_or_default();
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                if !taken.insert((x, y)) {
                    wrong.push(format!("{}: lies on another at {x}, {y}", panel["title"]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Broken variants, to show that the checks find mistakes.
    for (pointer, value) in [
        ("/gridPos/w", Value::from(25)),
        ("/type", Value::from("graph2")),
        ("/targets", Value::Array(Vec::new())),
        ("/datasource/uid", Value::from("abc")),
        ("/targets/0/expr", Value::Null),
    ] {
        let mut panel = panels[1].clone();
        *panel.pointer_mut(pointer).expect(pointer) = value;
        assert!(!faults(&panel).is_empty(), "{pointer}");
    }
}

#[test]
fn every_expression_of_the_dashboard_is_valid_and_uses_existing_metrics() {
    let expressions = expressions(&dashboard());
    assert!(expressions.len() >= 30, "{}", expressions.len());
    let mut wrong = Vec::new();
    let mut rules = String::from("groups:\n- name: dashboard\n  rules:\n");
    for (number, (panel, expression)) in expressions.iter().enumerate() {
        wrong.extend(
            unknown(expression)
                .into_iter()
                .map(|what| format!("{panel}: {what}")),
        );
        let expression = asked(expression, "1m");
        if expression.contains('$') {
            wrong.push(format!("{panel}: an unknown variable in {expression}"));
        }
        let quoted = serde_json::to_string(&expression).expect("text");
        rules.push_str(&format!(
            "  - record: dashboard:{number}:expression\n    expr: {quoted}\n"
        ));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rules.yml");
    std::fs::write(&file, rules).expect("the folder is ours");
    promtool(&["check", "rules", file.to_str().expect("UTF-8")], "");
}
