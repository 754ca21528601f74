//! Sagas on the real runtime: the embedded broker and the memory store, on virtual time.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the functions of a saga take messages by value"
)]

#[path = "../endpoint/world.rs"]
#[expect(dead_code, reason = "shared with the endpoint's tests, which use all of it")]
mod world;

mod control;
mod quarantine;
mod rehearsal;
mod trips;

use std::time::Duration;

use longhaul::endpoint::EndpointErrorKind;
use longhaul::outbound::Outbound;
use longhaul::prelude::*;
use longhaul::sagas::{Instance, Status, operate};
use longhaul::store::{LoadRequest, Record, RecordKey};
use serde::{Deserialize, Serialize};
use world::{Ledger, World};

macro_rules! messages {
    ($($derive:ident $name:ident = $wire:literal),+ $(,)?) => {$(
        #[derive(Debug, $derive, Serialize, Deserialize)]
        #[message($wire)]
        struct $name { order: u64 }
    )+};
}

messages! {
    Event OrderPlaced = "test.order_placed.v1",
    Command Charge = "test.charge.v1",
    Message Charged = "test.charged.v1",
    Message Declined = "test.declined.v1",
    Command Refund = "test.refund.v1",
    Message Refunded = "test.refunded.v1",
    Command Reserve = "test.reserve.v1",
    Message Reserved = "test.reserved.v1",
    Command Release = "test.release.v1",
    Event OrderCompleted = "test.order_completed.v1",
    Event OrderCancelled = "test.order_cancelled.v1",
}

/// Reserves and charges; an hour without both cancels.
#[derive(Serialize, Deserialize)]
struct OrderSaga {
    order: u64,
    left: u8,
}

#[derive(Serialize, Deserialize)]
enum Deadline {
    Overdue,
}

impl Saga for OrderSaga {
    const NAME: &'static str = "order";
    type Id = u64;
    type Timeout = Deadline;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &OrderPlaced| m.order, Self::start);
        saga.on_reply(|saga: &mut Self, _: Reserved, ctx: &mut SagaContext<Self>| saga.answered(ctx));
        saga.on_reply(|saga: &mut Self, _: Charged, ctx: &mut SagaContext<Self>| saga.answered(ctx));
        saga.on_reply(Self::on_declined);
        saga.expects::<Refunded>();
        saga.times_out(Self::on_deadline);
        saga.compensated(Self::on_compensated);
    }
}

impl OrderSaga {
    fn start(placed: OrderPlaced, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        let order = placed.order;
        ctx.send(Reserve { order })
            .undo_with(Release { order })
            .done_by::<Reserved>();
        ctx.send(Charge { order })
            .undo_with(Refund { order })
            .done_by::<Charged>()
            .undone_by::<Refunded>();
        ctx.request_timeout(Duration::from_secs(3600), Deadline::Overdue);
        Ok(Self { order, left: 2 })
    }

    fn answered(&mut self, ctx: &mut SagaContext<Self>) -> HandlerResult {
        self.left -= 1;
        if self.left == 0 {
            ctx.publish(OrderCompleted { order: self.order });
            ctx.complete();
        }
        Ok(())
    }

    fn on_declined(&mut self, _: Declined, ctx: &mut SagaContext<Self>) -> HandlerResult {
        ctx.compensate("the card was declined");
        Ok(())
    }

    fn on_deadline(&mut self, deadline: Deadline, ctx: &mut SagaContext<Self>) -> HandlerResult {
        match deadline {
            Deadline::Overdue => ctx.compensate("not answered within an hour"),
        }
        Ok(())
    }

    fn on_compensated(&mut self, ctx: &mut SagaContext<Self>) -> HandlerResult {
        ctx.publish(OrderCancelled { order: self.order });
        Ok(())
    }
}

/// The outside world: orders that end in 3 are declined, in 5 never answered, in 7 answered two hours late.
struct Outside(Ledger);

impl Handler<Charge> for Outside {
    async fn handle(&self, charge: Charge, ctx: &mut Context) -> HandlerResult {
        let order = charge.order;
        match order % 10 {
            3 => drop(ctx.reply(Declined { order })),
            5 => {}
            7 => {
                self.0.note(format!("charge {order}"));
                ctx.reply(Charged { order }).after(Duration::from_secs(2 * 3600));
            }
            _ => {
                self.0.note(format!("charge {order}"));
                ctx.reply(Charged { order });
            }
        }
        Ok(())
    }
}

