//! Which messages answer a step, and what can't be awaited.

use std::time::Duration;

use longhaul_core::handler::HandlerResult;
use longhaul_core::headers::Headers;
use longhaul_core::reason::Reason;
use longhaul_core::{Command, Event, Message};
use longhaul_sagas::{Definition, NoTimeout, Saga, SagaContext, Status, StepState};
use longhaul_testing::scenario::Scenario;
use serde::{Deserialize, Serialize};

const HOUR: Duration = Duration::from_secs(3600);

#[derive(Command, Serialize, Deserialize)]
#[message("sales.place_order.v1")]
enum PlaceOrder {
    WithTwoCharges(u64),
    WaitingForSomethingUnknown(u64),
    UndoingAtTheEnd(u64),
    WithTooManySteps(u64),
    WithAFar(u64),
    WithAShortWait(u64),
    WithADelay(u64),
}

#[derive(Command, Serialize, Deserialize)]
#[message("billing.charge_card.v1")]
struct ChargeCard;

#[derive(Command, Serialize, Deserialize)]
#[message("billing.refund_card.v1")]
struct RefundCard;

/// Billing tells the world, it does not reply.
#[derive(Event, Serialize, Deserialize)]
#[message("billing.payment_taken.v1")]
struct PaymentTaken {
    order: u64,
}

#[derive(Event, Serialize, Deserialize)]
#[message("billing.payment_returned.v1")]
struct PaymentReturned {
    order: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[message("billing.unheard_of.v1")]
struct UnheardOf;

#[derive(Command, Serialize, Deserialize)]
#[message("sales.stop_order.v1")]
struct StopOrder {
    order: u64,
}

#[derive(Serialize, Deserialize)]
struct Order {
    taken: u32,
    undo_at_the_end: bool,
}

impl Saga for Order {
    const NAME: &'static str = "order";
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(PlaceOrder::order, Self::start);
        saga.handles(|m: &PaymentTaken| m.order, Self::on_payment_taken);
        saga.handles(|m: &PaymentReturned| m.order, |_, _, _| Ok(()));
        saga.handles(
            |m: &StopOrder| m.order,
            |_, _, ctx| {
                ctx.compensate("nobody wants it");
                Ok(())
            },
        );
        saga.compensated(|order, ctx| {
            if order.undo_at_the_end {
                ctx.send(ChargeCard).undo_with(RefundCard);
            }
            Ok(())
        });
    }
}

impl PlaceOrder {
    const fn order(&self) -> u64 {
        match self {
            Self::WithTwoCharges(order)
            | Self::WaitingForSomethingUnknown(order)
            | Self::UndoingAtTheEnd(order)
            | Self::WithTooManySteps(order)
            | Self::WithAFar(order)
            | Self::WithAShortWait(order)
            | Self::WithADelay(order) => *order,
        }
    }
}

impl Order {
    fn start(place: PlaceOrder, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        let charge = |ctx: &mut SagaContext<Self>| {
            ctx.send(ChargeCard)
                .undo_with(RefundCard)
                .done_by::<PaymentTaken>()
                .undone_by::<PaymentReturned>();
        };
        match place {
            PlaceOrder::WithTwoCharges(_) => {
                charge(ctx);
                charge(ctx);
            }
            PlaceOrder::WaitingForSomethingUnknown(_) => {
                ctx.send(ChargeCard).undo_with(RefundCard).done_by::<UnheardOf>();
            }
            PlaceOrder::UndoingAtTheEnd(_) => {}
            PlaceOrder::WithAShortWait(_) => {
                let step = ctx
                    .send(ChargeCard)
                    .undo_with(RefundCard)
                    .done_by::<PaymentTaken>();
                step.answered_within(Duration::from_secs(5));
            }
            PlaceOrder::WithADelay(_) => {
                ctx.send(ChargeCard)
                    .after(10 * HOUR)
                    .undo_with(RefundCard)
                    .done_by::<PaymentTaken>();
            }
            PlaceOrder::WithTooManySteps(_) => (0..=1000).for_each(|_| charge(ctx)),
            PlaceOrder::WithAFar(_) => {
                ctx.send(ChargeCard)
                    .undo_with(RefundCard)
                    .undo_to("elsewhere".parse_address()?);
            }
        }
        Ok(Self {
            taken: 0,
            undo_at_the_end: matches!(place, PlaceOrder::UndoingAtTheEnd(_)),
        })
    }

    fn on_payment_taken(&mut self, _: PaymentTaken, _: &mut SagaContext<Self>) -> HandlerResult {
        self.taken += 1;
        Ok(())
    }
}

trait ParseAddress {
    fn parse_address(&self) -> HandlerResult<longhaul_core::address::Address>;
}

