//! Testing a saga: stories of messages and time, and then everything that can go wrong, on virtual time.
//!
//! `cargo run --features testing --example testing_a_saga`; in a project of your own each function is a `#[test]`.

use std::time::Duration;

use longhaul::prelude::*;
use longhaul::testing::scenario::Scenario;
use longhaul::testing::{Effects, Outside, Simulation, Workload};
use serde::{Deserialize, Serialize};

const DAY: Duration = Duration::from_secs(86_400);

#[derive(Event, Serialize, Deserialize)]
#[message("sales.order_placed.v1")]
struct OrderPlaced {
    order: u64,
    cents: u64,
}

#[derive(Command, Serialize, Deserialize)]
#[message("billing.charge_card.v1")]
struct ChargeCard {
    order: u64,
    cents: u64,
}

#[derive(Command, Serialize, Deserialize)]
#[message("billing.refund_card.v1")]
struct RefundCard {
    order: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[message("billing.payment_taken.v1")]
struct PaymentTaken {}

#[derive(Event, Serialize, Deserialize)]
#[message("sales.order_confirmed.v1")]
struct OrderConfirmed {
    order: u64,
}

/// Confirms an order that is paid within a day; a payment that comes later is refunded.
#[derive(Serialize, Deserialize)]
struct OrderSaga {
    order: u64,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Deadline {
    PaymentOverdue,
}

impl Saga for OrderSaga {
    const NAME: &'static str = "order";
    type Id = u64;
    type Timeout = Deadline;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &OrderPlaced| m.order, Self::start);
        saga.on_reply(Self::on_payment_taken);
        saga.times_out(Self::on_deadline);
    }
}

impl OrderSaga {
    fn start(OrderPlaced { order, cents }: OrderPlaced, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        ctx.send(ChargeCard { order, cents })
            .undo_with(RefundCard { order })
            .done_by::<PaymentTaken>();
        ctx.request_timeout(DAY, Deadline::PaymentOverdue);
        Ok(Self { order })
    }

    fn on_payment_taken(&mut self, _: PaymentTaken, ctx: &mut SagaContext<Self>) -> HandlerResult {
        if !ctx.is_compensating() {
            ctx.publish(OrderConfirmed { order: self.order });
            ctx.complete();
        }
        Ok(())
    }

    fn on_deadline(&mut self, deadline: Deadline, ctx: &mut SagaContext<Self>) -> HandlerResult {
        let Deadline::PaymentOverdue = deadline;
        ctx.compensate("not paid within a day");
        Ok(())
    }
}

fn placed() -> OrderPlaced {
    let (order, cents) = (7, 1999);
    OrderPlaced { order, cents }
}

fn an_order_that_is_paid_is_confirmed() {
    Scenario::<OrderSaga>::new()
        .when(placed())
        .then_sent::<ChargeCard>(|charge| assert_eq!(charge.cents, 1999))
        .then_timeout_pending(DAY, |Deadline::PaymentOverdue| {})
        .when_reply::<ChargeCard>(PaymentTaken {})
        .then_published::<OrderConfirmed>(|confirmed| assert_eq!(confirmed.order, 7))
        .then_completed();
}

fn a_payment_that_comes_after_the_deadline_is_refunded_once() {
    Scenario::<OrderSaga>::new()
        .given(placed())
        .advance(DAY)
        .then_nothing_sent()
        .when_reply::<ChargeCard>(PaymentTaken {})
        .then_sent::<RefundCard>(|refund| assert_eq!(refund.order, 7))
        .then_compensated()
        .when_again()
        .then_nothing_changed();
}

/// The bank, which fails like a real one: the simulation says no in its place, answers late, or not at all.
struct Billing(Outside);

impl Handler<ChargeCard> for Billing {
    async fn handle(&self, ChargeCard { order, cents }: ChargeCard, ctx: &mut Context) -> HandlerResult {
        let (order, cents) = (order.to_string(), i64::try_from(cents)?);
        self.0
            .once("charge", &order, cents, ctx.idempotency_key())
            .await?;
        ctx.reply(PaymentTaken {});
        Ok(())
    }
}

impl Handler<RefundCard> for Billing {
    async fn handle(&self, RefundCard { order }: RefundCard, ctx: &mut Context) -> HandlerResult {
        let order = order.to_string();
        self.0.once("refund", &order, 0, ctx.idempotency_key()).await?;
        Ok(())
    }
}

fn whatever_goes_wrong_an_order_is_confirmed_or_refunded() {
    let placed = (1..=3).map(|order| OrderPlaced { order, cents: 1999 });
    let workload = placed.fold(Workload::new(), Workload::publish);
    Simulation::of(|world| {
        world
            .endpoint("sales", |endpoint, _| {
                endpoint
                    .saga::<OrderSaga>()
                    .route::<ChargeCard>("billing")
                    .route::<RefundCard>("billing")
            })
            .storeless("billing", |endpoint, outside| {
                endpoint
                    .idempotent_handler::<ChargeCard>(Billing(outside.clone()))
                    .idempotent_handler::<RefundCard>(Billing(outside.clone()))
            })
    })
    .workload(workload)
    .invariant("what is charged is confirmed or refunded", |effects: &Effects| {
        let confirmed = effects.messages::<OrderConfirmed>();
        let placed = effects.messages::<OrderPlaced>();
        placed.iter().all(|placed| {
            let times = |what| effects.count(what, &placed.order.to_string());
            let confirmations = confirmed.iter().filter(|end| end.order == placed.order);
            times("charge") <= 1 && times("charge") == confirmations.count() + times("refund")
        })
    })
    .check(200);
}

fn main() {
    an_order_that_is_paid_is_confirmed();
    println!("an order that is paid is confirmed: ok");
    a_payment_that_comes_after_the_deadline_is_refunded_once();
    println!("a payment that comes after the deadline is refunded once: ok");
    whatever_goes_wrong_an_order_is_confirmed_or_refunded();
    println!("whatever goes wrong, an order is confirmed or refunded: ok");
}
