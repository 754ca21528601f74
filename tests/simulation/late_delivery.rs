//! A bug as it happens: a parcel that is late is paid for with a voucher, and one that then comes with another.
//!
//! The saga is the marketplace's in miniature. Whoever wrote it first thought of the deadline and of the late parcel, and
//! not of both.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use longhaul::prelude::*;
use longhaul::testing::{
    CrashPoint, Effects, Explored, Failure, InvalidSchedule, Outside, Schedule, Simulation, Workload,
};
use serde::{Deserialize, Serialize};

const DELIVER_WITHIN: Duration = Duration::from_secs(10);

#[derive(Event, Serialize, Deserialize)]
#[message("shop.order_placed.v1")]
struct OrderPlaced {
    order: u64,
}

#[derive(Command, Serialize, Deserialize)]
#[message("carrier.deliver.v1")]
struct Deliver {
    order: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[message("carrier.delivered.v1")]
struct Delivered {}

#[derive(Command, Serialize, Deserialize)]
#[message("post.send_voucher.v1")]
struct SendVoucher {
    order: u64,
}

/// Whether vouchers that were sent are remembered.
trait Memory: Send + Sync + 'static {
    const HAS: bool;
}

struct Buggy;

impl Memory for Buggy {
    const HAS: bool = false;
}

struct Mended;

impl Memory for Mended {
    const HAS: bool = true;
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct CustomerCare<M> {
    order: u64,
    overdue: bool,
    voucher_sent: bool,
    memory: PhantomData<fn() -> M>,
}

#[derive(Serialize, Deserialize)]
enum Deadline {
    Delivery,
}

impl<M: Memory> Saga for CustomerCare<M> {
    const NAME: &'static str = "customer-care";
    type Id = u64;
    type Timeout = Deadline;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &OrderPlaced| m.order, Self::start);
        saga.on_reply(Self::on_delivered);
        saga.times_out(Self::on_deadline);
    }
}

impl<M: Memory> CustomerCare<M> {
    fn start(OrderPlaced { order }: OrderPlaced, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        ctx.send(Deliver { order });
        ctx.request_timeout(DELIVER_WITHIN, Deadline::Delivery);
        Ok(Self {
            order,
            overdue: false,
            voucher_sent: false,
            memory: PhantomData,
        })
    }

    fn on_deadline(&mut self, Deadline::Delivery: Deadline, ctx: &mut SagaContext<Self>) -> HandlerResult {
        self.overdue = true;
        self.send_voucher(ctx);
        Ok(())
    }

    fn on_delivered(&mut self, _: Delivered, ctx: &mut SagaContext<Self>) -> HandlerResult {
        if self.overdue {
            // An apology: the parcel was late.
            self.send_voucher(ctx);
        }
        ctx.complete();
        Ok(())
    }

    fn send_voucher(&mut self, ctx: &mut SagaContext<Self>) {
        if M::HAS && self.voucher_sent {
            return;
        }
        ctx.send(SendVoucher { order: self.order });
        self.voucher_sent = true;
    }
}

struct Carrier;

impl Handler<Deliver> for Carrier {
    async fn handle(&self, _: Deliver, ctx: &mut Context) -> HandlerResult {
        ctx.reply(Delivered {});
        Ok(())
    }
}

struct Post(Outside);

impl Handler<SendVoucher> for Post {
    async fn handle(&self, voucher: SendVoucher, ctx: &mut Context) -> HandlerResult {
        let order = voucher.order.to_string();
        self.0.once("voucher", &order, 10, ctx.idempotency_key()).await?;
        Ok(())
    }
}

