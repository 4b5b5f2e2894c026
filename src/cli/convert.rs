//! `hedgerow convert`: rewrites messages from files or standard input, and writes the events to standard
//! output.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::Args;
use hedgerow::config::{Action, Config, Project};
use hedgerow::posthog::{Batch, Envelope};
use hedgerow::rewrite::privacy::Signal;
use hedgerow::rewrite::{
    Arrival, Bounds, Explanations, MessageOutcome, Notice, Pulled, RewriteError, Rewriter, Signals,
    Timestamp, Watch, WrittenKey,
};
use hedgerow::segment::{Call, Kind, WriteKey, WriteKeys};

use super::command_end::CommandEnd;
use super::file::{self, KeyLookup};
use super::input_texts::{unpacked, ArrayPosition, InputTexts};
use super::output::complain;

#[derive(Debug, Args)]
pub(super) struct ConvertArgs {
    /// The files with messages, plain or gzip. Without a file, or for `-`, standard input.
    #[arg(value_name = "MESSAGES")]
    files: Vec<PathBuf>,
    /// The project of the events. The default is the project of the message's write key; if the
    /// message has no key, the first project of the configuration.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// The type of single messages, which the path of a request would contain. Messages of a batch
    /// contain their type.
    #[arg(long = "type", value_name = "TYPE", value_parser = message_type())]
    kind: Option<Kind>,
    /// The address of the client that sent the messages.
    #[arg(long, value_name = "IP")]
    client_ip: Option<IpAddr>,
    /// The time at which the messages arrived. Without it, `convert` corrects no times.
    #[arg(long, value_name = "RFC3339", value_parser = received_at)]
    received_at: Option<Timestamp>,
    /// Treat the request as if it had Sec-GPC: 1 (Global Privacy Control).
    #[arg(long)]
    gpc: bool,
    /// Treat the request as if it had DNT: 1 (Do Not Track).
    #[arg(long)]
    dnt: bool,
    /// Add the origin of each property to each line, as "explain".
    #[arg(long)]
    explain: bool,
}

/// Returns a parser that accepts the names of all calls and lists them in `--help`.
fn message_type() -> impl TypedValueParser<Value = Kind> {
    let names = PossibleValuesParser::new(Kind::ALL.iter().map(|kind| kind.name()));
    names.try_map(|name| Kind::of_type(&name).ok_or("no such call"))
}

fn received_at(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text)
        .ok_or_else(|| "expected a time such as 2026-11-23T21:05:57.793Z".to_owned())
}

/// Converts one text after another. A text that cannot be converted is reported, and the next one is
/// converted. Without a configuration, the defaults with one project are used.
pub(super) fn convert(config: Option<&Path>, options: &ConvertArgs) -> CommandEnd {
    let config = match config {
        None => Config::default_for_convert(),
        Some(path) => match file::load(path, KeyLookup::Needed) {
            Ok(config) => config,
            Err(end) => return end,
        },
    };
    let Some(projects) = ProjectChoice::of(&config, options.project.as_deref()) else {
        let name = options.project.as_deref().unwrap_or_default();
        complain!("hedgerow: there is no project named {name:?} in the configuration");
        return CommandEnd::Unable;
    };
    let bounds = Bounds {
        // A text is complete, not streamed: no key can arrive too late.
        window: usize::MAX,
        ..config.bounds
    };
    let lines = FileConversion {
        rewriter: Arc::new(Rewriter::new(config.mapping.clone(), bounds)),
        projects,
        options,
    };
    match lines.run(io::stdout().lock()) {
        Ok(end) => end,
        Err(InputOutputError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            CommandEnd::Well
        }
        Err(InputOutputError::Output(error)) => {
            complain!("hedgerow: standard output: {error}");
            CommandEnd::Unable
        }
        Err(InputOutputError::Input(name, error)) => {
            complain!("hedgerow: {name}: {error}");
            CommandEnd::Unable
        }
    }
}

struct FileConversion<'o> {
    rewriter: Arc<Rewriter>,
    projects: ProjectChoice<'o>,
    options: &'o ConvertArgs,
}