impl Handler<Refund> for Outside {
    async fn handle(&self, refund: Refund, ctx: &mut Context) -> HandlerResult {
        self.0.note(format!("refund {}", refund.order));
        ctx.reply(Refunded { order: refund.order });
        Ok(())
    }
}

impl Handler<Reserve> for Outside {
    async fn handle(&self, reserve: Reserve, ctx: &mut Context) -> HandlerResult {
        self.0.note(format!("reserve {}", reserve.order));
        ctx.reply(Reserved { order: reserve.order });
        Ok(())
    }
}

impl Handler<Release> for Outside {
    async fn handle(&self, release: Release, _ctx: &mut Context) -> HandlerResult {
        self.0.note(format!("release {}", release.order));
        Ok(())
    }
}

struct Outcomes(Ledger);

impl Handler<OrderCompleted> for Outcomes {
    async fn handle(&self, event: OrderCompleted, _ctx: &mut Context) -> HandlerResult {
        self.0.note(format!("completed {}", event.order));
        Ok(())
    }
}

impl Handler<OrderCancelled> for Outcomes {
    async fn handle(&self, event: OrderCancelled, _ctx: &mut Context) -> HandlerResult {
        self.0.note(format!("cancelled {}", event.order));
        Ok(())
    }
}

struct System {
    world: World,
    _running: [world::Running; 3],
    client: world::Running,
    effects: Ledger,
    outcomes: Ledger,
}

impl System {
    fn new() -> Self {
        let world = World::new();
        let (effects, outcomes) = (Ledger::default(), Ledger::default());
        let sales = world
            .endpoint("sales")
            .saga::<OrderSaga>()
            .route::<Charge>("outside")
            .route::<Refund>("outside")
            .route::<Reserve>("outside")
            .route::<Release>("outside");
        let outside = world
            .endpoint("outside")
            .handler::<Charge>(Outside(effects.clone()))
            .handler::<Refund>(Outside(effects.clone()))
            .handler::<Reserve>(Outside(effects.clone()))
            .handler::<Release>(Outside(effects.clone()));
        let watcher = world
            .endpoint("watcher")
            .handler::<OrderCompleted>(Outcomes(outcomes.clone()))
            .handler::<OrderCancelled>(Outcomes(outcomes.clone()));
        let running = [sales, outside, watcher].map(|builder| world.start(builder));
        let client = world.start(world.stateless("client"));
        Self {
            world,
            _running: running,
            client,
            effects,
            outcomes,
        }
    }

    fn place(&self, order: u64) {
        self.world
            .run(self.client.session.publish(OrderPlaced { order }))
            .expect("published");
    }

    fn effects_of(&self, order: u64) -> Vec<String> {
        let end = format!(" {order}");
        self.effects
            .entries()
            .into_iter()
            .filter(|entry| entry.ends_with(&end))
            .collect()
    }

    fn outcome_of(&self, order: u64) -> Vec<String> {
        let end = format!(" {order}");
        self.outcomes
            .entries()
            .into_iter()
            .filter(|entry| entry.ends_with(&end))
            .collect()
    }
}

#[test]
fn when_every_step_is_answered_the_order_completes() {
    let system = System::new();
    system.place(1);
    system
        .world
        .until("the outcome", || !system.outcomes.entries().is_empty());
    assert_eq!(system.effects_of(1), ["reserve 1", "charge 1"]);
    assert_eq!(system.outcome_of(1), ["completed 1"]);
    assert_eq!(
        system.world.sizes("sales").timeouts,
        0,
        "its timeout is cancelled"
    );
}

#[test]
fn when_a_step_is_refused_the_others_are_undone() {
    let system = System::new();
    system.place(3);
    system
        .world
        .until("the outcome", || !system.outcomes.entries().is_empty());
    system.world.pass(Duration::from_secs(86_400));
    assert_eq!(system.effects_of(3), ["reserve 3", "release 3"]);
    assert_eq!(system.outcome_of(3), ["cancelled 3"]);
}

#[test]
fn when_a_step_is_never_answered_the_others_are_undone_and_the_saga_waits_for_it() {
    let system = System::new();
    system.place(5);
    system.world.pass(Duration::from_secs(3 * 86_400));
    assert_eq!(system.effects_of(5), ["reserve 5", "release 5"]);
    // Nobody knows whether the card was charged: the saga stays visible until the answer comes or people decide.
    assert_eq!(system.outcome_of(5).len(), 0);
    let store = system.world.store("sales");
    let records = system
        .world
        .run(store.admin().records("saga/order", None, 10))
        .expect("lists");
    assert_eq!(
        records.iter().filter(|record| record.expires.is_none()).count(),
        1
    );
}

