//! Bodies in a bucket of S3, for the claim check; a rule of the bucket removes them by age.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use aws_sdk_s3::{
    Client,
    config::{RequestChecksumCalculation, timeout::TimeoutConfig},
    types::{
        BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule,
        LifecycleRuleFilter,
    },
};
use bytes::Bytes;
use longhaul_core::{
    claim_check::{BodyError, BodyErrorKind, BodyKey, BodyStore},
    transport::{Declare, TransportError, TransportErrorKind},
};

use crate::{
    call::Caller,
    fault::{Fault, FaultKind},
    inner::Inner,
    plan::Bodies,
};

/// What the rule is called, before the prefix.
const RULE: &str = "LonghaulBodies";
/// For one body to be kept or read.
const TRANSFER: Duration = Duration::from_secs(15);
/// Longer than a message stays in its queue and then in the error queue.
const DAYS: u16 = 30;

/// Keeps bodies in a bucket.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use longhaul_core::{claim_check::ClaimCheck, transport::Declare};
/// use longhaul_sqs::Sqs;
///
/// let sqs = Sqs::connect().await?;
/// let bodies = sqs.bodies("my-company-messages");
/// bodies.prepare(Declare::Declare).await?;
/// let transport = ClaimCheck::new(sqs, bodies);
/// # Ok(()) }
/// ```
pub struct S3Bodies {
    client: Client,
    caller: Caller,
    place: Bodies,
}

impl S3Bodies {
    pub(crate) fn new(inner: &Inner, bucket: String) -> Self {
        let limits = TimeoutConfig::builder()
            .connect_timeout(Duration::from_millis(3100))
            .operation_attempt_timeout(TRANSFER);
        let config = aws_sdk_s3::config::Builder::from(&inner.config)
            .timeout_config(limits.build())
            // Keys name what is in a body, and it is compared after reading.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            // Emulators have no name for each bucket.
            .force_path_style(inner.config.endpoint_url().is_some());
        Self {
            client: Client::from_conf(config.build()),
            caller: inner.caller.clone(),
            place: Bodies {
                bucket,
                prefix: format!("{}bodies/", inner.names.prefix()),
                days: DAYS,
            },
        }
    }

