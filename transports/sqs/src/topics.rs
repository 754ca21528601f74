//! Topics of SNS: who listens, and subscribing queues to them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    fault::{Fault, FaultKind},
    inner::Inner,
};

/// How long an answer to "does anybody listen" is believed. It only decides what a metric says.
const BELIEVED: Duration = Duration::from_secs(60);
/// How many topics are remembered.
const MOST: usize = 1024;
/// How many pages of subscriptions are looked through for one that is to be removed; 100 are on each.
const PAGES: usize = 100;
/// What makes SNS hand on messages as they are, attributes included.
const RAW: &str = "RawMessageDelivery";

/// What is known of topics, by name.
#[derive(Debug, Default)]
pub(crate) struct Topics(Mutex<BTreeMap<String, (bool, Instant)>>);

impl Topics {
    /// Whether anybody subscribed to a topic. Where that can't be found out, somebody did.
    pub(crate) async fn is_heard(&self, inner: &Inner, topic: &str) -> Result<bool, Fault> {
        if let Some((heard, at)) = self.lock().get(topic)
            && at.elapsed() < BELIEVED
        {
            return Ok(*heard);
        }
        let arn = inner.topic_arn(topic)?;
        let request = inner.sns.get_topic_attributes().topic_arn(arn).send();
        let heard = match inner.caller.once(request).await {
            Ok(answer) => {
                let attributes = answer.attributes.unwrap_or_default();
                let number = |name| {
                    attributes
                        .get(name)
                        .and_then(|value: &String| value.parse::<u64>().ok())
                };
                number("SubscriptionsConfirmed") != Some(0)
            }
            // Publishing tells, each time: whoever subscribes first must not wait.
            Err(fault) if fault.kind == FaultKind::Missing => return Ok(false),
            Err(_) => true,
        };
        let mut known = self.lock();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(topic.to_owned(), (heard, Instant::now()));
        Ok(heard)
    }

    /// Makes a topic and subscribes a queue to it. What is there stays.
    pub(crate) async fn subscribe(&self, inner: &Inner, topic: &str, queue: &str) -> Result<(), Fault> {
        let request = || inner.sns.create_topic().name(topic).send();
        let made = inner.caller.again(request).await?;
        let arn = match made.topic_arn {
            Some(arn) => arn,
            None => inner.topic_arn(topic)?,
        };
        let queue = inner.queue_arn(queue)?;
        let subscribe = |raw: bool| {
            let request = inner
                .sns
                .subscribe()
                .topic_arn(&arn)
                .protocol("sqs")
                .endpoint(&queue)
                .return_subscription_arn(true);
            let request = if raw {
                request.attributes(RAW, "true")
            } else {
                request
            };
            request.send()
        };
        let subscribed = inner.caller.again(|| subscribe(true)).await;
        self.lock().remove(topic);
        match subscribed {
            Ok(_) => Ok(()),
            // Somebody subscribed the queue by hand: then it is only changed.
            Err(fault) if fault.kind == FaultKind::Refused => {
                let found = inner.caller.again(|| subscribe(false)).await?;
                let Some(subscription) = found.subscription_arn else {
                    return Err(fault);
                };
                let change = || {
                    let request = inner.sns.set_subscription_attributes();
                    let request = request.subscription_arn(&subscription);
                    request.attribute_name(RAW).attribute_value("true").send()
                };
                inner.caller.again(change).await.map(drop)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Removes a queue's subscription, if there is one. Only this lists anything.
    pub(crate) async fn unsubscribe(&self, inner: &Inner, topic: &str, queue: &str) -> Result<(), Fault> {
        let (arn, queue) = (inner.topic_arn(topic)?, inner.queue_arn(queue)?);
        let mut next: Option<String> = None;
        for _ in 0..PAGES {
            let page = || {
                let request = inner.sns.list_subscriptions_by_topic().topic_arn(&arn);
                request.set_next_token(next.clone()).send()
            };
            let page = match inner.caller.again(page).await {
                Ok(page) => page,
                Err(fault) if fault.kind == FaultKind::Missing => return Ok(()),
                Err(fault) => return Err(fault),
            };
            for found in page.subscriptions.unwrap_or_default() {
                if let (Some(endpoint), Some(subscription)) = (found.endpoint, found.subscription_arn)
                    && endpoint == queue
                {
                    let remove = || inner.sns.unsubscribe().subscription_arn(&subscription).send();
                    match inner.caller.again(remove).await {
                        Ok(_) => {}
                        Err(fault) if fault.kind == FaultKind::Missing => {}
                        Err(fault) => return Err(fault),
                    }
                }
            }
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                break;
            }
        }
        self.lock().remove(topic);
        Ok(())
    }

    /// Whether there is such a topic.
    pub(crate) async fn exists(&self, inner: &Inner, topic: &str) -> Result<(), Fault> {
        let arn = inner.topic_arn(topic)?;
        let request = || inner.sns.get_topic_attributes().topic_arn(&arn).send();
        inner.caller.again(request).await.map(drop)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (bool, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