#[test]
fn when_a_step_succeeds_after_the_deadline_its_undo_runs_once() {
    let system = System::new();
    system.place(7);
    system.world.pass(Duration::from_secs(3 * 86_400));
    let effects = system.effects_of(7);
    assert_eq!(effects.iter().filter(|effect| *effect == "charge 7").count(), 1);
    assert_eq!(effects.iter().filter(|effect| *effect == "refund 7").count(), 1);
    assert_eq!(effects.iter().filter(|effect| *effect == "release 7").count(), 1);
    assert_eq!(system.outcome_of(7), ["cancelled 7"]);
}

#[test]
fn when_every_message_comes_twice_the_effects_and_outcomes_are_the_same() {
    let system = System::new();
    system.world.broker.duplicate_every(1);
    for order in 0..40 {
        system.place(order);
    }
    system.world.pass(Duration::from_secs(3 * 86_400));
    for order in 0..40 {
        let mut effects = system.effects_of(order);
        effects.sort();
        let expected: &[&str] = match order % 10 {
            3 | 5 => &["release", "reserve"],
            7 => &["charge", "refund", "release", "reserve"],
            _ => &["charge", "reserve"],
        };
        let expected: Vec<String> = expected
            .iter()
            .map(|effect| format!("{effect} {order}"))
            .collect();
        assert_eq!(effects, expected, "order {order}");
        let outcomes = usize::from(order % 10 != 5);
        assert_eq!(
            system.outcome_of(order).len(),
            outcomes,
            "order {order}: {:?}",
            system.outcome_of(order)
        );
    }
    assert_eq!(system.world.browse("error").len(), 0);
}

#[test]
fn when_an_order_is_placed_again_after_it_ended_a_new_life_begins() {
    let system = System::new();
    system.place(1);
    system.world.until("the first", || system.outcomes.len() == 1);
    system.place(1);
    system.world.until("the second", || system.outcomes.len() == 2);
    assert_eq!(system.outcome_of(1), ["completed 1", "completed 1"]);
}

#[test]
fn when_an_order_is_placed_twice_at_once_there_is_one_saga() {
    let system = System::new();
    system.place(5);
    system.place(5);
    system.world.pass(Duration::from_secs(600));
    assert_eq!(system.effects_of(5), ["reserve 5"]);
}

#[test]
fn when_a_message_comes_before_its_saga_it_waits_for_it() {
    #[derive(Debug, Event, Serialize, Deserialize)]
    #[message("test.shipped.v1")]
    struct Shipped {
        order: u64,
    }

    #[derive(Serialize, Deserialize)]
    struct Delivery;

    impl Saga for Delivery {
        const NAME: &'static str = "delivery";
        type Id = u64;
        type Timeout = NoTimeout;

        fn define(saga: &mut Definition<Self>) {
            saga.starts_on(|m: &OrderPlaced| m.order, |_, _| Ok(Self));
            saga.handles(
                |m: &Shipped| m.order,
                |_, m, ctx| {
                    ctx.publish(OrderCompleted { order: m.order });
                    ctx.complete();
                    Ok(())
                },
            );
        }
    }

    let world = World::new();
    let outcomes = Ledger::default();
    let sales = world.start(world.endpoint("sales").saga::<Delivery>());
    let _watcher = world.start(
        world
            .endpoint("watcher")
            .handler::<OrderCompleted>(Outcomes(outcomes.clone())),
    );
    let client = world.start(world.stateless("client"));
    world
        .run(client.session.publish(Shipped { order: 1 }))
        .expect("published");
    world.until("it put off", || sales.monitor.stats().put_off == 1);
    world
        .run(client.session.publish(OrderPlaced { order: 1 }))
        .expect("published");
    world.until("the outcome", || outcomes.len() == 1);

    // One whose saga never comes ends in the error queue, and is not lost.
    world
        .run(client.session.publish(Shipped { order: 2 }))
        .expect("published");
    world.until("the error", || world.browse("error").len() == 1);
    assert_eq!(world.error_header(0, "longhaul.error.reason"), "not-found");
}

