//! Messages that go round in a queue for long delays: what they carry there, and what that queue must be like.

use std::collections::BTreeMap;

use aws_sdk_sqs::types::QueueAttributeName;
use longhaul_core::{
    clock::Timestamp,
    ids::{MessageId, derived_message_id},
};

use crate::{
    laps,
    message::TEXT,
    plan::{Queue, RETENTION_SECONDS},
    timing::{Timing, seconds_up},
};

/// The attribute that a message has only while it goes round.
pub(crate) const DELAY: &str = "longhaul.delay";
/// What it takes of a message's size, however many laps there will be.
pub(crate) const BYTES: usize = DELAY.len() + TEXT.len() + 41;
/// Ids longer than that, and those with characters that SQS does not take in a group's name, are hashed. SQS takes 128
/// characters, and the numbers of a deduplication id take up to 40.
const ID_CHARACTERS: usize = 80;

/// When a message is due, and how many laps it has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) due: Timestamp,
    pub(crate) lap: u64,
}

impl Waiting {
    /// Before its first lap.
    pub(crate) fn until(due: Timestamp) -> Self {
        Self { due, lap: 1 }
    }

    /// In its next lap.
    pub(crate) fn again(self) -> Self {
        let lap = self.lap.saturating_add(1);
        Self { lap, ..self }
    }

    /// The value of its attribute.
    pub(crate) fn write(self) -> String {
        format!("{} {}", self.due.as_micros(), self.lap)
    }

    pub(crate) fn read(text: &str) -> Option<Self> {
        let (due, lap) = text.split_once(' ')?;
        Some(Self {
            due: Timestamp::from_micros(due.parse().ok()?),
            lap: lap.parse().ok()?,
        })
    }

    /// Group and deduplication id. The group is the message's own, so that nothing waits for it. What is sent again
    /// for another time is another message to SQS, even within its five minutes; what is sent again for the same is not.
    pub(crate) fn ids(self, message: &str) -> (String, String) {
        let fits = message.len() <= ID_CHARACTERS && message.bytes().all(|byte| byte.is_ascii_graphic());
        let group = if fits {
            message.to_owned()
        } else {
            let hashed: MessageId = derived_message_id(&["delay", message], 0);
            hashed.as_str().to_owned()
        };
        let time = u64::try_from(self.due.as_micros()).unwrap_or_default();
        let deduplication = laps::deduplication_id(&group, self.lap, time);
        (group, deduplication)
    }
}

/// What the queue is created with. A FIFO queue takes the delay from here only, so it must be there from the first moment.
pub(crate) fn attributes(timing: &Timing) -> BTreeMap<String, String> {
    [
        ("FifoQueue", "true".to_owned()),
        ("DelaySeconds", seconds_up(timing.lap).to_string()),
        ("MessageRetentionPeriod", RETENTION_SECONDS.to_string()),
        ("VisibilityTimeout", seconds_up(timing.lease).to_string()),
        // High throughput: each message is a group.
        ("DeduplicationScope", "messageGroup".to_owned()),
        ("FifoThroughputLimit", "perMessageGroupId".to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Whether a queue that is there delays as it must, and keeps long enough; else what to change.
pub(crate) fn check(queue: &Queue, found: &BTreeMap<QueueAttributeName, String>) -> Result<(), String> {
    let number = |name| found.get(&name).and_then(|value| value.parse::<u64>().ok());
    let delay = number(QueueAttributeName::DelaySeconds).unwrap_or_default();
    let wanted = queue.attributes.get("DelaySeconds");
    if wanted.is_some_and(|wanted| *wanted != delay.to_string()) {
        return Err(format!(
            "it delays by {delay} s, and messages would go round too often or come too late; set DelaySeconds to {}",
            wanted.map_or("900", String::as_str)
        ));
    }
    let retention = number(QueueAttributeName::MessageRetentionPeriod);
    if retention.is_some_and(|seconds| seconds < RETENTION_SECONDS) {
        return Err(format!(
            "it forgets delayed messages after {} s without a receiver; set MessageRetentionPeriod to {RETENTION_SECONDS}",
            retention.unwrap_or_default()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Purpose;

    fn waiting(due: i64, lap: u64) -> Waiting {
        Waiting {
            due: Timestamp::from_micros(due),
            lap,
        }
    }

    #[test]
    fn when_it_is_written_it_reads_back_and_nothing_else_does() {
        let one = waiting(1_763_719_200_000_000, 35_039);
        assert_eq!(Waiting::read(&one.write()), Some(one));
        let longest = waiting(i64::MIN, u64::MAX).write();
        assert!(DELAY.len() + TEXT.len() + longest.len() <= BYTES, "{longest}");
        for foreign in ["", "1", "1 ", " 1", "x 1", "1 x", "1 -1"] {
            assert_eq!(Waiting::read(foreign), None, "{foreign:?}");
        }
    }

    #[test]
    fn when_a_message_goes_round_sqs_takes_each_lap_and_each_due_time_for_another_message() {
        let first = waiting(1_000_000, 1);
        let (group, id) = first.ids("m-1");
        assert_eq!(group, "m-1");
        assert_ne!(first.again().ids("m-1").1, id);
        assert_ne!(waiting(2_000_000, 1).ids("m-1").1, id);
        assert_eq!(waiting(1_000_000, 1).ids("m-1").1, id);
    }

    #[test]
    fn when_an_id_is_long_or_has_other_characters_its_group_is_one_that_sqs_takes() {
        let long = "x".repeat(MessageId::MAX_BYTES);
        let latest = waiting(i64::MAX, u64::MAX);
        for id in [long.as_str(), "größe", "a b", &"y".repeat(80)] {
            for text in [latest.ids(id).0, latest.ids(id).1] {
                assert!(text.len() <= 128, "{text}");
                assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
            }
        }
        assert_ne!(latest.ids("a b").0, latest.ids("a  b").0);
    }

    #[test]
    fn when_a_queue_would_delay_otherwise_or_forget_it_is_refused_with_the_reason() {
        let queue = Queue {
            name: "sales-delay.fifo".to_owned(),
            purpose: Purpose::Delays,
            attributes: attributes(&Timing::default()),
        };
        let found = |delay: &str, retention: &str| {
            BTreeMap::from([
                (QueueAttributeName::DelaySeconds, delay.to_owned()),
                (QueueAttributeName::MessageRetentionPeriod, retention.to_owned()),
            ])
        };
        assert_eq!(check(&queue, &found("900", "1209600")), Ok(()));
        let told = check(&queue, &found("0", "1209600")).unwrap_err();
        assert!(told.contains("set DelaySeconds to 900"), "{told}");
        let told = check(&queue, &found("900", "345600")).unwrap_err();
        assert!(told.contains("1209600"), "{told}");
    }
}
