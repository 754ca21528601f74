//! What operators do with queues of SQS, which has no way to look at one: to see messages is to receive them.
//!
//! What a pass shows is invisible to everybody else until it is put back, or its lease is over. A standard queue gives what it
//! likes, so a pass is a sample: it ends when the queue says several times that it has nothing more.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
};

use async_trait::async_trait;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message,
    MessageSystemAttributeName, QueueAttributeName,
};
use longhaul_core::{
    address::Address,
    admin::{Found, Pass, Place, QueueAdmin, QueueDepth},
    transport::{TransportError, TransportErrorKind},
};

use crate::{
    batch::ENTRIES,
    fault::{Fault, FaultKind},
    incoming::incoming,
    inner::Inner,
    receive::registry::{self, Consumer},
    sqs::Sqs,
};

/// How long what a pass shows stays invisible to others, in seconds: long enough for a slow replay of what is in memory.
const LEASE_SECONDS: i32 = 15 * 60;
/// How long a poll waits for a message. With a wait SQS asks all of its servers.
const WAIT_SECONDS: i32 = 1;
/// How many empty polls in a row mean that there is nothing more.
const EMPTY: u32 = 2;
/// How many queues one listing brings.
const LISTED: i32 = 1000;

#[async_trait]
impl QueueAdmin for Sqs {
    fn caution(&self) -> Option<&'static str> {
        Some(
            "SQS shows a sample: a pass may miss messages, and hides what it shows from others until it ends, or for 15 \
             minutes if it is killed",
        )
    }

    async fn queues(&self, limit: usize) -> Result<Option<Vec<Address>>, TransportError> {
        let inner = self.inner();
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let request = || {
                let request = inner.sqs.list_queues().max_results(LISTED);
                let prefix = Some(inner.names.prefix()).filter(|prefix| !prefix.is_empty());
                let request = request.set_queue_name_prefix(prefix.map(str::to_owned));
                request.set_next_token(token.clone()).send()
            };
            let answer = inner.caller.again(request).await;
            let answer = answer.map_err(|fault| fault.while_doing("list the queues"))?;
            let urls = answer.queue_urls.unwrap_or_default();
            let names = urls.iter().filter_map(|url| url.rsplit('/').next());
            found.extend(names.filter_map(|name| inner.names.address(name)));
            token = answer.next_token;
            if token.is_none() || found.len() >= limit {
                found.truncate(limit);
                found.sort();
                return Ok(Some(found));
            }
        }
    }

    async fn depth(&self, queue: &Address) -> Result<QueueDepth, TransportError> {
        let inner = self.inner();
        let (_, url) = located(inner, queue).await?;
        depth(inner, &url).await.map_err(|fault| looking(&fault, queue))
    }

    async fn look_through(&self, queue: &Address) -> Result<Box<dyn Pass>, TransportError> {
        let depth = self.depth(queue).await?;
        let (_, url) = located(self.inner(), queue).await?;
        let Some(alone) = registry::enter(&url, true) else {
            let text = format!(
                "look through the queue `{queue}`: this program does already; wait until that is done"
            );
            return Err(TransportError::new(TransportErrorKind::InUse, text));
        };
        Ok(Box::new(SqsPass {
            inner: Arc::clone(self.inner()),
            url,
            queue: queue.clone(),
            expected: depth.ready,
            seen: 0,
            is_asked: false,
            shown: BTreeMap::new(),
            held: BTreeMap::new(),
            waiting: VecDeque::new(),
            _alone: alone,
        }))
    }
}

/// How many messages a queue holds, about.
pub(crate) async fn depth(inner: &Inner, url: &str) -> Result<QueueDepth, Fault> {
    let request = || {
        let request = inner.sqs.get_queue_attributes().queue_url(url);
        request
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessages)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessagesDelayed)
            .send()
    };
    let answer = inner.caller.again(request).await?;
    let attributes = answer.attributes.unwrap_or_default();
    let number = |name| attributes.get(&name).and_then(|value| value.parse().ok());
    Ok(QueueDepth {
        ready: number(QueueAttributeName::ApproximateNumberOfMessages).unwrap_or(0),
        unsettled: number(QueueAttributeName::ApproximateNumberOfMessagesNotVisible),
        delayed: number(QueueAttributeName::ApproximateNumberOfMessagesDelayed),
        consumers: None,
    })
}

async fn located(inner: &Inner, queue: &Address) -> Result<(String, String), TransportError> {
    let name = inner.names.queue(queue)?;
    let url = inner.queues.look_up(inner, &name).await;
    Ok((name, url.map_err(|fault| looking(&fault, queue))?))
}