/// Starts by the first line of an order.
#[derive(Serialize, Deserialize)]
struct Lines;

#[derive(Debug, Event, Serialize, Deserialize)]
#[message("test.lines_ordered.v1")]
struct LinesOrdered {
    lines: Vec<u64>,
}

impl Saga for Lines {
    const NAME: &'static str = "lines";
    type Id = u64;
    type Timeout = Deadline;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(
            |m: &LinesOrdered| m.lines[0],
            |m, ctx| {
                ctx.publish(OrderCompleted { order: m.lines[0] });
                ctx.request_timeout(Duration::from_secs(3600), Deadline::Overdue);
                Ok(Self)
            },
        );
        saga.on_reply(|_: &mut Self, _: Reserved, _: &mut SagaContext<Self>| Ok(()));
        saga.times_out(|_, _, _| Ok(()));
    }
}

#[test]
fn when_a_correlation_closure_panics_the_message_is_set_aside_and_the_endpoint_goes_on() {
    let world = World::new();
    let outcomes = Ledger::default();
    let sales = world.endpoint("sales").saga::<Lines>();
    let sales = world.start(sales.retries(RetryPolicy::none()));
    let watcher = world.endpoint("watcher");
    let _watcher = world.start(watcher.handler::<OrderCompleted>(Outcomes(outcomes.clone())));
    let client = world.start(world.stateless("client"));
    for lines in [vec![], vec![7]] {
        world
            .run(client.session.publish(LinesOrdered { lines }))
            .expect("published");
    }
    world.until("the outcome", || outcomes.len() == 1);
    world.until("the error", || world.browse("error").len() == 1);
    assert_eq!(world.error_header(0, "longhaul.error.reason"), "handler-panicked");
    sales.stop(&world).expect("it never ended");
}

#[test]
fn when_headers_name_an_instance_by_an_id_out_of_range_the_message_is_set_aside() {
    for (intent, type_name) in [("reply", Reserved::NAME), ("timeout", "longhaul.timeout.lines")] {
        for id in ["x".repeat(600), "a\0b".to_owned(), String::new()] {
            let world = World::new();
            let sales = world.start(world.endpoint("sales").saga::<Lines>());
            let headers = [
                ("longhaul.intent", intent),
                ("longhaul.type", type_name),
                ("longhaul.content-type", "application/json"),
                ("longhaul.target.saga-type", "lines"),
                ("longhaul.target.saga-id", &id),
                ("longhaul.target.saga-incarnation", "m-0"),
            ];
            let body = br#"{"order":7}"#.to_vec().into();
            let message = MessageId::new("m-1").expect("an id");
            let envelope = longhaul::envelope::Envelope::new(message, headers.into_iter().collect(), body);
            world.inject("sales", envelope.into());
            world.until("the error", || world.browse("error").len() == 1);
            assert_eq!(world.error_header(0, "longhaul.error.reason"), "bad-correlation");
            assert_eq!(sales.monitor.stats().released, 0);
        }
    }
}

#[test]
fn when_an_operator_gives_up_a_stuck_saga_it_ends_with_the_reason() {
    let system = System::new();
    system.place(5);
    // An hour for the order, and another for the answer that never comes.
    system.world.pass(Duration::from_secs(3 * 3600));
    let key = RecordKey::new(Instance::collection("order"), "5");
    let instance = || {
        let request = LoadRequest {
            inbox: MessageId::new("nobody").expect("an id"),
            records: vec![key.clone()],
            pending: None,
            now: system.world.clock.now(),
        };
        let loaded = system.world.run(system.world.store("sales").load(&request));
        let record = loaded.expect("loads").records.remove(0).expect("a record");
        Instance::read(&record).expect("reads")
    };
    assert_eq!(instance().status, Status::Stuck);
    let operator = system.world.start(system.world.endpoint("sales"));
    let give_up = |record: &Record, outbound: Outbound, now| {
        operate::give_up(
            record,
            "the bank is gone",
            outbound,
            now,
            Duration::from_secs(86_400),
        )
    };
    system
        .world
        .run(operator.session.change_record(&key, give_up))
        .expect("changes");
    assert_eq!(instance().given_up.as_deref(), Some("the bank is gone"));
    let refused = system.world.run(operator.session.change_record(&key, give_up));
    let refused = refused.expect_err("it is over");
    assert_eq!(refused.kind(), EndpointErrorKind::Refused, "{refused}");
}
