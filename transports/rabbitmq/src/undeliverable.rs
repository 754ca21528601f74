//! Gives delayed messages whose queue was gone another chance.

use lapin::{
    Channel,
    options::{BasicAckOptions, BasicGetOptions, BasicQosOptions},
    types::ShortString,
};
use longhaul_core::{
    ids::MessageId,
    transport::{TransportError, TransportErrorKind},
};

use crate::{
    delay::DelayTopology,
    fault::{Fault, within},
    properties,
    publish::{Outgoing, Publisher, Route},
    timing::Timing,
};

/// What became of the messages that were kept aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redelivered {
    /// They are in their queues now.
    pub sent: usize,
    /// Their queues are still missing, or the broker did not take them: they stay where they are.
    pub left: usize,
}

/// Sends at most `limit` messages from the undeliverable queue to the queues that they were meant for.
///
/// Each is confirmed in its queue before it is removed here. Those that can't be sent go back when the channel is
/// closed.
pub(crate) async fn redeliver(
    channel: &Channel,
    publisher: &Publisher,
    delays: &DelayTopology,
    timing: &Timing,
    limit: usize,
) -> Result<Redelivered, TransportError> {
    let queue = delays.undeliverable();
    let doing = format!("take from the queue `{queue}`");
    let name = ShortString::try_new(queue).unwrap_or_default();
    let mut result = Redelivered::default();
    while result.sent + result.left < limit {
        let get = channel.basic_get(name.clone(), BasicGetOptions::default());
        let got = within(timing.answer, "a message", get)
            .await
            .map_err(|fault| fault.while_doing(&doing))?;
        let Some(got) = got else { break };
        let delivery = got.delivery;
        let tag = delivery.delivery_tag;
        let Some(message) = outgoing(delays, delivery) else {
            result.left += 1;
            continue;
        };
        let outcome = publisher.publish(vec![message]).await.pop();
        match outcome {
            Some(Ok(_)) => {
                let ack = channel.basic_ack(tag, BasicAckOptions::default());
                within(timing.answer, "an acknowledgement", ack)
                    .await
                    .map_err(|fault| fault.while_doing(&doing))?;
                result.sent += 1;
            }
            Some(Err(error)) if error.kind() == TransportErrorKind::Unroutable => result.left += 1,
            Some(Err(error)) => return Err(error),
            None => result.left += 1,
        }
    }
    settled(channel, timing)
        .await
        .map_err(|fault| fault.while_doing(&doing))?;
    Ok(result)
}

/// Waits until the broker has read the acknowledgements.
async fn settled(channel: &Channel, timing: &Timing) -> Result<(), Fault> {
    within(
        timing.answer,
        "acknowledgements",
        channel.basic_qos(1, BasicQosOptions::default()),
    )
    .await
}

/// The message as it was sent, straight to its queue. `None` where it says neither who it is nor where it goes.
fn outgoing(delays: &DelayTopology, delivery: lapin::message::Delivery) -> Option<Outgoing> {
    let (_, address) = delays.parse(delivery.routing_key.as_str()).ok()?;
    let id = MessageId::new(delivery.properties.message_id().as_ref()?.as_str()).ok()?;
    Some(Outgoing {
        id,
        to: Route::Queue(address.to_owned()),
        properties: properties::without_the_brokers_own(delivery.properties),
        body: delivery.data.into(),
    })
}
