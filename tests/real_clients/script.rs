//! A script of `tests/clients` in Node, which reads commands on its standard input and answers each
//! with a line.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::installed::{clients, Prerequisite};

/// Longer than the scripts' own timeouts, so that the test gets their error messages.
const PATIENCE: Duration = Duration::from_secs(150);

/// What happens to a script that still runs when its test ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenDropped {
    Killed,
    /// Its input closes; it closes what it has opened.
    Left,
}

pub struct Script {
    name: &'static str,
    process: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Script {
    /// Starts the script with this argument.
    pub fn start(name: &'static str, argument: &Value, when_dropped: WhenDropped) -> Self {
        let mut process = Command::new(Prerequisite::Node.path())
            .arg(name)
            .arg(argument.to_string())
            .current_dir(clients())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(when_dropped == WhenDropped::Killed)
            .spawn()
            .unwrap();
        Self {
            name,
            input: process.stdin.take().unwrap(),
            lines: BufReader::new(process.stdout.take().unwrap()).lines(),
            process,
        }
    }

    /// The next line of its output; `what` describes it in an error message.
    pub async fn line(&mut self, what: &str) -> String {
        match tokio::time::timeout(PATIENCE, self.lines.next_line()).await {
            Ok(Ok(Some(line))) => line,
            other => panic!("{} says nothing to {what}: {other:?}", self.name),
        }
    }

    /// The value in its answer `{"value": …}`; an error fails the test.
    pub async fn answer(&mut self, what: &str) -> Value {
        let line = self.line(what).await;
        let mut answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer.get("error"), None, "{what}");
        answer["value"].take()
    }

    /// Sends it a command and returns the answer.
    pub async fn tell(&mut self, order: &Value) -> Value {
        let order = format!("{order}\n");
        self.input.write_all(order.as_bytes()).await.unwrap();
        self.answer(&order).await
    }

    /// Closes its input and waits until it has ended with success; returns the rest of its output.
    pub async fn end(self) -> String {
        let Self {
            name,
            mut process,
            input,
            mut lines,
        } = self;
        drop(input);
        let ending = async {
            let mut said = String::new();
            while let Some(line) = lines.next_line().await.unwrap() {
                said.push_str(&line);
            }
            (said, process.wait().await.unwrap())
        };
        let ended = tokio::time::timeout(PATIENCE, ending).await;
        let (said, status) = ended.unwrap_or_else(|_| panic!("{name} does not end"));
        assert!(status.success(), "{name}: {status}: {said}");
        said
    }
}
