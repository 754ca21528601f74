//! Faults in a saga's table are reported all together, each with what mends it.

use longhaul_core::Event;
use longhaul_core::message::MessageKind;
use longhaul_core::stateful::StatefulHandler;
use longhaul_sagas::{CompensationPolicy, Definition, NoTimeout, Saga, SagaParticipant};
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[message("sales.order_placed.v1")]
struct OrderPlaced {
    order: u64,
}

#[derive(Event, Serialize, Deserialize)]
#[message("sales.order_placed.v1")]
struct AlsoOrderPlaced {
    order: u64,
}

#[derive(Event, Serialize, Deserialize)]
#[message("billing.payment_taken.v1")]
struct PaymentTaken {
    order: u64,
}

fn faults<S: Saga>() -> Vec<String> {
    SagaParticipant::<S>::new().faults()
}

#[derive(Serialize, Deserialize)]
enum Deadline {
    Unpaid,
}

#[derive(Serialize, Deserialize)]
struct Empty;

impl Saga for Empty {
    const NAME: &'static str = "an order!";
    type Id = u64;
    type Timeout = Deadline;

    fn define(saga: &mut Definition<Self>) {
        saga.compensation(CompensationPolicy {
            undo_attempts: 0,
            ..CompensationPolicy::default()
        });
        saga.not_found(|_: PaymentTaken, _| Ok(()));
    }
}

#[test]
fn when_much_is_wrong_all_of_it_is_reported_with_what_mends_it() {
    let faults = faults::<Empty>();
    let mends = [
        "`NAME` is",
        "saga.starts_on(",
        "saga.handles(",
        "saga.times_out(",
        "undo_attempts",
    ];
    assert_eq!(faults.len(), mends.len(), "{faults:#?}");
    for (fault, mend) in faults.iter().zip(mends) {
        assert!(fault.contains(mend), "{fault}");
    }
    assert!(matches!(Deadline::Unpaid, Deadline::Unpaid));
}

#[derive(Serialize, Deserialize)]
struct Twice;

impl Saga for Twice {
    const NAME: &'static str = "twice";
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &OrderPlaced| m.order, |_, _| Ok(Self));
        saga.starts_on(|m: &OrderPlaced| m.order, |_, _| Ok(Self));
        saga.handles(|m: &PaymentTaken| m.order, |_, _, _| Ok(()));
        saga.on_reply(|_, _: PaymentTaken, _| Ok(()));
        saga.times_out(|_, _, _| Ok(()));
        saga.times_out(|_, _, _| Ok(()));
        saga.compensated(|_, _| Ok(()));
        saga.compensated(|_, _| Ok(()));
    }
}

#[test]
fn when_something_is_said_twice_it_is_a_fault() {
    let faults = faults::<Twice>();
    assert_eq!(faults.len(), 4, "{faults:#?}");
    assert!(
        faults.iter().all(|fault| fault.contains("keep one")),
        "{faults:#?}"
    );
}

#[derive(Serialize, Deserialize)]
struct TwoTypes;

impl Saga for TwoTypes {
    const NAME: &'static str = "two-types";
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &OrderPlaced| m.order, |_, _| Ok(Self));
        saga.while_compensating(|m: &AlsoOrderPlaced| m.order, |_, _, _| Ok(()));
    }
}

#[test]
fn when_two_types_share_a_wire_name_it_is_a_fault() {
    let faults = faults::<TwoTypes>();
    assert!(
        !faults.is_empty() && faults.iter().all(|fault| fault.contains("two types")),
        "{faults:#?}"
    );
}

#[derive(Serialize, Deserialize)]
struct Fine;

impl Saga for Fine {
    const NAME: &'static str = "fine";
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &OrderPlaced| m.order, |_, _| Ok(Self));
        saga.handles(|m: &OrderPlaced| m.order, |_, _, _| Ok(()));
        saga.handles(|m: &PaymentTaken| m.order, |_, _, _| Ok(()));
    }
}

#[test]
fn when_the_table_is_fine_it_says_what_the_saga_takes() {
    assert_eq!(faults::<Fine>(), Vec::<String>::new());
    let accepts = SagaParticipant::<Fine>::new().accepts();
    let names: Vec<(&str, MessageKind)> = accepts.iter().map(|a| (a.type_name.as_ref(), a.kind)).collect();
    let expected = [
        ("billing.payment_taken.v1", MessageKind::Event),
        ("sales.order_placed.v1", MessageKind::Event),
        ("longhaul.timeout.fine", MessageKind::Timeout),
    ];
    assert_eq!(names, expected);
}