    /// What the keys of bodies begin with; the transport's prefix and `bodies/` by default.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.place.prefix = prefix.into();
        self
    }

    /// After how many days a body is removed; 30 by default, at least 1. It must be longer than any message that needs
    /// it stays in a queue, the error queue included: 14 days each at SQS.
    #[must_use]
    pub fn days(mut self, days: u16) -> Self {
        self.place.days = days.max(1);
        self
    }

    /// Where bodies are, for the [plan](crate::plan::Plan::keeping).
    #[must_use]
    pub fn place(&self) -> Bodies {
        self.place.clone()
    }

    /// Writes the rule that removes bodies by age, beside those of others, or checks that it is there. The bucket itself
    /// must exist: who may read it is for its owner to say.
    ///
    /// # Errors
    /// There is no such bucket, the rule is missing or of other days when verified, or access was refused.
    pub async fn prepare(&self, mode: Declare) -> Result<(), TransportError> {
        if mode == Declare::Assume {
            return Ok(());
        }
        let doing = format!("prepare the bucket {}", self.place.bucket);
        let told = |fault: Fault| fault.while_doing(&doing);
        let mut rules = self.rules().await.map_err(told)?;
        let ours = self.rule().map_err(told)?;
        if rules.contains(&ours) {
            return Ok(());
        }
        if mode == Declare::Verify {
            return Err(TransportError::new(
                TransportErrorKind::Topology,
                format!(
                    "{doing}: it has no rule {} that removes bodies after {} days; prepare it once",
                    ours.id().unwrap_or(RULE),
                    self.place.days
                ),
            ));
        }
        rules.retain(|rule| rule.id() != ours.id());
        rules.push(ours);
        let rules = BucketLifecycleConfiguration::builder().set_rules(Some(rules));
        let rules = rules.build().map_err(|error| told(incomplete(error)))?;
        let write = || {
            let request = self.client.put_bucket_lifecycle_configuration();
            let request = request.bucket(&self.place.bucket);
            Box::pin(request.lifecycle_configuration(rules.clone()).send())
        };
        self.caller.again(write).await.map(drop).map_err(told)
    }

    async fn rules(&self) -> Result<Vec<LifecycleRule>, Fault> {
        let request = || {
            let request = self.client.get_bucket_lifecycle_configuration();
            Box::pin(request.bucket(&self.place.bucket).send())
        };
        match self.caller.again(request).await {
            Ok(found) => Ok(found.rules.unwrap_or_default()),
            Err(fault) if fault.kind == FaultKind::Missing => Ok(Vec::new()),
            Err(fault) => Err(fault),
        }
    }

    fn rule(&self) -> Result<LifecycleRule, Fault> {
        let days = LifecycleExpiration::builder().days(i32::from(self.place.days));
        LifecycleRule::builder()
            .id(format!("{RULE}-{}", self.place.prefix))
            .filter(LifecycleRuleFilter::builder().prefix(&self.place.prefix).build())
            .expiration(days.build())
            .status(ExpirationStatus::Enabled)
            .build()
            .map_err(incomplete)
    }

    fn key(&self, key: &BodyKey) -> String {
        format!("{}{key}", self.place.prefix)
    }

    fn told(&self, doing: &str, key: &BodyKey, fault: &Fault) -> BodyError {
        let kind = match fault.kind {
            FaultKind::Missing => BodyErrorKind::Missing,
            FaultKind::Denied => BodyErrorKind::Denied,
            FaultKind::Different
            | FaultKind::Throttled
            | FaultKind::Stale
            | FaultKind::Refused
            | FaultKind::Failed
            | FaultKind::Unanswered
            | FaultKind::Unreached => BodyErrorKind::Unavailable,
        };
        let (bucket, why) = (&self.place.bucket, &fault.text);
        BodyError::new(
            kind,
            format!(
                "{doing} the body {key} in the bucket {bucket} ({why}): check the bucket, the region and the rights"
            ),
        )
    }

    async fn read(&self, key: &BodyKey, bytes: usize) -> Result<Bytes, Fault> {
        let read = async {
            let request = self.client.get_object().bucket(&self.place.bucket);
            let got = self
                .caller
                .within(TRANSFER, request.key(self.key(key)).send())
                .await?;
            let length = got.content_length.and_then(|length| usize::try_from(length).ok());
            if length != Some(bytes) {
                let text = format!("it has {} bytes instead of {bytes}", length.unwrap_or(0));
                return Err(Fault::new(FaultKind::Missing, text));
            }
            let body = got.body.collect().await;
            let body = body.map_err(|error| Fault::new(FaultKind::Unanswered, error.to_string()))?;
            Ok(body.into_bytes())
        };
        let limited = tokio::time::timeout(TRANSFER, read).await;
        limited.unwrap_or_else(|_| Err(Fault::timed_out(TRANSFER)))
    }
}

fn incomplete(error: impl std::error::Error) -> Fault {
    Fault::new(FaultKind::Refused, error.to_string())
}

#[async_trait]
impl BodyStore for S3Bodies {
    async fn put(&self, key: &BodyKey, body: &Bytes) -> Result<(), BodyError> {
        let request = self.client.put_object().bucket(&self.place.bucket);
        let request = request.key(self.key(key)).body(body.clone().into());
        let put = self.caller.within(TRANSFER, Box::pin(request.send())).await;
        put.map(drop).map_err(|fault| self.told("keep", key, &fault))
    }

    async fn get(&self, key: &BodyKey, bytes: usize) -> Result<Bytes, BodyError> {
        let read = self.read(key, bytes).await;
        read.map_err(|fault| self.told("read", key, &fault))
    }
}

impl fmt::Debug for S3Bodies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Bodies")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}
