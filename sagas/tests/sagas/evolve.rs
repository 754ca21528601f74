//! State of older versions is migrated; state of newer ones, or that can't be read, is left alone.

use longhaul_core::Event;
use longhaul_core::handler::{ErrorClass, HandlerResult};
use longhaul_core::reason::Reason;
use longhaul_sagas::{Definition, NoTimeout, Saga, SagaContext};
use longhaul_testing::scenario::Scenario;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[message("sales.order_placed.v1")]
struct OrderPlaced {
    order: u64,
}

#[derive(Event, Serialize, Deserialize)]
#[message("sales.order_touched.v1")]
struct OrderTouched {
    order: u64,
}

trait Stored: Saga<Id = u64, Timeout = NoTimeout> {
    fn first() -> Self;

    fn define_all(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &OrderPlaced| m.order, |_, _| Ok(Self::first()));
        saga.handles(|m: &OrderTouched| m.order, |_, _, _| Ok(()));
    }
}

#[derive(Serialize, Deserialize)]
struct OrderV1 {
    cents: u64,
}

impl Stored for OrderV1 {
    fn first() -> Self {
        Self { cents: 1250 }
    }
}

impl Saga for OrderV1 {
    const NAME: &'static str = "order";
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        Self::define_all(saga);
    }
}

#[derive(Serialize, Deserialize)]
struct OrderV2 {
    amount: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    amount: String,
    currency: String,
}

impl From<OrderV1> for OrderV2 {
    fn from(old: OrderV1) -> Self {
        Self {
            amount: format!("{}.{:02}", old.cents / 100, old.cents % 100),
        }
    }
}

impl From<OrderV2> for Order {
    fn from(old: OrderV2) -> Self {
        Self {
            amount: old.amount,
            currency: "EUR".to_owned(),
        }
    }
}

impl Stored for Order {
    fn first() -> Self {
        Self {
            amount: "1.00".to_owned(),
            currency: "EUR".to_owned(),
        }
    }
}

impl Saga for Order {
    const NAME: &'static str = "order";
    const VERSION: u32 = 3;
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        Self::define_all(saga);
        saga.evolve(1, |old: OrderV1| OrderV2::from(old));
        saga.evolve(2, |old: OrderV2| Self::from(old));
    }
}

#[test]
fn when_stored_state_is_of_an_older_version_it_passes_the_whole_chain() {
    Scenario::<OrderV1>::new()
        .given(OrderPlaced { order: 7 })
        .deploy::<Order>()
        .when(OrderTouched { order: 7 })
        .then_state(|order| {
            assert_eq!((order.amount.as_str(), order.currency.as_str()), ("12.50", "EUR"));
        });
}

#[test]
fn when_stored_state_is_newer_than_the_code_only_its_messages_are_refused_and_nothing_is_overwritten() {
    let mut older = Scenario::<Order>::new()
        .given(OrderPlaced { order: 7 })
        .deploy::<OrderV1>();
    older.when(OrderTouched { order: 7 }).then_failed(|error| {
        assert_eq!(
            (error.class(), error.reason()),
            (ErrorClass::Permanent, Reason::UnreadableState)
        );
        assert!(error.to_string().contains("version 3"), "{error}");
    });
    older.given(OrderPlaced { order: 8 }).then_state(|_| {});
    older
        .deploy::<Order>()
        .when(OrderTouched { order: 7 })
        .then_state(|order| assert_eq!(*order, Order::first()));
}

#[derive(Serialize, Deserialize)]
struct Incompatible {
    amount: u64,
}

impl Stored for Incompatible {
    fn first() -> Self {
        Self { amount: 1 }
    }
}

impl Saga for Incompatible {
    const NAME: &'static str = "order";
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        Self::define_all(saga);
    }
}

#[test]
fn when_stored_state_can_t_be_decoded_that_instance_is_parked_and_only_that_one() {
    let mut changed = Scenario::<OrderV1>::new()
        .given(OrderPlaced { order: 7 })
        .deploy::<Incompatible>();
    changed.when(OrderTouched { order: 7 }).then_failed(|error| {
        assert_eq!(
            (error.class(), error.reason()),
            (ErrorClass::Permanent, Reason::UnreadableState)
        );
        assert!(
            error.to_string().contains("\"7\""),
            "it names the instance: {error}"
        );
    });
    changed
        .given(OrderPlaced { order: 8 })
        .when(OrderTouched { order: 8 })
        .then_state(|_| {});
}

#[derive(Serialize, Deserialize)]
struct WithGap;

impl Saga for WithGap {
    const NAME: &'static str = "order";
    const VERSION: u32 = 4;
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(
            |m: &OrderPlaced| m.order,
            |_: OrderPlaced, _: &mut SagaContext<Self>| -> HandlerResult<Self> { Ok(Self) },
        );
        saga.evolve(1, |old: OrderV1| OrderV2::from(old));
        saga.evolve(2, |_: OrderV1| Self);
        saga.evolve(7, |_: OrderV1| Self);
    }
}

#[test]
fn when_the_chain_has_gaps_ends_or_steps_that_do_not_fit_all_of_it_is_a_fault() {
    use longhaul_core::stateful::StatefulHandler;
    let faults = longhaul_sagas::SagaParticipant::<WithGap>::new().faults();
    assert_eq!(faults.len(), 3, "{faults:#?}");
    assert!(faults[0].contains("evolve(3, |old: …| …)"), "{faults:#?}");
    assert!(
        faults[1].contains("OrderV2, but what follows takes"),
        "{faults:#?}"
    );
    assert!(faults[2].contains("evolve(7, …)"), "{faults:#?}");
}