fn simulation<M: Memory>() -> Simulation {
    Simulation::of(|world| {
        world
            .endpoint("care", |endpoint, _| {
                endpoint
                    .saga::<CustomerCare<M>>()
                    .route::<Deliver>("carrier")
                    .route::<SendVoucher>("post")
            })
            .storeless("carrier", |endpoint, _| {
                endpoint.idempotent_handler::<Deliver>(Carrier)
            })
            .storeless("post", |endpoint, outside| {
                endpoint.idempotent_handler::<SendVoucher>(Post(outside.clone()))
            })
    })
    .workload((1..=5).fold(Workload::new(), |workload, order| {
        workload
            .publish(OrderPlaced { order })
            .after(Duration::from_secs(1))
    }))
    .invariant("an order gets one voucher at most", one_voucher_at_most)
}

fn one_voucher_at_most(effects: &Effects) -> Result<(), String> {
    for order in 1..=5 {
        match effects.count("voucher", &order.to_string()) {
            0 | 1 => {}
            count => return Err(format!("order {order} got {count} vouchers")),
        }
    }
    Ok(())
}

fn found() -> Box<Failure> {
    simulation::<Buggy>()
        .run_all(2_000, |_| {})
        .expect_err("2,000 schedules are enough")
}

#[test]
fn when_a_timeout_races_a_reply_the_second_voucher_is_found_and_told_in_six_lines() {
    let failure = found();
    println!("{failure}");
    assert_eq!(failure.broken(), "an order gets one voucher at most");
    assert!(failure.story().len() <= 6, "{failure}");
    assert!(failure.diagram().starts_with("sequenceDiagram\n"));
    let text = failure.to_string();
    let seed = failure.seed().expect("it was found by its seed");
    assert!(text.contains(&format!("LONGHAUL_SEED={seed}")), "{text}");
    assert!(text.contains(&failure.schedule().to_string()), "{text}");
    assert!(text.contains("```mermaid\nsequenceDiagram\n"), "{text}");
    assert!(
        text.contains("fn when_replayed_an_order_gets_one_voucher_at_most()"),
        "{text}"
    );
    assert_eq!(
        failure.to_string(),
        found().to_string(),
        "found again, it is the same"
    );
}

#[test]
fn when_the_printed_schedule_is_replayed_the_bug_shows_and_the_mended_saga_passes() {
    let schedule = found().schedule().to_string();
    let replayed = catch_unwind(AssertUnwindSafe(|| simulation::<Buggy>().replay(&schedule)));
    let panic = replayed.expect_err("the bug shows again");
    let told = panic.downcast_ref::<String>().expect("it says what broke");
    assert!(
        told.starts_with("broken: an order gets one voucher at most"),
        "{told}"
    );
    simulation::<Mended>().replay(&schedule);
}

#[test]
fn when_the_saga_remembers_its_voucher_nothing_is_found() {
    simulation::<Mended>().check(500);
}

fn one_order<M: Memory>() -> Simulation {
    simulation::<M>().workload(Workload::new().publish(OrderPlaced { order: 1 }))
}

#[test]
fn when_one_order_is_explored_one_fault_shows_the_bug_and_none_is_left_once_it_is_mended() {
    let failure = one_order::<Buggy>()
        .explore(1, |_| {})
        .expect_err("one fault is enough");
    assert_eq!(failure.broken(), "an order gets one voucher at most");
    assert_eq!((failure.seed(), failure.schedule().len()), (None, 1), "{failure}");
    one_order::<Mended>().replay(&failure.schedule().to_string());
    let explored: Explored = one_order::<Mended>()
        .explore(1, |_| {})
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(explored.singles, explored.places);
    assert_eq!(explored.pairs, 0);
    assert!(explored.quiet.contains(&CrashPoint::Commit), "{explored:?}");
    assert_eq!(explored.ends(), 2 * explored.quiet.len(), "before and after each");
}

#[test]
fn when_a_text_is_no_schedule_it_says_so() {
    let read: Result<Schedule, InvalidSchedule> = "rabbit requests:0 nonsense".parse();
    let told = read.expect_err("it is none").to_string();
    assert!(told.contains("nonsense"), "{told}");
}
