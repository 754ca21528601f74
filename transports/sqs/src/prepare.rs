//! Makes what a plan holds, or checks that it is there.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_sqs::types::QueueAttributeName;
use futures_util::{StreamExt, TryStreamExt, stream};
use longhaul_core::transport::{Declare, Report, Topology, TransportError, TransportErrorKind};

use crate::{
    admission::admitting,
    fault::{Fault, FaultKind},
    inner::{Events, Inner},
    left_over,
    plan::{Plan, Purpose, Queue, RETENTION_SECONDS, Subscription},
    waiting,
};

/// How many queues or topics are prepared at the same time.
const AT_ONCE: usize = 4;

pub(crate) fn plan(inner: &Inner, topology: &Topology) -> Result<Plan, TransportError> {
    let timing = &inner.caller.timing;
    Plan::new(
        &inner.names,
        &inner.region,
        timing,
        &inner.events,
        inner.long_delays,
        topology,
    )
}

pub(crate) async fn prepare(
    inner: &Inner,
    topology: &Topology,
    mode: Declare,
) -> Result<Report, TransportError> {
    let plan = plan(inner, topology)?;
    let mut report = Report::default();
    if mode == Declare::Assume {
        return Ok(report);
    }
    let left_over = plan.instead_of.iter().map(|name| left_over::nothing(inner, name));
    let left_over: Vec<_> = left_over.collect();
    stream::iter(left_over)
        .buffered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    let listening: BTreeSet<&String> = plan.subscriptions.iter().map(|one| &one.queue).collect();
    let queues: Vec<_> = plan
        .queues
        .iter()
        .map(|queue| one_queue(inner, queue, listening.contains(&queue.name), mode))
        .collect();
    let created: Vec<bool> = stream::iter(queues).buffered(AT_ONCE).try_collect().await?;
    let subscriptions: Vec<_> = plan
        .subscriptions
        .iter()
        .map(|one| one_subscription(inner, one, mode))
        .collect();
    let subscribed = stream::iter(subscriptions).buffered(AT_ONCE);
    subscribed.try_collect::<Vec<()>>().await?;
    if mode == Declare::Declare {
        for one in &plan.retired {
            let removed = inner.topics.unsubscribe(inner, &one.topic, &one.queue).await;
            removed.map_err(|fault| {
                fault.while_doing(&format!(
                    "unsubscribe the queue {} from the topic {}",
                    one.queue, one.topic
                ))
            })?;
        }
        if created.contains(&true) {
            tokio::time::sleep(inner.caller.timing.after_create).await;
        }
    }
    tell(inner, &plan, topology, mode, &mut report);
    Ok(report)
}

/// Subscribes a queue, or checks that the topic is there.
async fn one_subscription(inner: &Inner, one: &Subscription, mode: Declare) -> Result<(), TransportError> {
    let (topic, queue) = (&one.topic, &one.queue);
    if mode == Declare::Verify {
        let found = inner.topics.exists(inner, topic).await;
        return found.map_err(|fault| fault.while_doing(&format!("find the topic {topic}")));
    }
    let subscribed = inner.topics.subscribe(inner, topic, queue).await;
    subscribed
        .map_err(|fault| fault.while_doing(&format!("subscribe the queue {queue} to the topic {topic}")))
}

fn tell(inner: &Inner, plan: &Plan, topology: &Topology, mode: Declare, report: &mut Report) {
    let queues = plan.queues.iter().map(|queue| format!("queue {}", queue.name));
    report.present.extend(queues);
    for one in &plan.subscriptions {
        report.present.push(format!("topic {}", one.topic));
        let subscription = format!(
            "subscription of the queue {} to the topic {}",
            one.queue, one.topic
        );
        if mode == Declare::Verify {
            // Finding it would mean to list all subscriptions of the topic.
            report.unverified.push(subscription);
        } else {
            report.present.push(subscription);
        }
    }
    if let Events::ByPublisher(_) = inner.events {
        let wanted = topology.subscriptions.iter();
        report.unverified.extend(wanted.map(|one| {
            format!(
                "that the publisher of {} sends it to the queue {}",
                one.event, one.queue
            )
        }));
    }
}