/// The project that gets the events of a message.
enum ProjectChoice<'c> {
    /// One project gets the events of all messages, whatever their keys.
    One(Arc<Project>),
    /// The `segment` routes choose the project by the write key.
    ByKey {
        routes: Vec<&'c WriteKeys<Arc<Project>>>,
        /// The project of messages without a key. Their key may be in a header, which is not known here.
        first: Arc<Project>,
    },
}

impl<'c> ProjectChoice<'c> {
    /// Returns `None` if there is no such project.
    fn of(config: &'c Config, name: Option<&str>) -> Option<Self> {
        if let Some(name) = name {
            return config.project(name).map(Arc::clone).map(Self::One);
        }
        let routes = config
            .routes
            .iter()
            .filter_map(|route| match &route.action {
                Action::Segment { write_keys, .. } => Some(write_keys),
                _ => None,
            });
        let routes: Vec<_> = routes.collect();
        let first = Arc::clone(config.projects.first()?);
        Some(match routes.is_empty() {
            true => Self::One(first),
            false => Self::ByKey { routes, first },
        })
    }

    /// Returns the project of this key. There is no path to choose the route, so a route that lists the key
    /// has priority over one that accepts any key. Returns `None` if `run` would answer 401 on all routes.
    fn choose(&self, key: Option<&WriteKey>) -> Option<&Arc<Project>> {
        let (routes, first) = match self {
            Self::One(project) => return Some(project),
            Self::ByKey { routes, first } => (routes, first),
        };
        if key.is_none() {
            return Some(first);
        }
        let listing = routes.iter().filter(|keys| keys.depends_on_key());
        let others = routes.iter().filter(|keys| !keys.depends_on_key());
        listing.chain(others).find_map(|keys| keys.target(key))
    }
}

/// The error that ended the conversion.
enum InputOutputError {
    /// The name of the input, and its error.
    Input(String, io::Error),
    Output(io::Error),
}

/// The reason why a text was refused.
enum UnusableInput {
    Body(RewriteError),
    /// The array has no end. Its messages were converted, but more may be missing.
    Unclosed,
    UnknownWriteKey,
}

impl From<RewriteError> for UnusableInput {
    fn from(error: RewriteError) -> Self {
        Self::Body(error)
    }
}

impl fmt::Display for UnusableInput {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(error) => write!(formatter, "{}: {error}", error.code()),
            Self::Unclosed => formatter.write_str("unclosed_array: the array has no end"),
            Self::UnknownWriteKey => formatter.write_str(
                "unknown_write_key: no `segment` route of the configuration accepts its write key",
            ),
        }
    }
}

