//! One window of messages: published in order, confirmed together, then judged one by one.

use std::{collections::HashSet, pin::pin, time::Duration};

use futures_util::{future::join_all, poll};
use lapin::{
    Channel, Confirmation, PublisherConfirm,
    message::BasicReturnMessage,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};

use super::Outgoing;
use crate::{
    fault::{Fault, within},
    link::Link,
};

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The broker has it.
    Accepted,
    /// It came back: nobody is bound for it.
    Returned,
    /// The broker said no.
    Nacked,
    /// The broker won't have it, and says why.
    Refused(Fault),
    /// No answer that can be trusted.
    Unknown,
}

/// The one channel that is published on. Not `Clone`: confirmations of two publishers on one channel get mixed up.
#[derive(Debug)]
pub(super) struct PublishChannel {
    channel: Channel,
}

impl PublishChannel {
    /// Opens a channel in confirm mode.
    pub(super) async fn open(link: &Link, limit: Duration) -> Result<Self, Fault> {
        let channel = link.channel().await?;
        within(
            limit,
            "confirm mode",
            channel.confirm_select(ConfirmSelectOptions::default()),
        )
        .await?;
        if !channel.status().confirm() {
            return Err(Fault::lost("the broker did not turn on confirm mode"));
        }
        Ok(Self { channel })
    }

    pub(super) fn is_up(&self) -> bool {
        self.channel.status().connected()
    }

    /// Publishes all messages and waits for all confirmations, at most for `limit`.
    ///
    /// An error says why not everything was confirmed; the channel can't be used any more then.
    pub(super) async fn send(
        &mut self,
        messages: &[&Outgoing],
        limit: Duration,
    ) -> (Vec<Verdict>, Option<Fault>) {
        let mut answers: Vec<Option<Confirmation>> = Vec::new();
        answers.resize_with(messages.len(), || None);
        let sent = tokio::time::timeout(limit, self.confirmed(messages, &mut answers)).await;
        let fault = match sent {
            Ok(Ok(())) => None,
            Ok(Err(fault)) => Some(fault),
            Err(_) => Some(Fault::timed_out("published messages", limit)),
        };
        (judge(messages, answers, fault.is_none()), fault)
    }

    async fn confirmed(
        &mut self,
        messages: &[&Outgoing],
        answers: &mut [Option<Confirmation>],
    ) -> Result<(), Fault> {
        let mut sending = Vec::with_capacity(messages.len());
        for message in messages {
            let mut publish = Box::pin(publish(&self.channel, message));
            // The first poll queues the frames, in this order; the rest only waits until they are written.
            let written = poll!(&mut publish);
            sending.push((publish, written));
        }
        let mut confirms: Vec<PublisherConfirm> = Vec::with_capacity(messages.len());
        for (publish, written) in sending {
            let written = match written {
                std::task::Poll::Ready(written) => written,
                std::task::Poll::Pending => publish.await,
            };
            confirms.push(written?);
        }
        let mut lost = None;
        for (answer, confirmed) in answers.iter_mut().zip(pin!(join_all(confirms)).await) {
            match confirmed {
                Ok(confirmation) => *answer = Some(confirmation),
                Err(error) => lost = Some(error),
            }
        }
        lost.map_or(Ok(()), |error| Err(error.into()))
    }
}

async fn publish(channel: &Channel, message: &Outgoing) -> Result<PublisherConfirm, lapin::Error> {
    let options = BasicPublishOptions {
        mandatory: true,
        immediate: false,
    };
    let (exchange, key) = message.to.parts();
    let short = |text: &str| {
        ShortString::try_new(text).map_err(|error| lapin::Error::from(std::io::Error::other(error)))
    };
    channel
        .basic_publish(
            short(exchange)?,
            short(key)?,
            options,
            &message.body,
            message.properties.clone(),
        )
        .await
}

/// A returned message comes with whichever confirmation is next: only its own id says which one it is.
///
/// Where not everything was confirmed a return may be missing, so nothing counts as accepted.
fn judge(messages: &[&Outgoing], answers: Vec<Option<Confirmation>>, complete: bool) -> Vec<Verdict> {
    let mut returned = HashSet::new();
    let mut verdicts = Vec::with_capacity(messages.len());
    for answer in answers {
        verdicts.push(match &answer {
            Some(Confirmation::Ack(_)) if complete => Verdict::Accepted,
            Some(Confirmation::Nack(_)) => Verdict::Nacked,
            Some(Confirmation::Ack(_) | Confirmation::NotRequested) | None => Verdict::Unknown,
        });
        if let Some(message) = answer.and_then(Confirmation::take_message) {
            returned.insert(return_key(&message));
        }
    }
    for (verdict, message) in verdicts.iter_mut().zip(messages) {
        let (exchange, key) = message.to.parts();
        if returned.contains(&(
            message.id.as_str().to_owned(),
            exchange.to_owned(),
            key.to_owned(),
        )) {
            *verdict = Verdict::Returned;
        }
    }
    verdicts
}

fn return_key(message: &BasicReturnMessage) -> (String, String, String) {
    let id = message
        .properties
        .message_id()
        .as_ref()
        .map_or("", |id| id.as_str());
    (
        id.to_owned(),
        message.exchange.to_string(),
        message.routing_key.to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::PublishChannel;

    /// Has an associated function that is ambiguous where the type can be cloned.
    trait IsNotClone<Which> {
        fn check() {}
    }

    struct CanBeCloned;

    impl<T> IsNotClone<()> for T {}
    impl<T: Clone> IsNotClone<CanBeCloned> for T {}

    #[test]
    fn when_the_publish_channel_can_be_cloned_this_does_not_compile() {
        <PublishChannel as IsNotClone<_>>::check();
    }
}
