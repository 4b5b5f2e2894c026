//! The streams of a distributed spool: the waiting events, the dead letters, the leads that state which
//! process drains, and the record of ages.

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
use super::faults::{remote, NotPublished};
use super::fitness::{self, Purpose, Unfit};
use super::names;
use super::settings::NatsSettings;
use crate::error::SpoolError;

/// The time after which the server delivers a message again that was not acknowledged. A new leader
/// creates the consumer again, so it need not wait for this time.
const ACK_WAIT: Duration = Duration::from_secs(300);

/// The default number of copies of each message in a cluster. With three, one server may be lost.
const REPLICAS: usize = 3;

/// How long the streams recognise a message that a process publishes again.
const DUPLICATES: Duration = Duration::from_secs(300);

/// The most messages that a consumer may have delivered and that are not yet acknowledged. The replay
/// never has this many at once.
pub(super) const GIVEN_OUT: i64 = 100_000;

/// The size limit of the stream of leads, in bytes. It holds one lead of some hundred bytes for each
/// project. The stream of the record of ages has the same limit.
const LEAD_BYTES: i64 = 256 << 10;

pub(super) struct Streams {
    pub(super) context: Context,
    pub(super) waiting: Stream,
    pub(super) dead: Stream,
    name: String,
    lead: Duration,
    leads: Option<Stream>,
    /// The number of copies in streams that are created later.
    replicas: usize,
}

/// When a stream was created. It tells a stream from one with the same name that was created again and
/// does not hold the earlier messages.
pub(super) type Created = String;

/// Returns when this stream was created.
pub(super) fn created(stream: &Stream) -> Created {
    format!("{:?}", stream.cached_info().created)
}

/// A lead that this process holds.
#[derive(Debug, Clone)]
pub(super) struct HeldLead {
    sequence: u64,
    /// When the stream of the lead was created.
    created: Option<Created>,
    until: Instant,
    renew: Duration,
}

impl HeldLead {
    pub(super) fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Returns whether the lead is still valid: it has not expired, and its stream was not created again.
    pub(super) fn is_valid(&self, streams: &Streams) -> bool {
        !self.left().is_zero() && self.created == streams.leads.as_ref().map(created)
    }

    pub(super) fn is_to_be_renewed(&self) -> bool {
        self.left() < self.renew
    }
}

