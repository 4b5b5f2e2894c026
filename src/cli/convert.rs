//! `hedgerow convert`: the rewriting alone, from standard input to standard output.

use std::io::{self, BufRead, BufWriter, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use hedgerow::config::Config;
use hedgerow::posthog::{Batch, Envelope};
use hedgerow::rewrite::{Arrival, Bounds, Fate, RewriteError, Rewriter, Timestamp, Watch};
use hedgerow::segment::{Call, Kind};

use super::End;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The configuration; without it the defaults with one project.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The project that the events are for; without it the configuration's first one.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// What single messages are, as the path of a tracking call says it; batches name it themselves.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<MessageType>,
    /// The client's address, for messages whose library cannot know it.
    #[arg(long, value_name = "IP")]
    client_ip: Option<IpAddr>,
    /// When the messages arrived; without it no time is corrected.
    #[arg(long, value_name = "RFC3339", value_parser = received_at)]
    received_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum MessageType {
    Track,
    Page,
    Screen,
    Identify,
    Group,
    Alias,
}

impl From<MessageType> for Kind {
    fn from(named: MessageType) -> Self {
        match named {
            MessageType::Track => Self::Track,
            MessageType::Page => Self::Page,
            MessageType::Screen => Self::Screen,
            MessageType::Identify => Self::Identify,
            MessageType::Group => Self::Group,
            MessageType::Alias => Self::Alias,
        }
    }
}

fn received_at(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text)
        .ok_or_else(|| "expected a time such as 2026-11-23T21:05:57.793Z".to_owned())
}

/// Converts line by line. A line that is no message is reported, and the next one is taken.
pub(super) fn convert(options: &Options) -> End {
    let config = match &options.config {
        None => Config::default_for_convert(),
        Some(path) => match super::load(path) {
            Ok(config) => config,
            Err(end) => return end,
        },
    };
    let project = match &options.project {
        None => config.projects.first(),
        Some(name) => config.projects.iter().find(|project| project.name == *name),
    };
    let Some(project) = project else {
        let name = options.project.as_deref().unwrap_or_default();
        eprintln!("hedgerow: there is no project named {name:?} in the configuration");
        return End::Unable;
    };
    let bounds = Bounds {
        // A line is all there: nothing streams, and nothing can come too late.
        window: usize::MAX,
        ..config.bounds
    };
    let lines = Lines {
        rewriter: Arc::new(Rewriter::new(config.mapping.clone(), bounds)),
        envelope: Envelope::new(&project.api_key),
        options,
    };
    match lines.run(io::stdin().lock(), io::stdout().lock()) {
        Ok(end) => end,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => End::Well,
        Err(error) => {
            eprintln!("hedgerow: {error}");
            End::Unable
        }
    }
}

struct Lines<'o> {
    rewriter: Arc<Rewriter>,
    envelope: Envelope,
    options: &'o Options,
}

impl Lines<'_> {
    fn run(&self, mut input: impl BufRead, output: impl Write) -> io::Result<End> {
        let mut output = BufWriter::new(output);
        let mut line = Vec::new();
        let mut end = End::Well;
        for number in 1_u64.. {
            line.clear();
            if input.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let mut report = Report {
                number,
                output: &mut output,
                refused: 0,
                failure: None,
            };
            let result = self.line(number, &line, &mut report);
            if let Some(failure) = report.failure.take() {
                return Err(failure);
            }
            let refused = report.refused;
            if let Err(error) = result {
                eprintln!("line {number}: {}: {error}", error.code());
            }
            if result.is_err() || refused > 0 {
                end = End::Refused;
            }
        }
        output.flush()?;
        Ok(end)
    }

    fn line(&self, number: u64, line: &[u8], report: &mut dyn Watch) -> Result<(), RewriteError> {
        let call = match self.options.kind {
            Some(kind) if !hedgerow::rewrite::is_batch(line) => Call::One(kind.into()),
            _ => Call::Batch,
        };
        let mut rewrite = self.rewriter.begin(Arrival {
            received_at: self.options.received_at,
            client_ip: self.options.client_ip,
            // Not random: the same input gives the same output.
            nonce: u128::from(number),
            ..Arrival::new(call)
        });
        rewrite.push(line)?;
        rewrite.end();
        let mut batch = Batch::open(&self.envelope);
        rewrite.pull(&mut batch, usize::MAX, report)?;
        Ok(())
    }
}

/// Writes each event as a line, and says why others are none.
struct Report<'w, W: Write> {
    number: u64,
    output: &'w mut W,
    refused: u64,
    failure: Option<io::Error>,
}

impl<W: Write> Watch for Report<'_, W> {
    fn message(&mut self, index: usize, _: &[u8], fate: Fate<'_>) {
        let number = self.number;
        match fate {
            Fate::Event(event) => {
                let written = self
                    .output
                    .write_all(event)
                    .and_then(|()| self.output.write_all(b"\n"));
                if let Err(error) = written {
                    self.failure.get_or_insert(error);
                }
            }
            Fate::LeftOut(omission) => {
                eprintln!(
                    "line {number}, message {index}: left out: {}: {omission}",
                    omission.code()
                );
            }
            Fate::Refused(fault) => {
                self.refused += 1;
                eprintln!(
                    "line {number}, message {index}: refused: {}: {fault}",
                    fault.code()
                );
            }
        }
    }
}
