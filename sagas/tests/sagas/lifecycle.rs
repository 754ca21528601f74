//! From the first message to the tombstone, and a new life after it.

use std::time::Duration;

use longhaul_core::handler::{HandlerError, HandlerResult};
use longhaul_core::{Command, Event, Message};
use longhaul_sagas::{Definition, Outcome, Saga, SagaContext, Status, TimeoutId};
use longhaul_testing::scenario::Scenario;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[message("sales.order_placed.v1")]
struct OrderPlaced {
    order: u64,
    at_once: bool,
}

#[derive(Event, Serialize, Deserialize)]
#[message("billing.payment_taken.v1")]
struct PaymentTaken {
    order: u64,
}

#[derive(Event, Serialize, Deserialize)]
#[message("sales.order_looked_at.v1")]
struct OrderLookedAt {
    order: u64,
}

#[derive(Command, Serialize, Deserialize)]
#[message("sales.change_order.v1")]
struct ChangeOrder {
    order: u64,
    impossible: bool,
}

#[derive(Message, Serialize, Deserialize)]
#[message("sales.order_not_changed.v1")]
struct OrderNotChanged {
    order: u64,
    outcome: Option<String>,
}

#[derive(Command, Serialize, Deserialize)]
#[message("shipping.ship_order.v1")]
struct ShipOrder {
    order: u64,
}

#[derive(Serialize, Deserialize)]
struct Order {
    changes: u32,
    deadline: Option<TimeoutId>,
}

#[derive(Serialize, Deserialize)]
enum Deadline {
    Unpaid,
}

impl Saga for Order {
    const NAME: &'static str = "order";
    type Id = u64;
    type Timeout = Deadline;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &OrderPlaced| m.order, Self::start);
        saga.handles(|m: &PaymentTaken| m.order, Self::on_payment_taken);
        saga.handles(|m: &OrderLookedAt| m.order, |_, _, _| Ok(()));
        saga.handles(|m: &ChangeOrder| m.order, Self::on_change);
        saga.not_found(|m: ChangeOrder, ctx| {
            let outcome = ctx.outcome().map(|outcome| format!("{outcome:?}"));
            ctx.reply(OrderNotChanged {
                order: m.order,
                outcome,
            });
            Ok(())
        });
        saga.times_out(|_, _, _| Ok(()));
    }
}

impl Order {
    fn start(placed: OrderPlaced, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        let deadline = ctx.request_timeout(Duration::from_secs(3600), Deadline::Unpaid);
        if placed.at_once {
            ctx.send(ShipOrder { order: placed.order });
            ctx.complete();
        }
        Ok(Self {
            changes: 0,
            deadline: Some(deadline),
        })
    }

    fn on_payment_taken(&mut self, taken: PaymentTaken, ctx: &mut SagaContext<Self>) -> HandlerResult {
        ctx.send(ShipOrder { order: taken.order });
        ctx.complete();
        Ok(())
    }

    fn on_change(&mut self, change: ChangeOrder, ctx: &mut SagaContext<Self>) -> HandlerResult {
        self.changes += 1;
        ctx.send(ShipOrder { order: change.order });
        match change.impossible {
            true => Err(HandlerError::permanent("change an order that is packed")),
            false => Ok(()),
        }
    }
}

fn placed(order: u64) -> OrderPlaced {
    OrderPlaced {
        order,
        at_once: false,
    }
}

#[test]
fn when_it_completes_state_and_timeouts_go_and_the_outcome_stays() {
    let mut scenario = Scenario::<Order>::new();
    scenario
        .given(placed(7))
        .when(PaymentTaken { order: 7 })
        .then_sent::<ShipOrder>(|ship| assert_eq!(ship.order, 7))
        .then_nothing_sent()
        .then_completed()
        .then_no_timeout_pending();
    let instance = scenario.look().expect("a tombstone");
    assert_eq!((instance.state, instance.timeouts.len()), (None, 0));
    assert_eq!(instance.outcome, Some(Outcome::Completed));
    scenario.advance(Duration::from_secs(7200)).then_nothing_changed();
}

#[test]
fn when_the_retention_has_passed_the_tombstone_is_forgotten() {
    Scenario::<Order>::new()
        .given(placed(7))
        .given(PaymentTaken { order: 7 })
        .advance(Duration::from_secs(7 * 24 * 3600))
        .then_no_instance();
}

#[test]
fn when_it_completes_in_its_first_message_only_the_tombstone_is_written() {
    let mut scenario = Scenario::<Order>::new();
    scenario
        .when(OrderPlaced {
            order: 7,
            at_once: true,
        })
        .then_sent::<ShipOrder>(|_| {})
        .then_nothing_sent()
        .then_completed();
    assert_eq!(scenario.record().map(|record| record.version), Some(1));
    scenario.advance(Duration::from_secs(7200)).then_nothing_changed();
}

#[test]
fn when_it_was_finished_a_starting_message_begins_a_new_life() {
    let mut scenario = Scenario::<Order>::new();
    scenario.given(placed(7));
    let first = scenario.look().map(|instance| instance.incarnation);
    scenario
        .given(PaymentTaken { order: 7 })
        .when(placed(7))
        .then_status(Status::Active);
    let second = scenario.look().map(|instance| instance.incarnation);
    assert_ne!(first, second);
    assert_eq!(scenario.record().map(|record| record.version), Some(3));
}

#[test]
fn when_a_message_comes_late_it_is_counted_and_forgotten() {
    Scenario::<Order>::new()
        .given(placed(7))
        .given(PaymentTaken { order: 7 })
        .when(PaymentTaken { order: 7 })
        .then_ignored()
        .then_completed();
}

#[test]
fn when_a_message_comes_late_and_the_saga_wants_to_know_it_goes_to_not_found() {
    Scenario::<Order>::new()
        .given(placed(7))
        .given(PaymentTaken { order: 7 })
        .when(ChangeOrder {
            order: 7,
            impossible: false,
        })
        .then_replied::<OrderNotChanged>(|reply| assert_eq!(reply.outcome.as_deref(), Some("Completed")))
        .then_nothing_changed()
        .then_completed();
}

#[test]
fn when_the_instance_does_not_appear_in_time_the_message_goes_to_not_found() {
    Scenario::<Order>::new()
        .when(ChangeOrder {
            order: 7,
            impossible: false,
        })
        .then_absent()
        .when_for_the_last_time(ChangeOrder {
            order: 7,
            impossible: false,
        })
        .then_replied::<OrderNotChanged>(|reply| assert_eq!(reply.outcome, None))
        .then_nothing_sent();
}

#[test]
fn when_the_instance_does_not_appear_and_there_is_no_not_found_nothing_takes_it() {
    Scenario::<Order>::new()
        .when_for_the_last_time(PaymentTaken { order: 7 })
        .then_absent();
}

#[test]
fn when_the_state_did_not_change_it_is_not_written() {
    Scenario::<Order>::new()
        .given(placed(7))
        .when(OrderLookedAt { order: 7 })
        .then_nothing_changed();
}

#[test]
fn when_a_function_fails_nothing_of_it_takes_effect() {
    Scenario::<Order>::new()
        .given(placed(7))
        .when(ChangeOrder {
            order: 7,
            impossible: true,
        })
        .then_failed(|error| assert_eq!(error.to_string(), "change an order that is packed"))
        .then_state(|order| assert_eq!(order.changes, 0));
}
