//! One place's messages, batch after batch; what AWS puts off is tried again, entry by entry.

use aws_sdk_sns::types::{MessageAttributeValue as TopicAttribute, PublishBatchRequestEntry};
use aws_sdk_sqs::{
    primitives::Blob,
    types::{MessageAttributeValue, SendMessageBatchRequestEntry},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use longhaul_core::transport::Accepted;

use crate::{
    fault::{Fault, FaultKind},
    inner::Inner,
    message::Attribute,
    send::{Outcome, Outgoing, cut},
    timing::seconds_up,
    waiting::DELAY,
};

/// What a queue is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// It delays each message as long as that says.
    Standard,
    /// It keeps order, and delays nothing.
    Fifo,
    /// Messages go round in it, each lap as long as the queue says.
    Round,
    /// A standard queue from which messages are sent on to one that keeps order.
    Inlet,
}

/// Where a batch goes.
#[derive(Debug)]
pub(crate) enum Place {
    Queue { name: String, url: String, kind: Kind },
    Topic(String),
}

/// What AWS said to a batch, entry by entry. One that is in neither list is unknown.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) done: Vec<String>,
    pub(crate) failed: Vec<(String, Fault)>,
}

impl Answer {
    /// What became of an entry.
    pub(crate) fn of(&self, entry: usize) -> Result<(), Fault> {
        let entry = entry.to_string();
        if let Some((_, fault)) = self.failed.iter().find(|(id, _)| *id == entry) {
            return Err(fault.clone());
        }
        if self.done.contains(&entry) {
            return Ok(());
        }
        Err(Fault::new(
            FaultKind::Unanswered,
            "the answer does not mention this message",
        ))
    }
}

