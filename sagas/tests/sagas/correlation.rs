//! Which instance a message finds.

use longhaul_core::handler::{ErrorClass, HandlerResult};
use longhaul_core::headers::Headers;
use longhaul_core::reason::Reason;
use longhaul_core::{Command, Event};
use longhaul_sagas::{Definition, NoTimeout, Saga, SagaContext, saga_id};
use longhaul_testing::scenario::Scenario;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct OrderId(String);
saga_id!(OrderId);

#[derive(Event, Clone, Serialize, Deserialize)]
#[message("sales.order_placed.v1")]
struct OrderPlaced {
    order: OrderId,
}

#[derive(Event, Serialize, Deserialize)]
#[message("billing.payment_taken.v1")]
struct PaymentTaken {
    order: Option<OrderId>,
}

#[derive(Command, Serialize, Deserialize)]
#[message("sales.add_item.v1")]
struct AddItem {
    order: OrderId,
}

#[derive(Serialize, Deserialize)]
struct Order {
    placed: u32,
    items: u32,
    paid: bool,
}

impl Saga for Order {
    const NAME: &'static str = "order";
    type Id = OrderId;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &OrderPlaced| m.order.clone(), Self::start);
        saga.handles(|m: &OrderPlaced| m.order.clone(), Self::on_placed_again);
        saga.starts_on(|m: &AddItem| m.order.clone(), Self::start_with_item);
        saga.handles(|m: &PaymentTaken| m.order.clone(), Self::on_payment_taken);
    }
}

impl Order {
    fn start(_: OrderPlaced, _: &mut SagaContext<Self>) -> HandlerResult<Self> {
        Ok(Self {
            placed: 1,
            items: 0,
            paid: false,
        })
    }

    fn start_with_item(_: AddItem, _: &mut SagaContext<Self>) -> HandlerResult<Self> {
        Ok(Self {
            placed: 0,
            items: 1,
            paid: false,
        })
    }

    fn on_placed_again(&mut self, _: OrderPlaced, _: &mut SagaContext<Self>) -> HandlerResult {
        self.placed += 1;
        Ok(())
    }

    fn on_payment_taken(&mut self, _: PaymentTaken, _: &mut SagaContext<Self>) -> HandlerResult {
        self.paid = true;
        Ok(())
    }
}

fn id(text: &str) -> OrderId {
    OrderId(text.to_owned())
}

fn placed(text: &str) -> OrderPlaced {
    OrderPlaced { order: id(text) }
}

#[test]
fn when_there_is_no_instance_a_starting_message_creates_one() {
    Scenario::<Order>::new()
        .when(placed("7"))
        .then_state(|order| assert_eq!(order.placed, 1));
}

#[test]
fn when_there_is_an_instance_a_starting_message_is_handled_by_it() {
    Scenario::<Order>::new()
        .given(placed("7"))
        .when(placed("7"))
        .then_state(|order| assert_eq!(order.placed, 2));
}

#[test]
fn when_a_starting_message_has_no_other_function_the_instance_ignores_it() {
    Scenario::<Order>::new()
        .given(placed("7"))
        .when(AddItem { order: id("7") })
        .then_ignored()
        .then_state(|order| assert_eq!(order.items, 0));
}

#[test]
fn when_ids_differ_instances_do_too() {
    Scenario::<Order>::new()
        .given(placed("a"))
        .given(placed("b"))
        .when(PaymentTaken { order: Some(id("a")) })
        .then_state(|order| assert!(order.paid))
        .instance(&id("b"))
        .then_state(|order| assert!(!order.paid));
}

#[test]
fn when_ids_hold_quotes_emoji_or_statements_they_are_data() {
    for text in ["'; DROP TABLE sagas; --", "🚚 \u{202e}", "a\"b\\c", "saga/order"] {
        Scenario::<Order>::new()
            .given(placed(text))
            .when(PaymentTaken {
                order: Some(id(text)),
            })
            .then_state(|order| assert!(order.paid));
    }
}

#[test]
fn when_the_same_message_is_delivered_again_nothing_changes() {
    Scenario::<Order>::new()
        .given(placed("7"))
        .when_again()
        .then_nothing_changed();
}

#[test]
fn when_a_message_carries_no_id_it_is_unreadable_with_no_correlation() {
    Scenario::<Order>::new()
        .when(PaymentTaken { order: None })
        .then_failed(|error| {
            assert_eq!(
                (error.class(), error.reason()),
                (ErrorClass::Unreadable, Reason::NoCorrelation)
            );
        });
}

#[test]
fn when_an_id_is_out_of_range_the_message_is_unreadable_with_bad_correlation() {
    for text in ["", "a\0b", &"x".repeat(201)] {
        Scenario::<Order>::new().when(placed(text)).then_failed(|error| {
            assert_eq!(
                (error.class(), error.reason()),
                (ErrorClass::Unreadable, Reason::BadCorrelation)
            );
        });
    }
}

#[test]
fn when_nothing_started_the_instance_a_message_for_it_is_put_off() {
    Scenario::<Order>::new()
        .when(PaymentTaken { order: Some(id("7")) })
        .then_absent()
        .then_no_instance();
}

fn names_an_instance() -> Headers {
    let target = [
        ("longhaul.target.saga-type", "order"),
        ("longhaul.target.saga-id", "7"),
        ("longhaul.target.saga-incarnation", "m-1"),
    ];
    target.into_iter().collect()
}

#[test]
fn when_a_message_carries_an_explicit_saga_id_it_never_creates() {
    Scenario::<Order>::new()
        .when_with(AddItem { order: id("7") }, names_an_instance())
        .then_absent();
}

#[test]
fn when_an_event_carries_headers_of_an_instance_they_mean_nothing() {
    Scenario::<Order>::new()
        .when_with(placed("8"), names_an_instance())
        .instance(&id("8"))
        .then_state(|order| assert_eq!(order.placed, 1))
        .instance(&id("7"))
        .then_no_instance();
}

#[derive(Serialize, Deserialize)]
struct Undecided;

impl Saga for Undecided {
    const NAME: &'static str = "undecided";
    type Id = String;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &OrderPlaced| m.order.0.clone(), |_, _| Ok(Self));
        saga.handles(|m: &OrderPlaced| format!("order-{}", m.order.0), |_, _, _| Ok(()));
    }
}

#[test]
fn when_two_closures_find_different_ids_in_one_message_it_is_refused() {
    Scenario::<Undecided>::new()
        .when(placed("7"))
        .then_failed(|error| {
            assert_eq!(
                (error.class(), error.reason()),
                (ErrorClass::Permanent, Reason::BadCorrelation)
            );
        });
}
