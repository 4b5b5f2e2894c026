//! Runs this program under Valgrind, which counts its instructions.

use std::process::Command;

/// The instructions of one run of this program with these variables.
pub fn instructions(variables: &[(&str, String)]) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .output()
        .expect("valgrind is needed to count instructions");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let collected = said.split("Collected : ").nth(1);
    let digits = collected.and_then(|rest| rest.split_whitespace().next());
    digits
        .unwrap_or_else(|| panic!("{said}"))
        .parse::<u64>()
        .unwrap()
}
