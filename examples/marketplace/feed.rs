//! Plays what happened to the orders: each event at its own time, under an id that follows from the order.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use longhaul::endpoint::{Batch, EndpointErrorKind};
use longhaul::ids::derived_message_id;
use longhaul::prelude::*;

use crate::messages::{OrderDelivered, OrderPlaced, OrderShipped, PaymentApproved};
use crate::orders::Order;
use crate::pace::Transit;

/// Events that the broker is being given at once.
const AT_ONCE: usize = 256;
/// How often an event is offered to a broker that can't take it.
const ATTEMPTS: u32 = 100;

/// What happened, in the order of time.
pub(crate) struct Feed<'a> {
    events: Vec<Event<'a>>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Placed,
    Approved,
    Shipped,
    Delivered,
}

struct Event<'a> {
    played: Timestamp,
    at: Timestamp,
    what: What,
    order: &'a Order,
}

impl<'a> Feed<'a> {
    /// The events of `orders` after `position`.
    pub(crate) fn new(orders: &'a [Order], position: Option<Timestamp>) -> Self {
        let mut events: Vec<_> = orders.iter().flat_map(events).collect();
        events.retain(|event| position.is_none_or(|position| event.played > position));
        // Stable, so that events of one instant stay in the order of the file.
        events.sort_by_key(|event| (event.played, event.what));
        Self { events }
    }

    /// How many events there are.
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// When the first one is played.
    pub(crate) fn begin(&self) -> Option<Timestamp> {
        self.events.first().map(|event| event.played)
    }

    /// When each event is played, in order.
    pub(crate) fn times(&self) -> Vec<Timestamp> {
        self.events.iter().map(|event| event.played).collect()
    }

    /// Publishes all events, each at its time, and waits until they have arrived. `published` is told of each.
    pub(crate) async fn play(
        &self,
        outlet: &Outlet<'_>,
        mut published: impl AsyncFnMut(Timestamp) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut waiting = self.events.iter().enumerate().peekable();
        let mut publishing = FuturesOrdered::new();
        loop {
            let next = waiting.peek().map(|(_, event)| event.played);
            tokio::select! {
                biased;
                Some(done) = publishing.next(), if !publishing.is_empty() => published(done?).await?,
                () = outlet.clock.sleep_until(next.unwrap_or(Timestamp::MIN)), if next.is_some() && publishing.len() < AT_ONCE => {
                    let event = waiting.next();
                    publishing.extend(event.map(|(number, event)| outlet.publish(number, event)));
                }
                else => break,
            }
        }
        outlet
            .transit
            .arrived()
            .wait_for(|arrived| *arrived == self.events.len())
            .await?;
        Ok(())
    }
}

/// Where the feed goes.
pub(crate) struct Outlet<'a> {
    pub(crate) session: &'a Session,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) transit: &'a Transit,
    /// How long sagas wait for events that are on their way.
    pub(crate) patience: Duration,
    /// How long to wait, in real time, before an event is offered again to a broker that could not take it.
    pub(crate) pause: Option<Duration>,
}

impl Outlet<'_> {
    async fn publish(&self, number: usize, event: &Event<'_>) -> anyhow::Result<Timestamp> {
        let id = derived_message_id(&["marketplace", &event.order.id], event.what as u64);
        let mut attempts = 1;
        loop {
            // The same id each time, so an event whose fate is unknown can be published again.
            let mut batch = self.session.begin_as(id.clone());
            let sent = event.add_to(&mut batch, self.patience);
            self.transit.send(sent, number);
            match (batch.commit().await, self.pause) {
                (Ok(()), _) => break,
                (Err(error), Some(pause))
                    if error.kind() == EndpointErrorKind::Transport && attempts < ATTEMPTS =>
                {
                    attempts += 1;
                    tokio::time::sleep(pause).await;
                }
                (Err(error), _) => return Err(error).context("an event can't be published"),
            }
        }
        if event.what == What::Shipped {
            // Nobody subscribes to it.
            self.transit.arrive(number);
        }
        Ok(event.played)
    }
}

impl Event<'_> {
    fn add_to(&self, batch: &mut Batch, patience: Duration) -> MessageId {
        let (order, at, estimated) = (self.order.id.clone(), self.at, self.order.estimated);
        let patience = patience.as_secs();
        let sent = match self.what {
            What::Placed => batch.publish(OrderPlaced {
                order,
                at,
                estimated,
                patience,
            }),
            What::Approved => batch.publish(PaymentApproved { order, at }),
            What::Shipped => batch.publish(OrderShipped { order, at }),
            What::Delivered => batch.publish(OrderDelivered { order, at }),
        };
        sent.id.clone()
    }
}

fn events(order: &Order) -> impl Iterator<Item = Event<'_>> {
    let all = [
        (What::Placed, Some(order.purchased)),
        (What::Approved, order.approved),
        (What::Shipped, order.shipped),
        (What::Delivered, order.delivered),
    ];
    all.into_iter().filter_map(|(what, at)| {
        let at = at?;
        // Nothing can be told of an order before there is one; the event itself keeps its time.
        let played = at.max(order.purchased);
        Some(Event {
            played,
            at,
            what,
            order,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    fn order(id: &str) -> Order {
        Order {
            id: id.to_owned(),
            purchased: at("2018-01-02T00:00:00Z"),
            approved: None,
            shipped: None,
            delivered: None,
            estimated: at("2018-02-01T00:00:00Z"),
        }
    }

    #[test]
    fn when_an_order_ships_before_it_is_approved_the_events_come_in_that_order() {
        let shipped_first = Order {
            approved: Some(at("2018-01-04T00:00:00Z")),
            shipped: Some(at("2018-01-03T00:00:00Z")),
            ..order("a")
        };
        let orders = [shipped_first];
        let what: Vec<_> = Feed::new(&orders, None)
            .events
            .iter()
            .map(|event| event.what as u8)
            .collect();
        assert_eq!(
            what,
            [What::Placed as u8, What::Shipped as u8, What::Approved as u8]
        );
    }

    #[test]
    fn when_an_event_is_older_than_its_order_it_is_played_right_after_it_with_its_own_time() {
        let early = at("2018-01-01T00:00:00Z");
        let orders = [Order {
            delivered: Some(early),
            ..order("a")
        }];
        let feed = Feed::new(&orders, None);
        assert_eq!(feed.begin(), Some(orders[0].purchased));
        assert!(feed.events[1].what == What::Delivered);
        assert_eq!(
            (feed.events[1].played, feed.events[1].at),
            (orders[0].purchased, early)
        );
    }

    #[test]
    fn when_a_position_is_given_only_what_comes_after_it_is_played() {
        let delivered = at("2018-01-05T00:00:00Z");
        let orders = [Order {
            delivered: Some(delivered),
            ..order("a")
        }];
        assert_eq!(Feed::new(&orders, None).len(), 2);
        assert_eq!(Feed::new(&orders, Some(orders[0].purchased)).len(), 1);
        assert_eq!(Feed::new(&orders, Some(delivered)).len(), 0);
    }
}
