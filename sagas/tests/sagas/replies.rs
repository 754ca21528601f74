//! Replies find their instance through headers, and only the life that asked.

use longhaul_core::address::Address;
use longhaul_core::handler::HandlerResult;
use longhaul_core::headers::{self, Headers};
use longhaul_core::reason::Reason;
use longhaul_core::{Command, Message};
use longhaul_sagas::{Definition, NoTimeout, Saga, SagaContext};
use longhaul_testing::scenario::Scenario;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[message("sales.place_order.v1")]
struct PlaceOrder {
    order: u64,
}

#[derive(Command, Serialize, Deserialize)]
#[message("billing.charge_card.v1")]
struct ChargeCard;

#[derive(Message, Serialize, Deserialize)]
#[message("billing.card_charged.v1")]
struct CardCharged;

#[derive(Message, Serialize, Deserialize)]
#[message("sales.order_confirmed.v1")]
struct OrderConfirmed;

#[derive(Command, Serialize, Deserialize)]
#[message("sales.ask_order.v1")]
struct AskOrder {
    order: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[message("sales.order_answer.v1")]
struct OrderAnswer;

#[derive(Serialize, Deserialize)]
struct Order;

impl Saga for Order {
    const NAME: &'static str = "order";
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &PlaceOrder| m.order, Self::start);
        saga.on_reply(Self::on_card_charged);
        saga.handles(|m: &AskOrder| m.order, Self::on_asked);
    }
}

impl Order {
    fn start(_: PlaceOrder, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        ctx.send(ChargeCard);
        Ok(Self)
    }

    fn on_card_charged(&mut self, _: CardCharged, ctx: &mut SagaContext<Self>) -> HandlerResult {
        ctx.reply_to_originator(OrderConfirmed);
        ctx.complete();
        Ok(())
    }

    fn on_asked(&mut self, _: AskOrder, ctx: &mut SagaContext<Self>) -> HandlerResult {
        ctx.reply(OrderAnswer);
        Ok(())
    }
}

#[test]
fn when_a_reply_comes_it_finds_the_instance_that_asked_by_itself() {
    Scenario::<Order>::new()
        .given(PlaceOrder { order: 7 })
        .when_reply::<ChargeCard>(CardCharged)
        .then_completed();
}

#[test]
fn when_two_instances_asked_each_gets_its_own_reply() {
    Scenario::<Order>::new()
        .given(PlaceOrder { order: 7 })
        .given(PlaceOrder { order: 8 })
        .when_reply_to_nth::<ChargeCard>(1, CardCharged)
        .instance(&7)
        .then_completed()
        .instance(&8)
        .then_state(|_| {});
}

#[test]
fn when_a_reply_is_meant_for_an_earlier_life_it_never_touches_the_next() {
    Scenario::<Order>::new()
        .given(PlaceOrder { order: 7 })
        .when_reply_to_nth::<ChargeCard>(1, CardCharged)
        .given(PlaceOrder { order: 7 })
        .when_reply_to_nth::<ChargeCard>(1, CardCharged)
        .then_ignored()
        .then_state(|_| {})
        .when_reply_to_nth::<ChargeCard>(2, CardCharged)
        .then_completed();
}

#[test]
fn when_a_reply_comes_after_the_end_it_is_counted_and_forgotten() {
    Scenario::<Order>::new()
        .given(PlaceOrder { order: 7 })
        .when_reply::<ChargeCard>(CardCharged)
        .when_reply::<ChargeCard>(CardCharged)
        .then_ignored();
}

#[test]
fn when_a_reply_names_no_instance_nothing_takes_it() {
    Scenario::<Order>::new()
        .given(PlaceOrder { order: 7 })
        .when(CardCharged)
        .then_absent();
}

#[test]
fn when_a_reply_names_an_instance_of_another_saga_nothing_takes_it() {
    let other = [
        ("longhaul.target.saga-type", "invoice"),
        ("longhaul.target.saga-id", "7"),
        ("longhaul.target.saga-incarnation", "m-1"),
    ];
    Scenario::<Order>::new()
        .given(PlaceOrder { order: 7 })
        .when_with(CardCharged, other.into_iter().collect())
        .then_absent();
}

#[test]
fn when_a_reply_names_an_instance_by_half_it_is_unreadable() {
    let half: Headers = [("longhaul.target.saga-type", "order")].into_iter().collect();
    Scenario::<Order>::new()
        .when_with(CardCharged, half)
        .then_failed(|error| assert_eq!(error.reason(), Reason::BadCorrelation));
}

#[test]
fn when_a_saga_answers_whoever_started_it_the_reply_says_to_which_message_and_for_which_part() {
    let asked: Headers = [
        ("longhaul.originator.saga-id", "cart-1"),
        ("longhaul.reply-to", "shop"),
    ]
    .into_iter()
    .collect();
    let mut scenario = Scenario::<Order>::new();
    scenario.when_with(PlaceOrder { order: 7 }, asked);
    let started = scenario.look().map(|instance| instance.incarnation);
    scenario.when_reply::<ChargeCard>(CardCharged);
    let reply = &scenario.recorded()[0];
    assert_eq!(reply.to, Address::new("shop").ok());
    assert_eq!(reply.correlation, started);
    assert_eq!(reply.parts.get("longhaul.target.saga-id"), Some("cart-1"));
    assert_eq!(reply.parts.get("longhaul.originator.saga-id"), Some("7"));
    assert!(
        reply.headers.get(headers::CORRELATION).is_none(),
        "the endpoint sets it from the field"
    );
}

#[test]
fn when_a_saga_replies_to_the_message_at_hand_the_endpoint_says_to_whom() {
    let mut scenario = Scenario::<Order>::new();
    scenario
        .given(PlaceOrder { order: 7 })
        .when(AskOrder { order: 7 })
        .then_replied::<OrderAnswer>(|_| {});
    assert_eq!(
        (&scenario.recorded()[0].to, &scenario.recorded()[0].correlation),
        (&None, &None)
    );
}