impl ParseAddress for str {
    fn parse_address(&self) -> HandlerResult<longhaul_core::address::Address> {
        Ok(longhaul_core::address::Address::new(self)?)
    }
}

fn states(scenario: &Scenario<Order>) -> Vec<StepState> {
    scenario.look().map_or_else(Vec::new, |instance| {
        instance.steps.iter().map(|step| step.state).collect()
    })
}

#[test]
fn when_an_event_was_caused_by_a_step_it_answers_that_step() {
    let mut scenario = Scenario::<Order>::new();
    scenario
        .given(PlaceOrder::WithTwoCharges(7))
        .when_caused_by::<ChargeCard>(PaymentTaken { order: 7 })
        .then_state(|order| assert_eq!(order.taken, 1));
    assert_eq!(
        states(&scenario),
        [StepState::Pending, StepState::Done],
        "the last charge caused it"
    );
}

#[test]
fn when_an_event_does_not_say_what_caused_it_it_answers_the_oldest_step_that_waits_for_it() {
    let mut scenario = Scenario::<Order>::new();
    scenario
        .given(PlaceOrder::WithTwoCharges(7))
        .given(PaymentTaken { order: 7 });
    assert_eq!(states(&scenario), [StepState::Done, StepState::Pending]);
}

#[test]
fn when_events_answer_undos_the_compensation_goes_on() {
    Scenario::<Order>::new()
        .given(PlaceOrder::WithTwoCharges(7))
        .given(PaymentTaken { order: 7 })
        .given(PaymentTaken { order: 7 })
        .when(StopOrder { order: 7 })
        .then_sent::<RefundCard>(|_| {})
        .then_nothing_sent()
        .when_caused_by::<RefundCard>(PaymentReturned { order: 7 })
        .then_sent::<RefundCard>(|_| {})
        .when(PaymentReturned { order: 7 })
        .then_compensated();
}

#[test]
fn when_the_saga_does_not_take_what_a_step_waits_for_the_error_names_the_line_that_is_missing() {
    Scenario::<Order>::new()
        .when(PlaceOrder::WaitingForSomethingUnknown(7))
        .then_failed(|error| {
            assert!(
                error.to_string().contains("saga.expects::<UnheardOf>()"),
                "{error}"
            );
        });
}

#[test]
fn when_a_finished_saga_names_an_undo_it_is_told_that_it_can_t() {
    Scenario::<Order>::new()
        .given(PlaceOrder::UndoingAtTheEnd(7))
        .when(StopOrder { order: 7 })
        .then_failed(|error| assert!(error.to_string().contains("the saga is finished"), "{error}"))
        .then_state(|_| {});
}

#[test]
fn when_a_saga_has_a_thousand_steps_it_can_t_have_one_more() {
    Scenario::<Order>::new()
        .when(PlaceOrder::WithTooManySteps(7))
        .then_failed(|error| assert!(error.to_string().contains("1000 steps"), "{error}"));
}

#[test]
fn when_an_undo_has_a_queue_of_its_own_it_goes_there() {
    let mut scenario = Scenario::<Order>::new();
    scenario
        .given(PlaceOrder::WithAFar(7))
        .when(StopOrder { order: 7 });
    assert_eq!(
        scenario.recorded()[0].to.as_ref().map(|queue| queue.as_str()),
        Some("elsewhere")
    );
}

#[test]
fn when_whoever_started_it_did_not_say_where_replies_go_the_saga_is_told_so() {
    use crate::replies_without_address::{Asked, Impolite};
    // A scenario always says where replies go, so this one takes the header away again.
    Scenario::<Impolite>::new()
        .when_with(
            Asked { id: 1 },
            [("longhaul.reply-to", "")].into_iter().collect::<Headers>(),
        )
        .then_failed(|error| assert_eq!(error.reason(), Reason::Unsendable));
}

#[test]
fn when_a_step_has_a_limit_of_its_own_its_answer_is_waited_for_that_long() {
    Scenario::<Order>::new()
        .given(PlaceOrder::WithAShortWait(7))
        .given(StopOrder { order: 7 })
        .advance(Duration::from_secs(4))
        .then_status(Status::Compensating)
        .advance(Duration::from_secs(1))
        .then_status(Status::Stuck);
}

#[test]
fn when_a_step_was_sent_with_a_delay_its_answer_is_waited_for_from_its_arrival() {
    Scenario::<Order>::new()
        .given(PlaceOrder::WithADelay(7))
        .given(StopOrder { order: 7 })
        .advance(10 * HOUR)
        .then_status(Status::Compensating)
        .advance(HOUR)
        .then_status(Status::Stuck);
}