/// Sends all messages for one place, in order.
pub(crate) async fn in_batches(
    inner: &Inner,
    place: &Place,
    messages: &[Outgoing<'_>],
    most: usize,
) -> Vec<(usize, Outcome)> {
    let mut outcomes = Vec::with_capacity(messages.len());
    let mut stop: Option<Fault> = None;
    for range in cut(messages, most) {
        let batch: Vec<&Outgoing<'_>> = messages[range].iter().collect();
        let results = match &stop {
            Some(fault) => batch.iter().map(|_| Err(fault.clone())).collect(),
            None => {
                let (results, fault) = one_batch(inner, place, &batch).await;
                stop = fault.and_then(|fault| for_the_rest(&fault));
                results
            }
        };
        for (message, result) in batch.into_iter().zip(results) {
            outcomes.push((message.at, message.outcome(result)));
        }
    }
    outcomes
}

/// What the batches behind one that failed as a whole come to: they would fail in the same way, after as long a time.
pub(super) fn for_the_rest(fault: &Fault) -> Option<Fault> {
    match fault.kind {
        FaultKind::Missing | FaultKind::Denied | FaultKind::Unreached | FaultKind::Throttled => {
            Some(fault.clone())
        }
        FaultKind::Failed | FaultKind::Unanswered => {
            let text = format!(
                "it was not sent, since the request before it failed: {}",
                fault.text
            );
            Some(Fault::new(FaultKind::Unreached, text))
        }
        FaultKind::Different | FaultKind::Stale | FaultKind::Refused => None,
    }
}

/// Sends one batch, and again what was put off. Nothing is sent twice that may have been taken. With the results comes
/// the fault of the last request, where it failed as a whole.
pub(super) async fn one_batch(
    inner: &Inner,
    place: &Place,
    batch: &[&Outgoing<'_>],
) -> (Vec<Result<Accepted, Fault>>, Option<Fault>) {
    let mut whole = None;
    let mut results: Vec<Option<Result<Accepted, Fault>>> = batch.iter().map(|_| None).collect();
    let mut backoff = inner.caller.backoff.clone();
    for attempt in 1.. {
        let open: Vec<usize> = (0..batch.len())
            .filter(|at| match &results[*at] {
                None => true,
                Some(Err(fault)) => fault.kind == FaultKind::Throttled,
                Some(Ok(_)) => false,
            })
            .collect();
        if open.is_empty() || attempt > inner.caller.timing.tries {
            break;
        }
        if attempt > 1 {
            tokio::time::sleep(backoff.pause()).await;
        }
        let answer = place.attempt(inner, batch, &open).await;
        whole = answer.as_ref().err().cloned();
        for at in open {
            results[at] = Some(match &answer {
                Ok((answer, accepted)) => answer.of(at).map(|()| *accepted),
                Err(fault) => Err(fault.clone()),
            });
        }
    }
    let unsent = || Err(Fault::new(FaultKind::Unanswered, "it was not sent"));
    let results = results.into_iter().map(|result| result.unwrap_or_else(unsent));
    (results.collect(), whole)
}

impl Place {
    async fn attempt(
        &self,
        inner: &Inner,
        batch: &[&Outgoing<'_>],
        open: &[usize],
    ) -> Result<(Answer, Accepted), Fault> {
        inner.caller.requests.note_send(open.len());
        match self {
            Self::Queue { name, url, kind } => {
                let answer = to_queue(inner, url, *kind, batch, open).await;
                if matches!(&answer, Err(fault) if fault.kind == FaultKind::Missing) {
                    inner.queues.forget(name);
                }
                answer.map(|answer| (answer, Accepted::Queued))
            }
            Self::Topic(name) => {
                let heard = inner.topics.is_heard(inner, name).await?;
                let answer = to_topic(inner, &inner.topic_arn(name)?, batch, open).await;
                match answer {
                    // Whoever subscribes makes the topic.
                    Err(fault) if fault.kind == FaultKind::Missing => {
                        let done = open.iter().map(usize::to_string).collect();
                        let answer = Answer {
                            done,
                            ..Answer::default()
                        };
                        Ok((answer, Accepted::NoSubscribers))
                    }
                    Err(fault) => Err(fault),
                    Ok(answer) if heard => Ok((answer, Accepted::Queued)),
                    Ok(answer) => Ok((answer, Accepted::NoSubscribers)),
                }
            }
        }
    }
}

async fn to_queue(
    inner: &Inner,
    url: &str,
    kind: Kind,
    batch: &[&Outgoing<'_>],
    open: &[usize],
) -> Result<Answer, Fault> {
    let mut entries = Vec::with_capacity(open.len());
    for at in open {
        let message = batch[*at];
        let mut entry = SendMessageBatchRequestEntry::builder()
            .id(at.to_string())
            .message_body(&message.written.body);
        entry = match (kind, message.waiting, &message.standing) {
            (Kind::Standard | Kind::Inlet, _, _) => entry.delay_seconds(delay_seconds(inner, message)),
            // A FIFO queue delays by itself, and takes no other delay.
            (Kind::Round, Some(waiting), _) => {
                let (group, deduplication) = waiting.ids(message.written.id());
                entry
                    .message_group_id(group)
                    .message_deduplication_id(deduplication)
            }
            (Kind::Fifo, _, Some(standing)) => entry
                .message_group_id(&standing.group)
                .message_deduplication_id(&standing.deduplication),
            (Kind::Round, None, _) | (Kind::Fifo, _, None) => {
                return Err(Fault::new(FaultKind::Refused, "the message has no group"));
            }
        };
        let delay = message
            .waiting
            .map(|waiting| Attribute::ours(DELAY, waiting.write()));
        for attribute in message.written.attributes.iter().chain(&delay) {
            entry = entry.message_attributes(&attribute.name, value_of(attribute)?);
        }
        entries.push(entry.build().map_err(incomplete)?);
    }
    let request = inner
        .sqs
        .send_message_batch()
        .queue_url(url)
        .set_entries(Some(entries));
    let answer = inner.caller.once(request.send()).await?;
    let failed = answer.failed.into_iter();
    Ok(Answer {
        done: answer.successful.into_iter().map(|entry| entry.id).collect(),
        failed: failed
            .map(|entry| {
                let fault = Fault::of_entry(&entry.code, entry.message.as_deref(), entry.sender_fault);
                (entry.id, fault)
            })
            .collect(),
    })
}

/// An attribute as the SDK has it.
fn value_of(attribute: &Attribute) -> Result<MessageAttributeValue, Fault> {
    let binary = attribute.base64.as_ref().map(|text| BASE64_STANDARD.decode(text));
    let binary = binary.transpose().map_err(incomplete)?;
    let value = MessageAttributeValue::builder()
        .data_type(&attribute.kind)
        .set_string_value(attribute.text.clone())
        .set_binary_value(binary.map(Blob::new));
    value.build().map_err(incomplete)
}

async fn to_topic(
    inner: &Inner,
    arn: &str,
    batch: &[&Outgoing<'_>],
    open: &[usize],
) -> Result<Answer, Fault> {
    let mut entries = Vec::with_capacity(open.len());
    for at in open {
        let message = batch[*at];
        let mut entry = PublishBatchRequestEntry::builder()
            .id(at.to_string())
            .message(&message.written.body);
        // What is published was written here, and all of it is text.
        for attribute in &message.written.attributes {
            let value = TopicAttribute::builder()
                .data_type(&attribute.kind)
                .set_string_value(attribute.text.clone());
            entry = entry.message_attributes(&attribute.name, value.build().map_err(incomplete)?);
        }
        entries.push(entry.build().map_err(incomplete)?);
    }
    let request = inner
        .sns
        .publish_batch()
        .topic_arn(arn)
        .set_publish_batch_request_entries(Some(entries));
    let answer = inner.caller.once(request.send()).await?;
    let failed = answer.failed.unwrap_or_default().into_iter();
    Ok(Answer {
        done: answer
            .successful
            .unwrap_or_default()
            .into_iter()
            .filter_map(|entry| entry.id)
            .collect(),
        failed: failed
            .map(|entry| {
                let fault = Fault::of_entry(&entry.code, entry.message.as_deref(), entry.sender_fault);
                (entry.id, fault)
            })
            .collect(),
    })
}

/// What is left of the delay, reckoned at every attempt: never early.
fn delay_seconds(inner: &Inner, message: &Outgoing<'_>) -> i32 {
    let delay = message
        .due
        .map(|due| inner.clock.to_real(due.since(inner.clock.now())));
    // What is longer waits for the rest after that.
    seconds_up(delay.unwrap_or_default()).min(seconds_up(inner.caller.timing.lap))
}

fn incomplete(error: impl std::error::Error) -> Fault {
    Fault::new(FaultKind::Refused, error.to_string())
}
