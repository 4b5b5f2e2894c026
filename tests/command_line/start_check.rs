//! `check` reports everything that prevents `run` from starting.

use std::process::{Command, Stdio};

/// An address that no machine has (RFC 5737).
const NOWHERE: &str = "192.0.2.1:9";

#[test]
fn what_a_start_fails_with_is_said_by_check_and_by_run_in_the_same_words() {
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path();
    std::fs::write(there.join("a-file"), "").unwrap();
    std::fs::create_dir(there.join("a-folder")).unwrap();
    let path = |name: &str| {
        format!(
            "server: {{upgrade_socket: {}}}\n",
            there.join(name).display()
        )
    };
    let mut wrong = Vec::new();
    for (name, more, words) in [
        ("listen", format!("listen: {NOWHERE}\n"), "cannot listen on"),
        ("admin", format!("admin: {NOWHERE}\n"), "cannot listen on"),
        ("health", format!("health: {NOWHERE}\n"), "cannot listen on"),
        (
            "a folder",
            path("a-folder"),
            "this path exists and is not a socket",
        ),
        (
            "a file",
            path("a-file"),
            "this path exists and is not a socket",
        ),
        ("below a file", path("a-file/x/y.sock"), "ot a directory"),
        (
            "a long name",
            path(&"x".repeat(100)),
            "path must be shorter",
        ),
    ] {
        let listen = if name == "listen" {
            ""
        } else {
            "listen: 127.0.0.1:0\n"
        };
        let yaml = format!(
            "{listen}{more}projects: {{shop: {{host: us, api_key: phc_aaaaaaaaaaaa}}}}\n\
             routes: [{{path: /hr/, segment: {{project: shop}}}}]\n\
             delivery: {{spool: \"off\"}}\n"
        );
        let file = there.join("hedgerow.yaml");
        std::fs::write(&file, yaml).unwrap();
        for command in ["check", "run"] {
            let mut asked = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
            asked.args([command, "-c"]).arg(&file);
            let done = asked.stdin(Stdio::null()).output().unwrap();
            let said = String::from_utf8_lossy(&done.stderr);
            if done.status.code() != Some(2) || !said.contains(words) {
                wrong.push(format!("{name}, {command}: {:?} {said}", done.status));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