impl Streams {
    /// Finds the streams, and creates those that do not exist. Streams that an operator has created are
    /// checked, and used with their limits, except that a limit on their age may be changed.
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
        // Read only now: before a server's first answer it is unknown whether it belongs to a cluster.
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
            // The stream removes delivered messages. It refuses messages that do not fit, and drops
            // none.
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
            // Some accounts require a limit.
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
        let mut lead_config = lead.cached_info().config.clone();
        if lead_config.max_age < settings.lead {
            // The stream was created for shorter deliveries. This process could never lead with its limit.
            lead_config.max_age = settings.lead;
            let changed = context.update_stream(&lead_config).await;
            changed.map_err(|error| remote("lengthen the lease of its leader", error))?;
        }
        Ok(Self {
            context: context.clone(),
            waiting,
            dead,
            name: settings.stream.clone(),
            // The value of the stream counts, whichever process created the stream.
            lead: lead_config.max_age,
            leads: Some(lead),
            replicas,
        })
    }

    /// Finds the streams that hold events, or returns the error that names the missing one.
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

    /// Checks whether a process could use the streams: whether the existing ones are fit, and whether the
    /// others can be created, as far as this is known without creating them.
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

    /// Returns whether all streams still exist and were not created again. Otherwise, what this process
    /// knows about them is no longer valid.
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

    /// Returns the size, in bytes and including headers, of the largest message that the stream of
    /// waiting events accepts. Returns `None` if the stream has no such limit.
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

    /// Returns the subject of the record of ages.
    pub(super) fn age_subject(&self) -> String {
        format!("{}.age", self.name)
    }

    /// Returns the stream of the record of ages. Creates it if it does not exist.
    pub(super) async fn ages(&self) -> Result<Stream, SpoolError> {
        let config = Config {
            name: format!("{}_AGE", self.name),
            subjects: vec![self.age_subject()],
            storage: StorageType::File,
            discard: DiscardPolicy::Old,
            max_messages: 1,
            // Some accounts require a limit.
            max_bytes: LEAD_BYTES,
            num_replicas: self.replicas,
            ..Config::default()
        };
        find_or_create(&self.context, config, Purpose::Rest).await
    }

    /// Returns the subject on which the leader notifies the other processes about the end of its drain.
    pub(super) fn end_of(&self, project: &str) -> String {
        format!("{}.end.{}", self.name, names::token(project))
    }

    /// Returns the subject that matches the notices of all projects.
    pub(super) fn all_ends(&self) -> String {
        format!("{}.end.*", self.name)
    }

    /// Returns the subject that matches the waiting events of all projects.
    pub(super) fn all_events(&self) -> String {
        format!("{}.events.*", self.name)
    }

    /// Returns the subject that matches the dead letters of all projects.
    pub(super) fn all_dead(&self) -> String {
        format!("{}.dead.*", self.name)
    }

    /// Returns the project of a subject, or `None` if the subject is none of this spool's.
    pub(super) fn project_of(&self, subject: &str) -> Option<String> {
        let kind_and_token = subject
            .strip_prefix(self.name.as_str())?
            .strip_prefix('.')?;
        names::project(kind_and_token.split_once('.')?.1)
    }

    /// Takes or renews the lead of a project. Returns `None` if another process has the lead.
    ///
    /// The last message of the project's subject is the lead. The server removes it when it reaches its
    /// maximum age. A new message has to state the number of the previous one, or 0 if there is none, so
    /// the server accepts only one of two processes that try.
    pub(super) async fn lead(
        &self,
        project: &str,
        held_lead: Option<&HeldLead>,
    ) -> Result<Option<HeldLead>, SpoolError> {
        // Counts from before the request, so the lead ends here before it ends at the server.
        let until = Instant::now() + self.lead;
        let message = PublishMessage::build()
            .expected_last_subject_sequence(held_lead.map_or(0, |held_lead| held_lead.sequence));
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
                created: self.leads.as_ref().map(created),
                until,
                renew: self.lead / 6 * 5,
            })),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(None),
            Err(error) => Err(remote("become the leader", NotPublished::from(error))),
        }
    }

    /// Gives up the lead of a project at once.
    pub(super) async fn resign(&self, project: &str) -> Result<(), SpoolError> {
        let stream = self
            .context
            .get_stream(format!("{}_LEAD", self.name))
            .await
            .map_err(|error| remote("stop being the leader", error))?;
        stream
            .purge()
            .filter(self.lead_of(project))
            .await
            .map_err(|error| remote("stop being the leader", error))?;
        Ok(())
    }

    /// Creates the durable consumer of a project again, as a new leader must. The new consumer delivers
    /// the messages first that the previous leader received and did not acknowledge. The old one would
    /// deliver them after all others.
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
            let result = self
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
            match result {
                // The server has a lower limit, which the account's limits do not include.
                Err(error) if given_out > 1 && is_over_limit(&error.kind()) => given_out /= 2,
                result => return result.map_err(|error| remote("create its consumer", error)),
            }
        }
    }
}

fn is_over_limit(kind: &ConsumerErrorKind) -> bool {
    match kind {
        ConsumerErrorKind::JetStream(error) => {
            error.error_code() == ErrorCode::CONSUMER_MAX_PENDING_ACK_EXCESS
        }
        _ => false,
    }
}

/// The limits of an account. Zero or less means no limit. The client library's own type requires fields
/// that older servers do not send.
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

/// Returns the limits of the account, as far as the server reports them.
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

/// Returns the size limit of the stream of waiting events, in bytes: `wanted`, or less if the account
/// allows less. The account must also have space for the dead letters, which take a tenth of this.
async fn most_bytes(context: &Context, wanted: i64) -> i64 {
    let allowed = allowed(context).await;
    let in_all = allowed.max_storage.saturating_sub(2 * LEAD_BYTES) / 11 * 10;
    let bounds = [allowed.storage_max_stream_bytes, in_all];
    let limit = bounds.into_iter().filter(|bound| *bound > 0).min();
    match limit {
        Some(limit) if limit < wanted => {
            log::warn!(
                "the NATS account has space for {limit} bytes of events, which is less than \
                 `max_size`"
            );
            limit
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
    let stream = context.create_stream(config).await;
    let stream = stream.map_err(|error| remote("create its streams", error))?;
    log::info!("the stream {name} did not exist and has been created");
    Ok(stream)
}

/// Returns the stream of this name, if it exists.
pub(super) async fn find(context: &Context, name: &str) -> Result<Option<Stream>, SpoolError> {
    match context.get_stream(name).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(error)
                if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(None)
            }
            _ => Err(remote("find its streams", error)),
        },
    }
}
