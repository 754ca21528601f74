//! Settings of the transport.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use aws_config::{BehaviorVersion, Region, SdkConfig, identity::IdentityCache, retry::RetryConfig};
use aws_config::{stalled_stream_protection::StalledStreamProtectionConfig, timeout::TimeoutConfig};
use aws_sdk_sqs::config::{Credentials, SharedHttpClient};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use longhaul_core::{
    address::Address,
    clock::{Clock, SystemClock},
    ids::{Randomness, SystemRandomness},
    transport::{TransportError, TransportErrorKind},
};

use crate::{
    backoff::Backoff,
    call::{Caller, Requests},
    checks::{check_endpoint, check_timing},
    health::HealthBoard,
    inner::{Events, Inner, check_account},
    lanes::Lanes,
    names::Names,
    queues::Queues,
    sqs::Sqs,
    timing::Timing,
    topics::Topics,
};

/// How long before they run out credentials are loaded anew.
const CREDENTIALS_AHEAD: Duration = Duration::from_secs(60);
/// To connect, TLS included.
const CONNECT: Duration = Duration::from_millis(3100);
/// To find the configuration: the machine may be asked for its region.
const LOAD: Duration = Duration::from_secs(15);

/// Builds an [`Sqs`].
#[derive(Clone)]
#[must_use = "a builder does nothing before `connect`"]
pub struct SqsBuilder {
    region: Option<String>,
    endpoint: Option<String>,
    is_emulator: bool,
    profile: Option<String>,
    account: Option<String>,
    prefix: String,
    events: Events,
    pollers: usize,
    long_delays: bool,
    ordered: BTreeSet<Address>,
    unsettled_bytes: usize,
    allow_plaintext: bool,
    timing: Timing,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
    http: Option<SharedHttpClient>,
}

impl SqsBuilder {
    pub(crate) fn new() -> Self {
        Self {
            region: None,
            endpoint: None,
            is_emulator: false,
            profile: None,
            account: None,
            prefix: String::new(),
            events: Events::Topics,
            pollers: 3,
            long_delays: false,
            ordered: BTreeSet::new(),
            unsettled_bytes: 128 * 1024 * 1024,
            allow_plaintext: false,
            timing: Timing::default(),
            clock: Arc::new(SystemClock),
            randomness: Arc::new(SystemRandomness),
            http: None,
        }
    }

    /// The region; else it is that of the environment, the profile or the machine.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// Another address than AWS's, for SQS and SNS alike: an emulator.
    pub fn endpoint_url(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// An emulator at this address, with a region, an account and credentials of its own: nothing is looked for on this machine.
    pub fn emulator(mut self, url: impl Into<String>) -> Self {
        self.region.get_or_insert_with(|| "us-east-1".to_owned());
        self.account.get_or_insert_with(|| "000000000000".to_owned());
        self.is_emulator = true;
        self.endpoint_url(url)
    }

    /// Allows an [address](Self::endpoint_url) on another machine without TLS: all messages are readable on the way.
    pub fn allow_plaintext(mut self) -> Self {
        self.allow_plaintext = true;
        self
    }

    /// The profile in AWS's configuration files; else it is that of the environment.
    pub fn profile(mut self, profile: impl Into<String>) -> Self {
        self.profile = Some(profile.into());
        self
    }

    /// The number of the account, for programs that publish events before they use any queue; else it is that of
    /// `AWS_ACCOUNT_ID`.
    pub fn account(mut self, account: impl Into<String>) -> Self {
        self.account = Some(account.into());
        self
    }

    /// What the names of all queues and topics begin with: ASCII letters, digits, `-` and `_`. Nothing by default.
    ///
    /// All endpoints of one system use the same. It counts towards the 80 characters of a queue's name.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Does without SNS: this program itself sends each of its events to these queues.
    ///
    /// The publisher says who gets an event, and subscribers say nothing: what they handle must be entered here. An
    /// event counts as sent when all of its queues have it; else it is sent again to all, under the same id. With this,
    /// events that are not named have no subscribers.
    pub fn subscribers<'a>(
        mut self,
        event: impl Into<String>,
        queues: impl IntoIterator<Item = &'a Address>,
    ) -> Self {
        let mut subscribers = match self.events {
            Events::ByPublisher(subscribers) => subscribers,
            Events::Topics => BTreeMap::new(),
        };
        let known: &mut Vec<Address> = subscribers.entry(event.into()).or_default();
        for queue in queues {
            if !known.contains(queue) {
                known.push(queue.clone());
            }
        }
        self.events = Events::ByPublisher(subscribers);
        self
    }

    /// Delays over 900 s for senders without a store, in both directions.
    ///
    /// Endpoints with a store don't need it: what is far ahead waits there, costs nothing, and can't be lost. With this, a
    /// program without one may send for up to a century later, to endpoints that have this set too: such an endpoint
    /// gets a second queue, `<its queue>-delay.fifo`, in which messages go round every 900 s, and takes care of it as long as
    /// it runs. That costs about a third of a request per message and lap, and three polls a minute.
    ///
    /// What waits there is lost when the endpoint does not run for 14 days, the longest that SQS keeps anything. A name has
    /// at most 69 characters then, prefix included.
    pub fn long_delays(mut self) -> Self {
        self.long_delays = true;
        self
    }

