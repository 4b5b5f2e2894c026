//! systemd checks the unit.

use std::process::Command;

use super::{file, path, said};

const UNIT: &str = "packaging/systemd/hedgerow.service";
/// The highest allowed result of `systemd-analyze security`, of ten.
const EXPOSURE: f64 = 2.0;

/// Whether systemd-analyze exists and knows the flag; prints a message if not.
fn is_there() -> bool {
    let asked = Command::new("systemd-analyze")
        .args(["security", "--help"])
        .output();
    let there = asked.is_ok_and(|output| said(&output).contains("--offline"));
    if !there {
        println!("*** systemd-analyze cannot be had; the unit is NOT CHECKED. ***");
    }
    there
}

#[test]
fn systemd_takes_the_unit_without_a_word() {
    if !is_there() {
        return;
    }
    // This works although the binary is not installed.
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("hedgerow.service");
    let text = file(UNIT).replace("/usr/bin/hedgerow", env!("CARGO_BIN_EXE_hedgerow"));
    std::fs::write(&unit, text).unwrap();
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&unit)
        .output()
        .unwrap();
    // Ignores messages about other units of this machine.
    let said = said(&output);
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("hedgerow"))
        .collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}

#[test]
fn the_unit_exposes_little() {
    if !is_there() {
        return;
    }
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--no-pager"])
        .arg(path(UNIT))
        .output()
        .unwrap();
    let said = said(&output);
    let (_, level) = said.split_once("hedgerow.service: ").expect(&said);
    let level: f64 = level.split_whitespace().next().unwrap().parse().unwrap();
    assert!(level <= EXPOSURE, "{level}:\n{said}");
}

#[test]
fn the_unit_and_the_settings_of_the_package_name_the_same_places() {
    let unit = file(UNIT);
    let settings = file("packaging/debian/hedgerow.yaml");
    let credential = "posthog_api_key";
    for (place, text) in [
        (
            format!("LoadCredential={credential}:/etc/hedgerow/{credential}"),
            &unit,
        ),
        (
            format!("file:/run/credentials/hedgerow.service/{credential}"),
            &settings,
        ),
        ("StateDirectory=hedgerow\n".to_owned(), &unit),
        ("/var/lib/hedgerow/spool/".to_owned(), &settings),
        ("RuntimeDirectory=hedgerow\n".to_owned(), &unit),
        ("upgrade_socket: /run/hedgerow/".to_owned(), &settings),
    ] {
        assert!(text.contains(&place), "{place} is not in\n{text}");
    }
}