fn looking(fault: &Fault, queue: &Address) -> TransportError {
    if fault.kind == FaultKind::Missing {
        let text = format!(
            "look at the queue `{queue}`: there is none of that name; correct it, or start its endpoint once"
        );
        return TransportError::new(TransportErrorKind::Topology, text);
    }
    fault.while_doing(&format!("look at the queue `{queue}`"))
}

/// A look through one queue.
struct SqsPass {
    inner: Arc<Inner>,
    url: String,
    queue: Address,
    expected: u64,
    /// How many were shown; also the next place.
    seen: u64,
    /// Whether it was polled at all.
    is_asked: bool,
    /// Where they are, by what SQS calls them, since it may give one twice.
    shown: BTreeMap<String, u64>,
    /// The rights to what was taken, by place.
    held: BTreeMap<u64, String>,
    waiting: VecDeque<Found>,
    _alone: Consumer,
}

impl SqsPass {
    /// Polls once. Says whether anything came.
    async fn poll(&mut self) -> Result<bool, Fault> {
        let inner = &self.inner;
        let left = usize::try_from(self.expected.saturating_sub(self.seen)).unwrap_or(ENTRIES);
        let most = if self.expected == 0 {
            ENTRIES
        } else {
            left.clamp(1, ENTRIES)
        };
        let request = inner
            .polls
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(i32::try_from(most).unwrap_or(1))
            .wait_time_seconds(WAIT_SECONDS)
            .visibility_timeout(LEASE_SECONDS)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .message_attribute_names("All");
        let timing = &inner.caller.timing;
        let limit = timing.wait + timing.poll_slack;
        let answer = inner.caller.within(limit, request.send()).await?;
        let messages = answer.messages.unwrap_or_default();
        let came = !messages.is_empty();
        for message in messages {
            self.enter(message);
        }
        Ok(came)
    }

    fn enter(&mut self, mut message: Message) {
        let Some(receipt) = message.receipt_handle.take() else {
            return;
        };
        let id = message.message_id.clone().unwrap_or_default();
        if let Some(place) = self.shown.get(&id) {
            // It is shown once, and settled by its last right.
            self.held.insert(*place, receipt);
            return;
        }
        let place = self.seen;
        self.seen += 1;
        self.shown.insert(id, place);
        self.held.insert(place, receipt);
        let (incoming, redeliveries) = incoming(message);
        self.waiting.push_back(Found {
            incoming,
            redeliveries,
            place: Place(place),
            waits: None,
        });
    }

    async fn delete(&self, some: &[String]) -> Result<(), Fault> {
        let mut entries = Vec::with_capacity(some.len());
        for (at, receipt) in some.iter().enumerate() {
            let entry = DeleteMessageBatchRequestEntry::builder();
            let entry = entry.id(at.to_string()).receipt_handle(receipt).build();
            entries.push(entry.map_err(|error| Fault::new(FaultKind::Refused, error.to_string()))?);
        }
        let request = || {
            let request = self.inner.sqs.delete_message_batch().queue_url(&self.url);
            request.set_entries(Some(entries.clone())).send()
        };
        let answer = self.inner.caller.again(request).await?;
        match answer.failed.first() {
            None => Ok(()),
            Some(entry) => Err(Fault::of_entry(
                &entry.code,
                entry.message.as_deref(),
                entry.sender_fault,
            )),
        }
    }
}

/// Lets others see messages again.
async fn show(inner: &Inner, url: &str, receipts: &[String]) -> Result<(), Fault> {
    for some in receipts.chunks(ENTRIES) {
        let mut entries = Vec::with_capacity(some.len());
        for (at, receipt) in some.iter().enumerate() {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder();
            let entry = entry.id(at.to_string()).receipt_handle(receipt);
            let entry = entry.visibility_timeout(0).build();
            entries.push(entry.map_err(|error| Fault::new(FaultKind::Refused, error.to_string()))?);
        }
        let request = || {
            let request = inner.sqs.change_message_visibility_batch().queue_url(url);
            request.set_entries(Some(entries.clone())).send()
        };
        // One whose lease is over is visible already.
        inner.caller.again(request).await?;
    }
    Ok(())
}

#[async_trait]
impl Pass for SqsPass {
    fn expected(&self) -> u64 {
        self.expected
    }

    async fn next(&mut self, limit: usize) -> Result<Vec<Found>, TransportError> {
        let mut empty = 0;
        // The number is approximate: a queue that is said to be empty is asked once.
        while self.waiting.is_empty() && empty < EMPTY && (self.seen < self.expected || !self.is_asked) {
            self.is_asked = true;
            let came = self.poll().await.map_err(|fault| looking(&fault, &self.queue))?;
            empty = if came { 0 } else { empty + 1 };
        }
        let some = limit.max(1).min(self.waiting.len());
        Ok(self.waiting.drain(..some).collect())
    }

