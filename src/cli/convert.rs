//! `hedgerow convert`: the rewriting alone, from standard input to standard output.

use std::io::{self, BufRead, BufWriter, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use hedgerow::config::Config;
use hedgerow::posthog::{Batch, Envelope};
use hedgerow::rewrite::privacy::Signal;
use hedgerow::rewrite::{
    Arrival, Bounds, Fate, Notice, Pulled, Recipient, RewriteError, Rewriter, Signals, Timestamp,
    Watch,
};
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
    /// As if the request had said Sec-GPC: 1 (Global Privacy Control).
    #[arg(long)]
    gpc: bool,
    /// As if the request had said DNT: 1 (Do Not Track).
    #[arg(long)]
    dnt: bool,
    /// Add to each line, as "explain", where each property came from.
    #[arg(long)]
    explain: bool,
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
        recipient: Arc::new(project.recipient()),
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
    recipient: Arc<Recipient>,
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
                event: Vec::new(),
                refused: 0,
            };
            let result = self.line(number, &line, &mut report, &mut output)?;
            let refused = report.refused;
            if let Err(error) = result {
                eprintln!("line {number}: refused: {}: {error}", error.code());
            }
            if result.is_err() || refused > 0 {
                end = End::Refused;
            }
        }
        output.flush()?;
        Ok(end)
    }

    /// Converts one line, event by event.
    fn line(
        &self,
        number: u64,
        line: &[u8],
        report: &mut Report,
        output: &mut impl Write,
    ) -> io::Result<Result<(), RewriteError>> {
        let call = match self.options.kind {
            Some(kind) if !hedgerow::rewrite::is_batch(line) => Call::One(kind.into()),
            _ => Call::Batch,
        };
        let mut rewrite = self.rewriter.begin(Arrival {
            received_at: self.options.received_at,
            client_ip: self.options.client_ip,
            signals: self.options.signals(),
            // Not random: the same input gives the same output.
            nonce: u128::from(number),
            ..Arrival::new(call)
        });
        rewrite.address_to(Arc::clone(&self.recipient));
        if self.options.explain {
            rewrite.explain();
        }
        if let Err(error) = rewrite.push(line) {
            return Ok(Err(error));
        }
        rewrite.end();
        loop {
            // Any batch with one event in it is full.
            let pulled = rewrite.pull(&mut Batch::open(&self.envelope), 1, report);
            if !report.event.is_empty() {
                let mut event = report.event.as_slice();
                if self.options.explain {
                    event = event.strip_suffix(b"}").unwrap_or(event);
                    output.write_all(event)?;
                    event = b"}";
                    write!(output, ",\"explain\":{}", rewrite.explanation())?;
                }
                output.write_all(event)?;
                output.write_all(b"\n")?;
                report.event.clear();
            }
            match pulled {
                Ok(Pulled::Full | Pulled::Paused) => {}
                Ok(Pulled::Starved | Pulled::Done) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error)),
            }
        }
    }
}

impl Options {
    fn signals(&self) -> Signals {
        let signal = |given| match given {
            true => Signal::Given,
            false => Signal::Absent,
        };
        Signals {
            global_privacy_control: signal(self.gpc),
            do_not_track: signal(self.dnt),
        }
    }
}

/// Keeps the event of a message, and says why others are none.
struct Report {
    number: u64,
    /// The last event; empty when it has been written.
    event: Vec<u8>,
    refused: u64,
}

impl Watch for Report {
    fn message(&mut self, index: usize, _: &[u8], fate: Fate<'_>) {
        let number = self.number;
        match fate {
            Fate::Event(event) => self.event.extend_from_slice(event),
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

    fn notice(&mut self, notice: Notice<'_>) {
        let number = self.number;
        eprint!("line {number}: notice: {}: {notice}", notice.code());
        match notice {
            Notice::SixthGroupType { group_type } => eprintln!(" ({group_type:?})"),
            _ => eprintln!(),
        }
    }
}
