//! The saga of one order: payment within three days, delivery within the time promised.
//!
//! It decides by the times that events carry, and uses timeouts only to learn that something did not happen.

use std::time::Duration;

use longhaul::prelude::*;
use longhaul::sagas::{NotFoundContext, Outcome};
use serde::{Deserialize, Serialize};

use crate::messages::{
    OrderCompleted, OrderDelivered, OrderPlaced, PaymentApproved, RefundPayment, ReleaseStock, ReserveStock,
    SendVoucher,
};

/// How long a customer has to pay; the last instant counts.
pub(crate) const PAY_WITHIN: Duration = Duration::from_secs(3 * 86_400);

/// What is known of one order.
#[derive(Serialize, Deserialize)]
pub(crate) struct OrderSaga {
    order: String,
    pay_by: Timestamp,
    estimated: Timestamp,
    approved: Option<Timestamp>,
    delivered: Option<Timestamp>,
    /// The estimated time has passed.
    overdue: bool,
    voucher_sent: bool,
}

/// What the saga waits for.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Deadline {
    Payment,
    Delivery,
}

impl Saga for OrderSaga {
    const NAME: &'static str = "order";
    type Id = String;
    type Timeout = Deadline;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &OrderPlaced| m.order.clone(), Self::start);
        saga.handles(|m: &PaymentApproved| m.order.clone(), Self::on_approved);
        saga.handles(|m: &OrderDelivered| m.order.clone(), Self::on_delivered);
        saga.times_out(Self::on_deadline);
        saga.not_found(approved_after_the_end);
    }
}

impl OrderSaga {
    fn start(placed: OrderPlaced, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        let pay_by = placed.at + PAY_WITHIN;
        let patience = Duration::from_secs(placed.patience);
        ctx.send(ReserveStock {
            order: placed.order.clone(),
        })
        .undo_with(ReleaseStock {
            order: placed.order.clone(),
        });
        // A timeout fires after its instant: what happens at the deadline is in time.
        ctx.request_timeout(pay_by + patience, Deadline::Payment);
        ctx.request_timeout(placed.estimated + patience, Deadline::Delivery);
        Ok(Self {
            order: placed.order,
            pay_by,
            estimated: placed.estimated,
            approved: None,
            delivered: None,
            overdue: false,
            voucher_sent: false,
        })
    }

    fn on_approved(
        &mut self,
        PaymentApproved { at, .. }: PaymentApproved,
        ctx: &mut SagaContext<Self>,
    ) -> HandlerResult {
        self.approved = Some(at);
        self.go_on(ctx);
        Ok(())
    }

    fn on_delivered(
        &mut self,
        OrderDelivered { at, .. }: OrderDelivered,
        ctx: &mut SagaContext<Self>,
    ) -> HandlerResult {
        self.delivered = Some(at);
        self.go_on(ctx);
        Ok(())
    }

    fn on_deadline(&mut self, deadline: Deadline, ctx: &mut SagaContext<Self>) -> HandlerResult {
        match deadline {
            Deadline::Payment if !self.stands() => self.cancel(ctx),
            Deadline::Payment => {}
            Deadline::Delivery => {
                self.overdue = true;
                self.go_on(ctx);
            }
        }
        Ok(())
    }

    /// Whether it is certain that the order is not cancelled: it was paid in time, or is there already.
    fn stands(&self) -> bool {
        let by_then = |event: Option<Timestamp>| event.is_some_and(|at| at <= self.pay_by);
        by_then(self.approved) || by_then(self.delivered)
    }

    /// Does what follows from all that is known, in whatever order it came.
    fn go_on(&mut self, ctx: &mut SagaContext<Self>) {
        if !self.stands() {
            return; // the payment deadline decides
        }
        let in_time = self.delivered.map(|at| at <= self.estimated);
        let late = in_time.map_or(self.overdue, |in_time| !in_time);
        if late && !self.voucher_sent {
            ctx.send(SendVoucher {
                order: self.order.clone(),
            });
            self.voucher_sent = true;
        }
        if let Some(in_time) = in_time {
            let order = self.order.clone();
            ctx.publish(OrderCompleted { order, in_time });
            ctx.complete();
        }
    }

    fn cancel(&self, ctx: &mut SagaContext<Self>) {
        // An approval can be known here already: one that came while messages were waited for.
        if self.approved.is_some() {
            ctx.send(RefundPayment {
                order: self.order.clone(),
            });
        }
        ctx.compensate("not paid within three days");
    }
}

/// A finished order leaves only a tombstone, and that tells what late money is for.
fn approved_after_the_end(approved: PaymentApproved, ctx: &mut NotFoundContext<'_>) -> HandlerResult {
    match ctx.outcome() {
        Some(Outcome::Compensated) => {
            ctx.send(RefundPayment {
                order: approved.order,
            });
            Ok(())
        }
        Some(_) => Ok(()), // it is there: the customer owed the money
        None => Err(HandlerError::permanent(format!(
            "take the money for the order {:?}: nobody placed it",
            approved.order
        ))),
    }
}

#[cfg(test)]
mod tests {
    use longhaul::ids::{Randomness, SeededRandomness};
    use longhaul::outbound::Outgoing;
    use longhaul_testing::scenario::Scenario;

    use super::*;
    use crate::effects::{Effect, Kind, count};
    use crate::orders::Order;
    use crate::summary::Summary;
    use crate::truth;

    const PATIENCE: u64 = 60;
    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(86_400);

