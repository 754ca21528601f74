//! Messages to send, and what was received of them.

use longhaul_core::{
    address::Address,
    clock::Timestamp,
    envelope::{Envelope, Incoming},
    headers::{self, Headers},
    ids::MessageId,
    transport::{
        Accepted, Delivery, Destination, Dispatch, Receiver, Settled, Settlement, Transport,
        TransportErrorKind,
    },
};

use super::soon;

pub(crate) fn envelope(id: &str) -> Envelope {
    let headers = Headers::from_iter([
        (headers::CONTENT_TYPE, "application/json"),
        (headers::TYPE, "test.thing.v1"),
    ]);
    Envelope::new(
        MessageId::new(id).unwrap(),
        headers,
        format!("body of {id}").into(),
    )
}

/// To a queue, now.
pub(crate) fn to(queue: &Address, id: &str) -> Dispatch {
    Dispatch {
        envelope: envelope(id),
        to: Destination::Queue(queue.clone()),
        due: None,
    }
}

/// To a queue, later.
pub(crate) fn due(queue: &Address, id: &str, due: Timestamp) -> Dispatch {
    Dispatch {
        due: Some(due),
        ..to(queue, id)
    }
}

/// To subscribers.
pub(crate) fn event(name: &str, id: &str) -> Dispatch {
    Dispatch {
        envelope: envelope(id),
        to: Destination::Subscribers(name.to_owned()),
        due: None,
    }
}

/// Sends messages `0..count` to a queue; all must be accepted.
pub(crate) async fn fill(transport: &dyn Transport, queue: &Address, count: usize) {
    let batch: Vec<_> = (0..count).map(|number| to(queue, &number.to_string())).collect();
    for outcome in soon("sending", transport.dispatch(&batch)).await {
        assert_eq!(outcome.unwrap(), Accepted::Queued);
    }
}

/// Sends one message.
pub(crate) async fn send(
    transport: &dyn Transport,
    dispatch: Dispatch,
) -> Result<Accepted, TransportErrorKind> {
    let mut outcomes = soon("sending", transport.dispatch(&[dispatch])).await;
    outcomes.remove(0).map_err(|error| error.kind())
}

/// A received message.
pub(crate) struct Received {
    pub(crate) id: String,
    pub(crate) redeliveries: u32,
    pub(crate) incoming: Incoming,
    pub(crate) settlement: Settlement,
}

impl Received {
    pub(crate) async fn done(self) {
        assert_eq!(self.settlement.acknowledge().await.unwrap(), Settled::Done);
    }

    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        self.incoming
            .headers
            .iter()
            .find(|(one, _)| one == name)
            .map(|(_, value)| value.as_slice())
    }
}

pub(crate) fn open(delivery: Delivery) -> Received {
    let redeliveries = delivery.redeliveries;
    let (incoming, settlement) = delivery.into_parts();
    let id = String::from_utf8_lossy(incoming.id.as_deref().unwrap_or_default()).into_owned();
    Received {
        id,
        redeliveries,
        incoming,
        settlement,
    }
}

/// The next message, soon.
pub(crate) async fn next(receiver: &mut Box<dyn Receiver>) -> Received {
    open(soon("a message", receiver.receive()).await.unwrap())
}