    /// These endpoints get their messages in order: their input queues are FIFO queues.
    ///
    /// The endpoints themselves say so, and all programs that send to them. Order is kept within a
    /// [group](longhaul_core::ordering::group): the saga instance that a message is for or from, or the ordering key that a
    /// pipeline step has set; a message without either is alone. See the [crate](crate#order) for what that holds and costs.
    pub fn ordered<'a>(mut self, queues: impl IntoIterator<Item = &'a Address>) -> Self {
        self.ordered.extend(queues.into_iter().cloned());
        self
    }

    /// The most polls of one queue at a time; 3 by default, at least 1.
    ///
    /// One polls always; the others join while full batches come. With 1, messages are handed out in the order in which
    /// SQS gives them, which for a standard queue is no promise.
    pub fn pollers(mut self, pollers: usize) -> Self {
        self.pollers = pollers.clamp(1, 16);
        self
    }

    /// How many bytes of messages a receiver may hold before it takes no more; 128 MiB by default.
    ///
    /// A poll that is under way may still bring ten.
    pub fn unsettled_bytes(mut self, bytes: usize) -> Self {
        self.unsettled_bytes = bytes.max(1);
        self
    }

    /// Other time limits.
    pub fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Another clock than the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Another source of randomness than the system's.
    pub fn randomness(mut self, randomness: Arc<dyn Randomness>) -> Self {
        self.randomness = randomness;
        self
    }

    /// A double for HTTP.
    #[cfg(test)]
    pub(crate) fn http(mut self, http: SharedHttpClient) -> Self {
        self.http = Some(http);
        self
    }

    /// Finds region and credentials in the SDK's usual places. Nothing is sent to SQS yet.
    ///
    /// # Errors
    ///
    /// There is no region, or a setting can't work.
    pub async fn connect(self) -> Result<Sqs, TransportError> {
        let names = Names::new(self.prefix.clone())?.ordered(self.ordered.clone())?;
        check_timing(&self.timing)?;
        if let Some(endpoint) = &self.endpoint {
            check_endpoint(endpoint, self.allow_plaintext)?;
        }
        let account = OnceLock::new();
        let number = self.account.clone();
        if let Some(number) = number.or_else(|| std::env::var("AWS_ACCOUNT_ID").ok()) {
            check_account(&number)?;
            account.get_or_init(|| number);
        }
        let config = tokio::time::timeout(LOAD, self.load()).await.map_err(|_| {
            TransportError::new(
                TransportErrorKind::Configuration,
                "connect to SQS: the configuration was not found in time; set AWS_REGION, or SqsBuilder::region",
            )
        })?;
        let Some(region) = config.region().map(ToString::to_string) else {
            return Err(TransportError::new(
                TransportErrorKind::Configuration,
                "connect to SQS: no region is set; set AWS_REGION, or SqsBuilder::region",
            ));
        };
        let limited = |attempt: Duration| {
            TimeoutConfig::builder()
                .connect_timeout(CONNECT)
                .operation_attempt_timeout(attempt)
                .build()
        };
        let client = |attempt| {
            let config = aws_sdk_sqs::config::Builder::from(&config).timeout_config(limited(attempt));
            aws_sdk_sqs::Client::from_conf(config.build())
        };
        let sns = aws_sdk_sns::config::Builder::from(&config).timeout_config(limited(self.timing.answer));
        let inner = Inner {
            sqs: client(self.timing.answer),
            polls: client(self.timing.wait + self.timing.poll_slack),
            sns: aws_sdk_sns::Client::from_conf(sns.build()),
            caller: Caller {
                backoff: Backoff::new(&self.timing, Arc::clone(&self.randomness)),
                health: Arc::new(HealthBoard::new()),
                requests: Requests::default(),
                timing: self.timing,
            },
            names,
            region,
            account,
            events: self.events,
            queues: Queues::default(),
            lanes: Lanes::default(),
            topics: Topics::default(),
            pollers: self.pollers,
            long_delays: self.long_delays,
            unsettled_bytes: self.unsettled_bytes,
            #[cfg(feature = "s3")]
            config,
            clock: self.clock,
            randomness: self.randomness,
        };
        Ok(Sqs::new(inner))
    }

    async fn load(&self) -> SdkConfig {
        let http = self.http.clone().unwrap_or_else(|| {
            aws_smithy_http_client::Builder::new()
                .tls_provider(Provider::Rustls(CryptoMode::Ring))
                .build_https()
        });
        let identity = IdentityCache::lazy()
            .buffer_time(CREDENTIALS_AHEAD)
            .load_timeout(self.timing.credentials)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http)
            .identity_cache(identity)
            // Retries are ours: a second try of the SDK's own could store a message twice, and take no notice of limits.
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(url) = &self.endpoint {
            loader = loader.endpoint_url(url);
        }
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        if self.is_emulator {
            loader = loader.credentials_provider(Credentials::new("test", "test", None, None, "emulator"));
        }
        #[cfg(test)]
        if self.http.is_some() {
            loader = loader.test_credentials();
        }
        loader.load().await
    }
}

impl fmt::Debug for SqsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An address can hold a password.
        f.debug_struct("SqsBuilder")
            .field("region", &self.region)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