/// Makes or checks one queue, and lets topics send to it if it listens. Says whether it was made.
async fn one_queue(
    inner: &Inner,
    queue: &Queue,
    listens: bool,
    mode: Declare,
) -> Result<bool, TransportError> {
    let doing = format!("prepare the queue {}", queue.name);
    let told = |fault: Fault| fault.while_doing(&doing);
    let (url, created) = match inner.queues.look_up(inner, &queue.name).await {
        Ok(url) => (url, false),
        Err(fault) if fault.kind == FaultKind::Missing && mode == Declare::Declare => {
            create(inner, queue).await.map_err(told)?
        }
        Err(fault) => return Err(told(fault)),
    };
    if created && !listens {
        return Ok(true);
    }
    let found = attributes(inner, &url).await.map_err(told)?;
    check(queue, &found)?;
    if listens {
        let (Ok(arn), Ok(topics)) = (
            inner.queue_arn(&queue.name),
            inner.topic_arn(&format!("{}*", inner.names.prefix())),
        ) else {
            let fault = Fault::new(FaultKind::Refused, "its URL does not name the account");
            return Err(told(fault));
        };
        let policy = found.get(&QueueAttributeName::Policy).map(String::as_str);
        let wanted = admitting(policy, &arn, &topics).map_err(|error| {
            let text = format!("{doing}: its policy is no JSON ({error}); correct or remove it");
            TransportError::new(TransportErrorKind::Topology, text)
        })?;
        match wanted {
            None => {}
            Some(_) if mode == Declare::Verify => {
                let text = format!(
                    "{doing}: its policy does not let topics of this prefix send to it; prepare it once"
                );
                return Err(TransportError::new(TransportErrorKind::Topology, text));
            }
            Some(policy) => {
                let write = || {
                    let request = inner.sqs.set_queue_attributes().queue_url(&url);
                    request.attributes(QueueAttributeName::Policy, &policy).send()
                };
                inner.caller.again(write).await.map_err(told)?;
            }
        }
    }
    Ok(created)
}

/// Makes a queue. Where somebody else was faster, theirs is taken and checked like any other.
async fn create(inner: &Inner, queue: &Queue) -> Result<(String, bool), Fault> {
    let request = || {
        let mut request = inner.sqs.create_queue().queue_name(&queue.name);
        for (name, value) in &queue.attributes {
            request = request.attributes(QueueAttributeName::from(name.as_str()), value);
        }
        request.send()
    };
    match inner.caller.again(request).await {
        Ok(made) => {
            let Some(url) = made.queue_url else {
                return Err(Fault::new(FaultKind::Unanswered, "the answer has no URL"));
            };
            inner.queues.remember(inner, &queue.name, &url);
            Ok((url, true))
        }
        Err(fault) if fault.kind == FaultKind::Different => {
            Ok((inner.queues.look_up(inner, &queue.name).await?, false))
        }
        Err(fault) => Err(fault),
    }
}

async fn attributes(inner: &Inner, url: &str) -> Result<BTreeMap<QueueAttributeName, String>, Fault> {
    let request = || {
        let request = inner.sqs.get_queue_attributes().queue_url(url);
        request.attribute_names(QueueAttributeName::All).send()
    };
    let answer = inner.caller.again(request).await?;
    Ok(answer.attributes.unwrap_or_default().into_iter().collect())
}

/// Whether a queue that is there would lose messages.
fn check(queue: &Queue, found: &BTreeMap<QueueAttributeName, String>) -> Result<(), TransportError> {
    let name = &queue.name;
    let fault = |text: String| Err(TransportError::new(TransportErrorKind::Topology, text));
    let redrive = found.get(&QueueAttributeName::RedrivePolicy);
    if redrive.is_some_and(|policy| !policy.is_empty()) {
        return fault(format!(
            "prepare the queue {name}: its redrive policy takes messages away before their retries are over; \
             remove it, failed messages go to the error queue"
        ));
    }
    if queue.purpose == Purpose::Delays {
        return waiting::check(queue, found).map_err(|text| {
            TransportError::new(
                TransportErrorKind::Topology,
                format!("prepare the queue {name}: {text}"),
            )
        });
    }
    let retention = found
        .get(&QueueAttributeName::MessageRetentionPeriod)
        .and_then(|seconds| seconds.parse::<u64>().ok());
    if queue.purpose == Purpose::Errors && retention.is_some_and(|seconds| seconds < RETENTION_SECONDS) {
        return fault(format!(
            "prepare the queue {name}: it forgets failed messages after {} s; set MessageRetentionPeriod to \
             {RETENTION_SECONDS}",
            retention.unwrap_or_default()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(purpose: Purpose, attribute: QueueAttributeName, value: &str) -> Option<String> {
        let queue = Queue {
            name: "sales".to_owned(),
            purpose,
            attributes: BTreeMap::new(),
        };
        let found = BTreeMap::from([(attribute, value.to_owned())]);
        check(&queue, &found).err().map(|error| error.to_string())
    }

    #[test]
    fn when_a_queue_would_lose_messages_it_is_refused_with_the_reason() {
        let redrive = checked(Purpose::Input, QueueAttributeName::RedrivePolicy, "{}");
        assert!(redrive.is_some_and(|text| text.contains("redrive policy")));
        let four_days = "345600";
        let retention = QueueAttributeName::MessageRetentionPeriod;
        let short = checked(Purpose::Errors, retention.clone(), four_days);
        assert!(short.is_some_and(|text| text.contains("1209600")));
        assert_eq!(checked(Purpose::Input, retention.clone(), four_days), None);
        assert_eq!(checked(Purpose::Errors, retention, "1209600"), None);
        assert_eq!(
            checked(Purpose::Errors, QueueAttributeName::RedrivePolicy, ""),
            None
        );
    }
}