    async fn remove(&mut self, places: &[Place]) -> Result<(), TransportError> {
        let held = |place: &Place| Some((place.0, self.held.get(&place.0)?.clone()));
        let held: Vec<_> = places.iter().filter_map(held).collect();
        for some in held.chunks(ENTRIES) {
            let (places, receipts): (Vec<u64>, Vec<String>) = some.iter().cloned().unzip();
            let deleted = self.delete(&receipts).await;
            // Until then they are held, so that what is still there is seen again when the look is over.
            deleted.map_err(|fault| {
                fault.while_doing(&format!("take messages out of the queue `{}`", self.queue))
            })?;
            for place in places {
                self.held.remove(&place);
            }
        }
        Ok(())
    }

    async fn close(mut self: Box<Self>) -> Result<(), TransportError> {
        let receipts: Vec<String> = std::mem::take(&mut self.held).into_values().collect();
        let shown = show(&self.inner, &self.url, &receipts).await;
        shown.map_err(|fault| fault.while_doing(&format!("put back messages of the queue `{}`", self.queue)))
    }
}

impl Drop for SqsPass {
    fn drop(&mut self) {
        let receipts: Vec<String> = std::mem::take(&mut self.held).into_values().collect();
        let (inner, url) = (Arc::clone(&self.inner), self.url.clone());
        // Without a runtime they come back when their lease is over.
        if let (false, Ok(runtime)) = (receipts.is_empty(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                if let Err(fault) = show(&inner, &url, &receipts).await {
                    tracing::debug!(
                        reason = fault.text,
                        "messages that were looked at come back later"
                    );
                }
            });
        }
    }
}

impl fmt::Debug for SqsPass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqsPass")
            .field("queue", &self.queue)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::double::{Double, Reply, failed};

    #[tokio::test(start_paused = true)]
    async fn when_the_number_of_messages_is_behind_what_is_there_is_shown_all_the_same() {
        let mut polls = 0;
        let double = Double::new(move |name, _| match name {
            "GetQueueAttributes" => {
                Reply::ok(json!({ "Attributes": { "ApproximateNumberOfMessages": "0" } }))
            }
            "ReceiveMessage" => {
                polls += 1;
                let message = json!({
                    "MessageId": "1", "ReceiptHandle": "r-1", "Body": "{}", "MD5OfBody": "99914b932bd37a50b983c5e7c90ae93b",
                });
                let messages = if polls == 1 { json!([message]) } else { json!([]) };
                Reply::ok(json!({ "Messages": messages }))
            }
            _ => Reply::ok(json!({ "Successful": [], "Failed": [] })),
        });
        let sqs = double.sqs().await;
        let queue = Address::new("error").unwrap();
        let mut pass = sqs.look_through(&queue).await.unwrap();
        assert_eq!(pass.expected(), 0);
        assert_eq!(pass.next(10).await.unwrap().len(), 1);
        assert_eq!(pass.next(10).await.unwrap().len(), 0);
        pass.close().await.unwrap();
        assert_eq!(double.seen("ReceiveMessage").len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn when_some_can_t_be_taken_out_they_are_seen_again_at_once() {
        let mut polls = 0;
        let double = Double::new(move |name, _| match name {
            "GetQueueAttributes" => {
                Reply::ok(json!({ "Attributes": { "ApproximateNumberOfMessages": "2" } }))
            }
            "ReceiveMessage" => {
                polls += 1;
                let message = |n: usize| {
                    json!({
                        "MessageId": n.to_string(), "ReceiptHandle": format!("r-{n}"), "Body": "{}",
                        "MD5OfBody": "99914b932bd37a50b983c5e7c90ae93b",
                    })
                };
                let messages = if polls == 1 {
                    json!([message(0), message(1)])
                } else {
                    json!([])
                };
                Reply::ok(json!({ "Messages": messages }))
            }
            "DeleteMessageBatch" => Reply::ok(json!({
                "Successful": [{ "Id": "0" }], "Failed": [failed("1", "InternalError", false)],
            })),
            _ => Reply::ok(json!({ "Successful": [], "Failed": [] })),
        });
        let sqs = double.sqs().await;
        let queue = Address::new("error").unwrap();
        let mut pass = sqs.look_through(&queue).await.unwrap();
        let places: Vec<Place> = pass
            .next(10)
            .await
            .unwrap()
            .iter()
            .map(|found| found.place)
            .collect();
        assert_eq!(places.len(), 2);
        pass.remove(&places).await.unwrap_err();
        pass.close().await.unwrap();
        let shown = double.seen("ChangeMessageVisibilityBatch");
        assert!(shown[0].to_string().contains("r-1"), "{shown:?}");
    }
}