impl FileConversion<'_> {
    fn run(&self, output: impl Write) -> Result<CommandEnd, InputOutputError> {
        let mut output = BufWriter::new(output);
        let mut end = CommandEnd::Well;
        let mut number = 0;
        let standard = [PathBuf::from("-")];
        let files = match self.options.files.as_slice() {
            [] => &standard,
            files => files,
        };
        for path in files {
            let standard = path.as_os_str() == "-";
            let (name, prefix) = match (standard, files.len()) {
                (true, 1) => ("standard input".to_owned(), String::new()),
                (true, _) => ("standard input".to_owned(), "standard input, ".to_owned()),
                (false, _) => {
                    let name = path.display().to_string();
                    (name.clone(), format!("{name}, "))
                }
            };
            let input_error = |error| InputOutputError::Input(name.clone(), error);
            let input: Box<dyn BufRead> = match standard {
                true => Box::new(io::stdin().lock()),
                false => Box::new(BufReader::new(File::open(path).map_err(input_error)?)),
            };
            let mut texts = InputTexts::new(unpacked(input).map_err(input_error)?);
            let mut before = 0;
            while let Some(text) = texts.next().map_err(input_error)? {
                number += 1;
                if text.place != ArrayPosition::Next {
                    before = 0;
                }
                let mut report = Report {
                    place: format!("{prefix}line {}", text.line),
                    before,
                    seen: 0,
                    event: Vec::new(),
                    explanation: Vec::new(),
                    refused: 0,
                };
                let result = match text.place {
                    ArrayPosition::Unclosed => Err(UnusableInput::Unclosed),
                    _ => self
                        .text(number, &text.bytes, &mut report, &mut output)
                        .map_err(InputOutputError::Output)?,
                };
                let place = match text.place {
                    ArrayPosition::First | ArrayPosition::Next => {
                        format!("{}, message {}", report.place, before + 1)
                    }
                    ArrayPosition::Alone | ArrayPosition::Unclosed => report.place.clone(),
                };
                // A text that is not a message still counts as one.
                before += report.seen.max(1);
                let refused = report.refused;
                if let Err(error) = &result {
                    complain!("{place}: refused: {error}");
                }
                if result.is_err() || refused > 0 {
                    end = CommandEnd::Refused;
                }
            }
        }
        output.flush().map_err(InputOutputError::Output)?;
        Ok(end)
    }

    /// Converts one text, event by event.
    fn text(
        &self,
        number: u64,
        text: &[u8],
        report: &mut Report,
        output: &mut impl Write,
    ) -> io::Result<Result<(), UnusableInput>> {
        let kind = self.options.kind;
        let call = kind.map_or(Call::Batch, Call::One);
        let mut body = self.rewriter.begin(Arrival {
            received_at: self.options.received_at,
            client_ip: self.options.client_ip,
            signals: self.options.signals(),
            // Not random: the same input gives the same output.
            nonce: u128::from(number),
            explanations: match self.options.explain {
                true => Explanations::On,
                false => Explanations::Off,
            },
            ..Arrival::new(call)
        });
        if let Err(error) = body.push(text) {
            return Ok(Err(error.into()));
        }
        body.end();
        let key = match body.write_key() {
            Ok(WrittenKey::Named(key)) => WriteKey::new(&key),
            Ok(WrittenKey::Missing | WrittenKey::NotYetKnown) => None,
            Err(error) => return Ok(Err(error.into())),
        };
        let Some(project) = self.projects.choose(key.as_ref()) else {
            return Ok(Err(UnusableInput::UnknownWriteKey));
        };
        let mut rewrite = body.address_to(Arc::new(project.recipient()));
        let envelope = Envelope::new(&project.api_key);
        loop {
            // With this limit, a batch is full after one event.
            let pulled = rewrite.pull(&mut Batch::open(&envelope), 1, report);
            if !report.event.is_empty() {
                let mut event = report.event.as_slice();
                if self.options.explain {
                    event = event.strip_suffix(b"}").unwrap_or(event);
                    output.write_all(event)?;
                    event = b"}";
                    output.write_all(b",\"explain\":")?;
                    output.write_all(&report.explanation)?;
                }
                output.write_all(event)?;
                output.write_all(b"\n")?;
                report.event.clear();
            }
            match pulled {
                Ok(Pulled::Full | Pulled::Paused) => {}
                Ok(Pulled::Starved | Pulled::Done) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error.into())),
            }
        }
    }
}

impl ConvertArgs {
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

/// Stores the event of a message, and prints why other messages did not become events.
struct Report {
    /// The position of the text in the input, as messages name it.
    place: String,
    /// The number of messages of the same array before the text.
    before: usize,
    /// The number of messages in the text.
    seen: usize,
    /// The last event; empty after it has been written.
    event: Vec<u8>,
    /// The origins of the last event's properties, with `--explain`.
    explanation: Vec<u8>,
    refused: u64,
}

impl Watch for Report {
    fn message(&mut self, index: usize, _: &[u8], outcome: MessageOutcome<'_>) {
        let place = &self.place;
        self.seen = self.seen.max(index + 1);
        // People count from 1.
        let number = self.before + index + 1;
        match outcome {
            MessageOutcome::Event(event) => self.event.extend_from_slice(event),
            MessageOutcome::LeftOut(omission) => {
                complain!(
                    "{place}, message {number}: left out: {}: {omission}",
                    omission.code()
                );
            }
            MessageOutcome::Refused(fault) => {
                self.refused += 1;
                complain!(
                    "{place}, message {number}: refused: {}: {fault}",
                    fault.code()
                );
            }
        }
    }

    fn explained(&mut self, _: usize, explanation: &[u8]) {
        self.explanation.clear();
        self.explanation.extend_from_slice(explanation);
    }

    fn notice(&mut self, notice: Notice<'_>) {
        let place = &self.place;
        let more = match notice {
            Notice::SixthGroupType { group_type } => format!(" ({group_type:?})"),
            _ => String::new(),
        };
        complain!("{place}: notice: {}: {notice}{more}", notice.code());
    }
}