    fn order(estimated: Duration, approved: Option<Duration>, delivered: Option<Duration>) -> Order {
        let purchased = Timestamp::parse("2018-01-01T10:00:00Z").expect("a time");
        Order {
            id: String::from("a"),
            purchased,
            approved: approved.map(|after| purchased + after),
            shipped: None,
            delivered: delivered.map(|after| purchased + after),
            estimated: purchased + estimated,
        }
    }

    /// What the saga does for an order whose approval and delivery come so many seconds after they happened.
    fn played(order: &Order, slow_approval: u64, slow_delivery: u64) -> Summary {
        let mut scenario = Scenario::<OrderSaga>::starting_at(order.purchased);
        scenario.when(OrderPlaced {
            order: order.id.clone(),
            at: order.purchased,
            estimated: order.estimated,
            patience: PATIENCE,
        });
        let mut effects: Vec<Effect> = scenario.recorded().iter().map(effect).collect();
        let arrives = |at: Option<Timestamp>, slow| at.map(|at| at + Duration::from_secs(slow));
        let mut arrivals = [
            (arrives(order.approved, slow_approval), true),
            (arrives(order.delivered, slow_delivery), false),
        ];
        arrivals.sort();
        for (arrival, approval) in arrivals {
            let Some(arrival) = arrival else { continue };
            scenario.advance(arrival.since(scenario.now()));
            effects.extend(scenario.recorded().iter().map(effect));
            let order_id = order.id.clone();
            match (approval, order.approved, order.delivered) {
                (true, Some(at), _) => scenario.when(PaymentApproved { order: order_id, at }),
                (_, _, Some(at)) => scenario.when(OrderDelivered { order: order_id, at }),
                (_, _, None) => continue,
            };
            effects.extend(scenario.recorded().iter().map(effect));
        }
        scenario.advance(DAY * 30);
        effects.extend(scenario.recorded().iter().map(effect));
        count(&effects)
    }

    fn effect(sent: &Outgoing) -> Effect {
        let kind = match &*sent.type_name {
            ReserveStock::NAME => Kind::StockReserved,
            ReleaseStock::NAME => Kind::StockReleased,
            RefundPayment::NAME => Kind::PaymentRefunded,
            SendVoucher::NAME => Kind::VoucherSent,
            OrderCompleted::NAME => {
                let completed: OrderCompleted = serde_json::from_slice(&sent.body).expect("reads");
                if completed.in_time {
                    Kind::DeliveredInTime
                } else {
                    Kind::DeliveredLate
                }
            }
            other => panic!("{other} was not expected"),
        };
        Effect {
            order: String::from("a"),
            kind,
        }
    }

    #[test]
    fn when_an_order_is_not_paid_its_stock_is_released_and_late_money_goes_back_once() {
        let order = order(DAY * 10, None, None);
        let (id, at) = (order.id, order.purchased + DAY * 9);
        Scenario::<OrderSaga>::starting_at(order.purchased)
            .given(OrderPlaced {
                order: id.clone(),
                at: order.purchased,
                estimated: order.estimated,
                patience: 0,
            })
            .advance(DAY * 3)
            .then_sent::<ReleaseStock>(|release| assert_eq!(release.order, "a"))
            .then_compensated()
            .when(PaymentApproved {
                order: id.clone(),
                at,
            })
            .then_sent::<RefundPayment>(|refund| assert_eq!(refund.order, "a"))
            .when_again()
            .then_nothing_sent()
            .when(OrderDelivered { order: id, at })
            .then_ignored()
            .advance(DAY * 3)
            .then_nothing_sent();
    }

    #[test]
    fn when_a_delivered_order_is_approved_afterwards_nothing_is_refunded() {
        let order = order(DAY * 10, None, None);
        let (id, at) = (order.id, order.purchased + DAY);
        Scenario::<OrderSaga>::starting_at(order.purchased)
            .given(OrderPlaced {
                order: id.clone(),
                at: order.purchased,
                estimated: order.estimated,
                patience: 0,
            })
            .when(OrderDelivered {
                order: id.clone(),
                at,
            })
            .then_published::<OrderCompleted>(|completed| assert!(completed.in_time))
            .then_completed()
            .when(PaymentApproved { order: id, at })
            .then_nothing_sent();
    }

    #[test]
    fn when_events_come_in_any_order_within_the_patience_the_saga_does_what_the_truth_says() {
        let randomness = SeededRandomness::new(2018);
        let below = |n: u64| randomness.next_u64() % n;
        // Around the deadlines, to the second.
        let near = |deadline: Duration| match below(4) {
            0 => Some(deadline),
            1 => Some(deadline + Duration::from_secs(1)),
            2 => Some(deadline - Duration::from_secs(1)),
            _ => None,
        };
        for _ in 0..2_000 {
            let estimated = [HOUR, DAY, PAY_WITHIN, DAY * 9][usize::try_from(below(4)).expect("small")];
            let some_time = |which: u64| match which {
                0 => near(PAY_WITHIN),
                1 => near(estimated),
                // A scenario remembers what is finished for a week.
                _ => Some(Duration::from_secs(below(9 * 86_400))),
            };
            let order = order(estimated, some_time(below(3)), some_time(below(3)));
            for (slow_approval, slow_delivery) in [(0, 0), (PATIENCE - 1, 0), (0, PATIENCE - 1), (7, 7)] {
                let expected = truth::of(std::slice::from_ref(&order));
                let found = played(&order, slow_approval, slow_delivery);
                assert_eq!(
                    found, expected,
                    "{order:?}, {slow_approval} s and {slow_delivery} s late"
                );
            }
        }
    }
}
