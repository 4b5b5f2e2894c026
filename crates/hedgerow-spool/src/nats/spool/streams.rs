//! The three streams of a distributed spool: what waits, the dead letters, and who drains.

use std::time::Duration;

use async_nats::jetstream::consumer::{pull, AckPolicy, Consumer, DeliverPolicy};
use async_nats::jetstream::context::{GetStreamErrorKind, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{
    Config, ConsumerErrorKind, DiscardPolicy, RetentionPolicy, StorageType, Stream,
};
use async_nats::jetstream::{Context, ErrorCode};
use serde::Deserialize;
use tokio::time::Instant;

use super::connection::NatsConnection;
use super::faults::NotPublished;
use super::fitness::{self, Purpose, Unfit};
use super::{names, remote, NatsSettings};
use crate::error::SpoolError;

/// The server gives a message out again after this, unless it has been acknowledged. A new leader
/// makes the consumer again and need not wait for it.
const ACK_WAIT: Duration = Duration::from_secs(300);

/// Copies of each message in a cluster: one server may be lost.
const REPLICAS: usize = 3;

/// How long the streams recognise a message that is published again.
const DUPLICATES: Duration = Duration::from_secs(300);

/// Messages that a consumer may have given out and that are not acknowledged. More than the replay
/// ever has at once.
pub(super) const GIVEN_OUT: i64 = 100_000;

/// Bytes of all leads: some hundred bytes for each project. The record of ages has as many.
const LEAD_BYTES: i64 = 256 << 10;

pub(super) struct Streams {
    pub(super) context: Context,
    pub(super) waiting: Stream,
    pub(super) dead: Stream,
    name: String,
    lead: Duration,
    leads: Option<Stream>,
    /// For streams that are made later.
    replicas: usize,
}

/// When a stream was created: a stream that was deleted and created again does not hold the earlier
/// messages.
pub(super) type Created = String;

/// When this stream was made.
pub(super) fn created(stream: &Stream) -> Created {
    format!("{:?}", stream.cached_info().created)
}

/// A lead that this process holds.
#[derive(Debug, Clone)]
pub(super) struct HeldLead {
    sequence: u64,
    /// The stream that it was taken in.
    made: Option<Created>,
    until: Instant,
    renew: Duration,
}

impl HeldLead {
    pub(super) fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Whether it is still valid: it has not expired, and its stream exists.
    pub(super) fn is_valid(&self, streams: &Streams) -> bool {
        !self.left().is_zero() && self.made == streams.leads.as_ref().map(created)
    }

    pub(super) fn is_to_be_renewed(&self) -> bool {
        self.left() < self.renew
    }
}

impl Streams {
    /// Finds the streams, or makes those that are not there. Streams that an operator has made are
    /// used as they are.
    pub(super) async fn open(
        connection: &NatsConnection,
        settings: &NatsSettings,
    ) -> Result<Self, SpoolError> {
        let opened = Self::open_all(connection, settings).await;
        opened.map_err(|error| connection.explain(error))
    }

    async fn open_all(
        connection: &NatsConnection,
        settings: &NatsSettings,
    ) -> Result<Self, SpoolError> {
        let (client, context) = (&connection.client, &connection.context);
        // Asked only now: before the first answer it is unknown whether it is a cluster.
        let in_cluster = client.server_info().cluster.is_some();
        let replicas = settings
            .replicas
            .unwrap_or(if in_cluster { REPLICAS } else { 1 });
        let base = |suffix: &str, subject: &str| Config {
            name: format!("{}{suffix}", settings.stream),
            subjects: vec![format!("{}.{subject}.*", settings.stream)],
            storage: StorageType::File,
            duplicate_window: DUPLICATES,
            num_replicas: replicas,
            ..Config::default()
        };
        let max_bytes = i64::try_from(settings.max_size).unwrap_or(i64::MAX);
        let max_bytes = match find(context, &settings.stream).await? {
            Some(_) => max_bytes,
            None => most_bytes(context, max_bytes).await,
        };
        let waiting = Config {
            // Delivered messages leave the stream; messages that do not fit are refused, not
            // dropped.
            retention: RetentionPolicy::WorkQueue,
            discard: DiscardPolicy::New,
            max_bytes,
            ..base("", "events")
        };
        let dead = Config {
            discard: DiscardPolicy::Old,
            max_bytes: max_bytes / 10,
            ..base("_DEAD", "dead")
        };
        let lead = Config {
            discard: DiscardPolicy::Old,
            max_messages_per_subject: 1,
            // Some accounts require a bound.
            max_bytes: LEAD_BYTES,
            max_age: settings.lead,
            duplicate_window: settings.lead,
            ..base("_LEAD", "lead")
        };
        let waiting = find_or_create(context, waiting, Purpose::Waiting).await?;
        let dead = find_or_create(context, dead, Purpose::DeadLetters).await?;
        let lead = find_or_create(context, lead, Purpose::Rest).await?;
        for stream in [&waiting, &dead] {
            connection.remove_max_age(stream).await;
        }
        let mut kept = lead.cached_info().config.clone();
        if kept.max_age < settings.lead {
            // Made for shorter deliveries than ours: with that, we could never lead.
            kept.max_age = settings.lead;
            let changed = context.update_stream(&kept).await;
            changed.map_err(|error| remote("make its leads longer", error))?;
        }
        Ok(Self {
            context: context.clone(),
            waiting,
            dead,
            name: settings.stream.clone(),
            // The stream's own value counts, whichever process created it.
            lead: kept.max_age,
            leads: Some(lead),
            replicas,
        })
    }

    /// Finds the streams, or returns which one is missing.
    pub(super) async fn find(
        connection: &NatsConnection,
        settings: &NatsSettings,
    ) -> Result<Self, SpoolError> {
        let found = Self::find_all(connection, settings).await;
        found.map_err(|error| connection.explain(error))
    }

    async fn find_all(
        connection: &NatsConnection,
        settings: &NatsSettings,
    ) -> Result<Self, SpoolError> {
        let context = &connection.context;
        let required = |suffix: &str| {
            let name = format!("{}{suffix}", settings.stream);
            async move {
                let found = find(context, &name).await?;
                found.ok_or(SpoolError::NoStream(name))
            }
        };
        Ok(Self {
            context: context.clone(),
            waiting: required("").await?,
            dead: required("_DEAD").await?,
            name: settings.stream.clone(),
            lead: settings.lead,
            leads: None,
            replicas: 1,
        })
    }

    /// Whether a process could use the streams: those that are there are fit, and the others can be made,
    /// as far as that is known without making them.
    pub(super) async fn examine(
        connection: &NatsConnection,
        settings: &NatsSettings,
    ) -> Result<(), SpoolError> {
        let context = &connection.context;
        let unfit = |unfit: Unfit| remote("use its streams", unfit);
        for (suffix, subject, purpose) in [
            ("", "events.*", Purpose::Waiting),
            ("_DEAD", "dead.*", Purpose::DeadLetters),
            ("_LEAD", "lead.*", Purpose::Rest),
            ("_AGE", "age", Purpose::Rest),
        ] {
            let name = format!("{}{suffix}", settings.stream);
            let subject = format!("{}.{subject}", settings.stream);
            if let Some(stream) = find(context, &name).await? {
                let config = &stream.cached_info().config;
                fitness::check(config, &subject, purpose).map_err(unfit)?;
            } else if let Ok(other) = context.stream_by_subject(&subject).await {
                return Err(unfit(Unfit::takes_subject(other, &subject)));
            } else if settings.replicas.is_some_and(|replicas| replicas > 1)
                && connection.client.server_info().cluster.is_none()
            {
                return Err(unfit(Unfit::without_cluster(name)));
            }
        }
        Ok(())
    }

    /// Whether all of them still exist, unchanged. The facts about a deleted one are void.
    pub(super) async fn all_exist(&self) -> Result<bool, SpoolError> {
        for known in [Some(&self.waiting), Some(&self.dead), self.leads.as_ref()] {
            let Some(known) = known else { continue };
            let found = find(&self.context, &known.cached_info().config.name).await?;
            if found.is_none_or(|found| created(&found) != created(known)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The largest message, including its headers, that the stream of waiting events accepts by its
    /// own limit.
    pub(super) fn largest_message(&self) -> Option<usize> {
        let bound = self.waiting.cached_info().config.max_message_size;
        usize::try_from(bound).ok().filter(|bound| *bound > 0)
    }

    pub(super) fn events_of(&self, project: &str) -> String {
        format!("{}.events.{}", self.name, names::token(project))
    }

    pub(super) fn dead_of(&self, project: &str) -> String {
        format!("{}.dead.{}", self.name, names::token(project))
    }

    fn lead_of(&self, project: &str) -> String {
        format!("{}.lead.{}", self.name, names::token(project))
    }

    /// The subject of the record of ages.
    pub(super) fn age_subject(&self) -> String {
        format!("{}.age", self.name)
    }

    /// The stream of the record of ages, which is made if it is not there.
    pub(super) async fn ages(&self) -> Result<Stream, SpoolError> {
        let config = Config {
            name: format!("{}_AGE", self.name),
            subjects: vec![self.age_subject()],
            storage: StorageType::File,
            discard: DiscardPolicy::Old,
            max_messages: 1,
            // Some accounts require a bound.
            max_bytes: LEAD_BYTES,
            num_replicas: self.replicas,
            ..Config::default()
        };
        find_or_create(&self.context, config, Purpose::Rest).await
    }

    /// The subject on which the leader notifies the others about its end.
    pub(super) fn end_of(&self, project: &str) -> String {
        format!("{}.end.{}", self.name, names::token(project))
    }

    /// All of these.
    pub(super) fn all_ends(&self) -> String {
        format!("{}.end.*", self.name)
    }

    /// All subjects of waiting events, for the count of what waits.
    pub(super) fn all_events(&self) -> String {
        format!("{}.events.*", self.name)
    }

    /// All subjects of dead letters.
    pub(super) fn all_dead(&self) -> String {
        format!("{}.dead.*", self.name)
    }

    /// The project of a subject.
    pub(super) fn project_of(&self, subject: &str) -> Option<String> {
        let kind_and_token = subject
            .strip_prefix(self.name.as_str())?
            .strip_prefix('.')?;
        names::project(kind_and_token.split_once('.')?.1)
    }

    /// Takes the lead of a project, or renews it; nothing if another process has it.
    ///
    /// The last message of a subject is the lead, and it expires by its age. A new one has to name
    /// the number of the one before, or 0 for none: of two that try, the server accepts only one.
    pub(super) async fn lead(
        &self,
        project: &str,
        held: Option<&HeldLead>,
    ) -> Result<Option<HeldLead>, SpoolError> {
        // Counted from before the request: by the server's clock it lasts longer.
        let until = Instant::now() + self.lead;
        let message = PublishMessage::build()
            .expected_last_subject_sequence(held.map_or(0, |held| held.sequence));
        let published = match self
            .context
            .send_publish(self.lead_of(project), message)
            .await
        {
            Ok(acknowledged) => acknowledged.await,
            Err(error) => Err(error),
        };
        match published {
            Ok(published) => Ok(Some(HeldLead {
                sequence: published.sequence,
                made: self.leads.as_ref().map(created),
                until,
                renew: self.lead / 6 * 5,
            })),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(None),
            Err(error) => Err(remote("take the lead", NotPublished::from(error))),
        }
    }

    /// Gives a lead up at once.
    pub(super) async fn resign(&self, project: &str) -> Result<(), SpoolError> {
        let stream = self
            .context
            .get_stream(format!("{}_LEAD", self.name))
            .await
            .map_err(|error| remote("give up the lead", error))?;
        stream
            .purge()
            .filter(self.lead_of(project))
            .await
            .map_err(|error| remote("give up the lead", error))?;
        Ok(())
    }

    /// The durable consumer of a project. A new leader creates it again: then messages that the
    /// previous leader had taken and not acknowledged come first again, instead of after everything
    /// else.
    pub(super) async fn consumer(
        &self,
        project: &str,
    ) -> Result<Consumer<pull::Config>, SpoolError> {
        let name = format!("replay-{}", names::token(project));
        if let Err(error) = self.waiting.delete_consumer(&name).await {
            log::debug!("there was no consumer before: {error}");
        }
        let mut given_out = match allowed(&self.context).await.max_ack_pending {
            bound @ 1.. => bound.min(GIVEN_OUT),
            _ => GIVEN_OUT,
        };
        loop {
            let made = self
                .waiting
                .create_consumer(pull::Config {
                    durable_name: Some(name.clone()),
                    filter_subject: self.events_of(project),
                    deliver_policy: DeliverPolicy::All,
                    ack_policy: AckPolicy::Explicit,
                    ack_wait: ACK_WAIT,
                    max_ack_pending: given_out,
                    ..pull::Config::default()
                })
                .await;
            match made {
                // The server's own limit, which the account does not show.
                Err(error) if given_out > 1 && is_over_limit(&error.kind()) => given_out /= 2,
                made => return made.map_err(|error| remote("make its consumer", error)),
            }
        }
    }
}

fn is_over_limit(kind: &ConsumerErrorKind) -> bool {
    match kind {
        ConsumerErrorKind::JetStream(told) => {
            told.error_code() == ErrorCode::CONSUMER_MAX_PENDING_ACK_EXCESS
        }
        _ => false,
    }
}

/// The limits of an account; zero or less means no limit. Older servers send fewer fields than the
/// client library expects.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AccountLimits {
    max_ack_pending: i64,
    max_storage: i64,
    storage_max_stream_bytes: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AccountInfo {
    limits: AccountLimits,
}

/// The limits of the account, as far as the server reports them.
async fn allowed(context: &Context) -> AccountLimits {
    match context.request("INFO", &serde_json::json!({})).await {
        Ok(Response::Ok(AccountInfo { limits })) => limits,
        Ok(Response::Err { error }) => {
            log::debug!("the account's limits are not known: {error}");
            AccountLimits::default()
        }
        Err(error) => {
            log::debug!("the account's limits are not known: {error}");
            AccountLimits::default()
        }
    }
}

/// The bytes of the largest stream: as many as are wanted, or as the account allows. A tenth is for
/// the dead letters.
async fn most_bytes(context: &Context, wanted: i64) -> i64 {
    let allowed = allowed(context).await;
    let in_all = allowed.max_storage.saturating_sub(2 * LEAD_BYTES) / 11 * 10;
    let bounds = [allowed.storage_max_stream_bytes, in_all];
    let most = bounds.into_iter().filter(|bound| *bound > 0).min();
    match most {
        Some(most) if most < wanted => {
            log::warn!("the account has space for {most} bytes of events, less than `max_size`");
            most
        }
        _ => wanted,
    }
}

async fn find_or_create(
    context: &Context,
    config: Config,
    purpose: Purpose,
) -> Result<Stream, SpoolError> {
    if let Some(stream) = find(context, &config.name).await? {
        for subject in &config.subjects {
            fitness::check(&stream.cached_info().config, subject, purpose)
                .map_err(|unfit| remote("use its streams", unfit))?;
        }
        return Ok(stream);
    }
    let name = config.name.clone();
    let made = context.create_stream(config).await;
    let made = made.map_err(|error| remote("make its streams", error))?;
    log::info!("the stream {name} did not exist and has been created");
    Ok(made)
}

/// The stream of this name, if there is one.
pub(super) async fn find(context: &Context, name: &str) -> Result<Option<Stream>, SpoolError> {
    match context.get_stream(name).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(told)
                if told.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(None)
            }
            _ => Err(remote("find its streams", error)),
        },
    }
}
