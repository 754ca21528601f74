//! The transport: what an endpoint asks for, put together from sending, receiving and preparation.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use longhaul_core::{
    address::Address,
    transport::{
        Capabilities, Declare, Dispatch, Health, Receiver, ReceiverOptions, Report, Topology, Transport,
        TransportError,
    },
};
use tokio::sync::watch;

use crate::{
    builder::SqsBuilder,
    call::Requests,
    inner::Inner,
    plan::Plan,
    prepare, receive,
    send::{self, BODY_BYTES, Outcome},
};

/// How many messages one call takes: more would only keep the caller waiting.
const BATCH: usize = 100;
/// The same where messages of one group go out one after the other, a request each: the calls under way stand in line, and with
/// answers in a fifth of a second the last of them is still in time.
const BATCH_IN_ORDER: usize = 20;

/// The longest delay, with messages that go round.
const A_CENTURY: Duration = Duration::from_secs(100 * 366 * 86_400);

/// Endpoints on Amazon SQS.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use longhaul_sqs::Sqs;
///
/// let transport = Sqs::connect().await?;
/// # Ok(()) }
/// ```
pub struct Sqs {
    inner: Arc<Inner>,
}

impl Sqs {
    pub(crate) fn new(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    pub(crate) const fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Connects with region and credentials from the SDK's usual places: environment, profile, container, machine.
    ///
    /// # Errors
    ///
    /// There is no region.
    pub async fn connect() -> Result<Self, TransportError> {
        Self::builder().connect().await
    }

    /// Sets more than that.
    pub fn builder() -> SqsBuilder {
        SqsBuilder::new()
    }

    /// What [preparing](Transport::prepare) a topology makes, to be read before.
    ///
    /// ```no_run
    /// # use longhaul_core::{address::Address, transport::Topology};
    /// # async fn example(sqs: longhaul_sqs::Sqs) -> Result<(), Box<dyn std::error::Error>> {
    /// let topology = Topology { queues: vec![Address::new("sales")?], ..Topology::default() };
    /// let plan = sqs.plan(&topology)?;
    /// println!("{plan}\n{}", plan.policy("123456789012"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// A name that SQS or SNS can't hold.
    pub fn plan(&self, topology: &Topology) -> Result<Plan, TransportError> {
        prepare::plan(&self.inner, topology)
    }

    /// Keeps bodies in a bucket of S3, with the credentials and in the region of this transport: for
    /// [`ClaimCheck`](longhaul_core::claim_check::ClaimCheck).
    #[cfg(feature = "s3")]
    #[must_use]
    pub fn bodies(&self, bucket: impl Into<String>) -> crate::S3Bodies {
        crate::S3Bodies::new(&self.inner, bucket.into())
    }

    /// Counts the requests that this transport makes.
    #[must_use]
    pub fn requests(&self) -> Requests {
        self.inner.caller.requests.clone()
    }

    /// The address whose messages are in a queue of this name; `None` for queues of others.
    #[must_use]
    pub fn address_of(&self, queue: &str) -> Option<Address> {
        self.inner.names.address(queue)
    }
}

#[async_trait]
impl Transport for Sqs {
    fn capabilities(&self) -> Capabilities {
        let longest = self.inner.clock.of_real(self.inner.caller.timing.lap);
        Capabilities {
            name: "sqs",
            max_delay: longest,
            max_delay_storeless: if self.inner.long_delays {
                A_CENTURY
            } else {
                longest
            },
            max_body: BODY_BYTES,
            max_batch: match self.inner.names.is_any_ordered() {
                true => BATCH_IN_ORDER,
                false => BATCH,
            },
            durable: true,
        }
    }

    fn check(&self, dispatch: &Dispatch) -> Result<(), TransportError> {
        send::check(&self.inner, dispatch)
    }

    async fn prepare(&self, topology: &Topology, mode: Declare) -> Result<Report, TransportError> {
        prepare::prepare(&self.inner, topology, mode).await
    }

    async fn receiver(
        &self,
        source: &Address,
        options: ReceiverOptions,
    ) -> Result<Box<dyn Receiver>, TransportError> {
        let receiver = receive::start(Arc::clone(&self.inner), source, options).await?;
        Ok(Box::new(receiver))
    }

    async fn dispatch(&self, batch: &[Dispatch]) -> Vec<Outcome> {
        send::dispatch(&self.inner, batch).await
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.inner.caller.health.watch()
    }
}

impl fmt::Debug for Sqs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqs")
            .field("region", &self.inner.region)
            .field("prefix", &self.inner.names.prefix())
            .finish_non_exhaustive()
    }
}
