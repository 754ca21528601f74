//! Several sagas in one endpoint.

use std::sync::Arc;
use std::time::Duration;

use longhaul_core::address::Address;
use longhaul_core::clock::Timestamp;
use longhaul_core::codec::JsonCodec;
use longhaul_core::envelope::{Envelope, Intent};
use longhaul_core::handler::Received;
use longhaul_core::ids::MessageId;
use longhaul_core::message::Message;
use longhaul_core::outbound::Outbound;
use longhaul_core::stateful::{StatefulHandler, Taken, Work};
use longhaul_core::store::{Record, RecordChange};
use longhaul_core::{Event, headers};
use longhaul_sagas::{Definition, Saga, SagaParticipant};
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[message("sales.order_placed.v1")]
struct OrderPlaced {
    order: u64,
    customer: u64,
}

/// Both sagas have timeouts of this type.
#[derive(Serialize, Deserialize)]
enum Shared {
    Late,
}

#[derive(Serialize, Deserialize)]
struct Shipping;

#[derive(Serialize, Deserialize)]
struct Loyalty;

impl Saga for Shipping {
    const NAME: &'static str = "shipping";
    type Id = u64;
    type Timeout = Shared;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(
            |m: &OrderPlaced| m.order,
            |_, ctx| {
                ctx.request_timeout(Duration::from_secs(60), Shared::Late);
                Ok(Self)
            },
        );
        saga.times_out(|_, _, _| Ok(()));
    }
}

impl Saga for Loyalty {
    const NAME: &'static str = "loyalty";
    type Id = u64;
    type Timeout = Shared;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &OrderPlaced| m.customer, |_, _| Ok(Self));
        saga.times_out(|_, _, _| Ok(()));
    }
}

fn received(type_name: &str, intent: Intent, body: &str) -> Received {
    let headers = [(headers::TYPE, type_name), (headers::INTENT, intent.as_str())]
        .into_iter()
        .collect();
    Received {
        envelope: Envelope::new(
            MessageId::new("m-1").expect("an id"),
            headers,
            body.as_bytes().to_vec().into(),
        ),
        type_name: type_name.to_owned(),
        intent,
        endpoint: Address::new("sales").expect("a name"),
        now: Timestamp::UNIX_EPOCH,
        attempt: 1,
        last_chance: false,
        retention: Duration::from_secs(60),
        codec: Arc::new(JsonCodec::default()),
    }
}

fn outbound(received: &Received, participant: &dyn StatefulHandler) -> Outbound {
    let id = received.envelope.id.clone();
    Outbound::new(
        id,
        received.endpoint.clone(),
        participant.name().into(),
        Arc::clone(&received.codec),
    )
}

#[test]
fn when_two_sagas_take_one_message_each_has_an_instance_of_its_own() {
    let message = received(OrderPlaced::NAME, Intent::Publish, r#"{"order":7,"customer":70}"#);
    let sagas: [Box<dyn StatefulHandler>; 2] = [
        Box::new(SagaParticipant::<Shipping>::new()),
        Box::new(SagaParticipant::<Loyalty>::new()),
    ];
    let mut keys = Vec::new();
    for saga in &sagas {
        let found = saga.keys(&message).expect("keys");
        let work = Work {
            records: &[None],
            timeout: None,
            outbound: outbound(&message, &**saga),
        };
        let effects = saga.handle(&message, work).expect("handled");
        assert_eq!((effects.taken, effects.records.len()), (Taken::Handled, 1));
        keys.extend(
            found
                .into_iter()
                .map(|key| (key.collection.to_string(), key.id.to_string())),
        );
    }
    let expected = [("saga/shipping", "7"), ("saga/loyalty", "70")];
    assert_eq!(
        keys,
        expected.map(|(collection, id)| (collection.to_owned(), id.to_owned()))
    );
}

#[test]
fn when_two_sagas_share_a_timeout_type_an_alarm_reaches_only_the_one_that_asked() {
    let shipping = SagaParticipant::<Shipping>::new();
    let message = received(OrderPlaced::NAME, Intent::Publish, r#"{"order":7,"customer":70}"#);
    let work = Work {
        records: &[None],
        timeout: None,
        outbound: outbound(&message, &shipping),
    };
    let effects = shipping.handle(&message, work).expect("handled");
    let timeouts: Vec<_> = effects.outbound.timeouts().collect();
    let alarm = timeouts[0].type_name.as_ref();
    assert!(
        shipping
            .accepts()
            .iter()
            .any(|accepts| accepts.type_name == alarm)
    );
    assert!(
        !SagaParticipant::<Loyalty>::new()
            .accepts()
            .iter()
            .any(|accepts| accepts.type_name == alarm)
    );
    assert_eq!(
        timeouts[0].headers.get("longhaul.target.saga-type"),
        Some("shipping")
    );
    assert_eq!(
        timeouts[0].headers.get("longhaul.target.saga-incarnation"),
        Some("m-1")
    );
}

#[test]
fn when_an_alarm_names_no_instance_it_is_unreadable() {
    let alarm = received("longhaul.timeout.shipping", Intent::Timeout, "\"Late\"");
    assert!(SagaParticipant::<Shipping>::new().keys(&alarm).is_err());
}

#[test]
fn when_two_starting_messages_race_one_creates_and_the_other_finds() {
    let loyalty = SagaParticipant::<Loyalty>::new();
    let message = received(OrderPlaced::NAME, Intent::Publish, r#"{"order":7,"customer":70}"#);
    let run = |records: &[Option<Record>]| {
        let work = Work {
            records,
            timeout: None,
            outbound: outbound(&message, &loyalty),
        };
        loyalty.handle(&message, work).expect("handled")
    };
    // Both saw nothing, so a store takes only one of them: both expect the record to be absent.
    let [winner, loser] = [run(&[None]), run(&[None])];
    let RecordChange::Put {
        key,
        expected: None,
        body,
        ..
    } = &winner.records[0]
    else {
        panic!("the winner creates: {:?}", winner.records);
    };
    assert!(matches!(
        &loser.records[0],
        RecordChange::Put { expected: None, .. }
    ));
    let created = Record {
        key: key.clone(),
        version: 1,
        body: body.clone(),
        expires: None,
    };
    let again = run(&[Some(created)]);
    assert_eq!(
        (again.taken, again.records.len()),
        (Taken::Ignored("already started"), 0)
    );
}
