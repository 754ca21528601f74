//! What sender, receivers and preparation share.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use longhaul_core::{
    address::Address,
    clock::Clock,
    ids::Randomness,
    transport::{TransportError, TransportErrorKind},
};

use crate::{
    call::Caller,
    fault::{Fault, FaultKind},
    lanes::Lanes,
    names::Names,
    queues::Queues,
    topics::Topics,
};

/// How events reach their subscribers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Events {
    /// Through a topic of SNS per event.
    Topics,
    /// The publisher sends to each of these queues.
    ByPublisher(BTreeMap<String, Vec<Address>>),
}

/// Everything but the transport's outside.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) sqs: aws_sdk_sqs::Client,
    /// The same with the time limit of a poll.
    pub(crate) polls: aws_sdk_sqs::Client,
    pub(crate) sns: aws_sdk_sns::Client,
    pub(crate) caller: Caller,
    pub(crate) names: Names,
    pub(crate) region: String,
    pub(crate) account: OnceLock<String>,
    pub(crate) events: Events,
    pub(crate) queues: Queues,
    pub(crate) lanes: Lanes,
    pub(crate) topics: Topics,
    pub(crate) pollers: usize,
    /// Whether delays over 900 s are taken, by messages that go round.
    pub(crate) long_delays: bool,
    pub(crate) unsettled_bytes: usize,
    /// For clients of other services.
    #[cfg(feature = "s3")]
    pub(crate) config: aws_config::SdkConfig,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) randomness: Arc<dyn Randomness>,
}

impl Inner {
    /// Reads the account out of a queue's URL, `https://sqs.eu-west-1.amazonaws.com/123456789012/sales`.
    pub(crate) fn learn_account(&self, url: &str) {
        let account = url.rsplit('/').nth(1).filter(|part| is_account(part));
        if let Some(account) = account {
            // The first one stays: all queues of a transport are in one account.
            self.account.get_or_init(|| account.to_owned());
        }
    }

    pub(crate) fn account(&self) -> Result<&str, Fault> {
        self.account.get().map(String::as_str).ok_or_else(|| {
            Fault::new(
                FaultKind::Refused,
                "the account is not known before a queue was used: set it with SqsBuilder::account, or AWS_ACCOUNT_ID",
            )
        })
    }

    pub(crate) fn topic_arn(&self, topic: &str) -> Result<String, Fault> {
        Ok(arn("sns", &self.region, self.account()?, topic))
    }

    pub(crate) fn queue_arn(&self, queue: &str) -> Result<String, Fault> {
        Ok(arn("sqs", &self.region, self.account()?, queue))
    }
}

/// Twelve digits.
pub(crate) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

pub(crate) fn check_account(account: &str) -> Result<(), TransportError> {
    if is_account(account) {
        return Ok(());
    }
    Err(TransportError::new(
        TransportErrorKind::Configuration,
        format!("use the account {account:?}: an account of AWS has twelve digits; correct it"),
    ))
}

/// The full name of a bucket, or of what is in it.
pub(crate) fn bucket_arn(region: &str, name: &str) -> String {
    format!("arn:{}:s3:::{name}", partition(region))
}

fn partition(region: &str) -> &'static str {
    match region {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

/// The full name of a thing at AWS.
pub(crate) fn arn(service: &str, region: &str, account: &str, name: &str) -> String {
    let partition = partition(region);
    format!("arn:{partition}:{service}:{region}:{account}:{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_region_is_of_another_partition_its_names_say_so() {
        assert_eq!(
            arn("sqs", "eu-west-1", "123456789012", "a"),
            "arn:aws:sqs:eu-west-1:123456789012:a"
        );
        assert_eq!(
            arn("sns", "cn-north-1", "1", "a"),
            "arn:aws-cn:sns:cn-north-1:1:a"
        );
        assert_eq!(
            arn("sns", "us-gov-west-1", "1", "a"),
            "arn:aws-us-gov:sns:us-gov-west-1:1:a"
        );
    }

    #[test]
    fn when_an_account_has_not_twelve_digits_it_is_none() {
        assert!(is_account("000000000000"));
        for wrong in ["", "12345678901", "12345678901a", "1234567890123"] {
            assert!(check_account(wrong).is_err(), "{wrong:?}");
        }
    }
}
