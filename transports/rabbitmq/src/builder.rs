//! Settings of the transport, and the first connection.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::Duration,
};

use longhaul_core::{
    clock::{Clock, SystemClock},
    ids::{Randomness, SystemRandomness},
    transport::{TransportError, TransportErrorKind},
};

use crate::{
    backoff::Backoff,
    delay::DelayTopology,
    health::HealthBoard,
    link::Target,
    names::Names,
    plan::Plan,
    publish::{self, Settings},
    rabbit::RabbitMq,
    receive::ConsumerSettings,
    timing::Timing,
    tls,
    uri::{BrokerUri, UriError},
};

/// Builds a [`RabbitMq`].
#[derive(Clone)]
#[must_use = "a builder does nothing before `connect`"]
pub struct RabbitMqBuilder {
    uris: Vec<String>,
    allow_plaintext: bool,
    certificates: Option<Vec<u8>>,
    name: String,
    prefix: String,
    delay_unit: Duration,
    max_body: usize,
    unsettled_bytes: usize,
    timing: Timing,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
}

impl RabbitMqBuilder {
    pub(crate) fn new(uri: String) -> Self {
        Self {
            uris: vec![uri],
            allow_plaintext: false,
            certificates: None,
            name: "longhaul".to_owned(),
            prefix: "longhaul".to_owned(),
            delay_unit: Duration::from_secs(1),
            max_body: 8 * 1024 * 1024,
            unsettled_bytes: 128 * 1024 * 1024,
            timing: Timing::default(),
            clock: Arc::new(SystemClock),
            randomness: Arc::new(SystemRandomness),
        }
    }

    /// One more broker of the same cluster, tried when the others don't answer.
    pub fn or_at(mut self, uri: impl Into<String>) -> Self {
        self.uris.push(uri.into());
        self
    }

    /// Allows a connection without TLS to another machine: the password and all messages are readable on the way.
    pub fn allow_plaintext(mut self) -> Self {
        self.allow_plaintext = true;
        self
    }

    /// Certificate authorities to trust besides the system's, in PEM.
    pub fn certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.certificates = Some(pem.into());
        self
    }

    /// What the broker's list of connections shows; `longhaul` by default.
    pub fn connection_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// What the names of all exchanges and of the delay levels begin with; `longhaul` by default.
    ///
    /// All endpoints of one system use the same.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How long one unit of the delay levels is; a second by default. For tests, with a prefix of its own.
    pub fn delay_unit(mut self, unit: Duration) -> Self {
        self.delay_unit = unit;
        self
    }

    /// The largest body that is sent, in bytes; 8 MiB by default.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// How many bytes of bodies may be taken and not yet settled before nothing more is read; 128 MiB by default.
    ///
    /// AMQP limits only the number of messages that are taken ahead. Where handlers take longer than about 15 s to
    /// settle this much, the broker gives up the connection and the messages come again: then fewer are taken ahead.
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

    /// Connects to publish; the connection to consume is made with the first receiver.
    ///
    /// # Errors
    ///
    /// An address is bad, or would send the password unencrypted to another machine; the broker can't be reached or
    /// refuses the login.
    pub async fn connect(self) -> Result<RabbitMq, TransportError> {
        let target = Arc::new(self.target()?);
        let delays = DelayTopology::new(self.prefix.clone()).with_unit(self.delay_unit);
        let health = Arc::new(HealthBoard::new());
        let create = Arc::new(AtomicBool::new(true));
        let refusing = Arc::new(Mutex::new(HashMap::new()));
        let frame_bytes = Arc::new(AtomicUsize::new(0));
        let backoff = Backoff::new(&self.timing, Arc::clone(&self.randomness));
        let publisher = publish::start(Settings {
            target: Arc::clone(&target),
            delays: delays.clone(),
            create: Arc::clone(&create),
            clock: Arc::clone(&self.clock),
            health: Arc::clone(&health),
            refusing: Arc::clone(&refusing),
            frame_bytes: Arc::clone(&frame_bytes),
            backoff: backoff.clone(),
        });
        let (publisher, publishing) = publisher
            .await
            .map_err(|fault| fault.while_doing("connect to the broker"))?;
        let consumers = Arc::new(ConsumerSettings {
            target: Arc::clone(&target),
            health: Arc::clone(&health),
            backoff,
            link: tokio::sync::Mutex::new(None),
            plan: Mutex::new(Plan::default()),
            closed: AtomicBool::new(false),
        });
        Ok(RabbitMq {
            target,
            names: Names::new(self.prefix),
            delays,
            max_body: self.max_body,
            clock: self.clock,
            publisher: Mutex::new(Some(publisher)),
            publishing: tokio::sync::Mutex::new(Some(publishing)),
            consumers,
            create,
            health,
            refusing,
            frame_bytes,
        })
    }

    fn target(&self) -> Result<Target, TransportError> {
        let refused = |error: UriError| {
            TransportError::new(TransportErrorKind::Configuration, error.to_string()).with_source(error)
        };
        let mut uris = Vec::with_capacity(self.uris.len());
        for uri in &self.uris {
            let uri: BrokerUri = uri.parse().map_err(refused)?;
            if !uri.is_tls() && !uri.is_loopback() && !self.allow_plaintext {
                return Err(refused(UriError::Plaintext));
            }
            uris.push(uri);
        }
        let tls = if uris.iter().any(BrokerUri::is_tls) {
            let connector = tls::connector(self.certificates.as_deref());
            Some(connector.map_err(|error| {
                let text = format!("set up TLS ({error}): correct the certificates");
                TransportError::new(TransportErrorKind::Configuration, text).with_source(error)
            })?)
        } else {
            None
        };
        Ok(Target {
            uris,
            tls,
            timing: self.timing.clone(),
            name: self.name.clone(),
            unsettled_bytes: self.unsettled_bytes,
        })
    }
}

impl std::fmt::Debug for RabbitMqBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The addresses hold passwords.
        f.debug_struct("RabbitMqBuilder")
            .field("name", &self.name)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
