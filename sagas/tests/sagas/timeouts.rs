//! Timeouts: typed, any number, listed, cancelled, moved, never early, never for another.

use std::time::Duration;

use longhaul_core::clock::Timestamp;
use longhaul_core::handler::HandlerResult;
use longhaul_core::{Command, Event};
use longhaul_sagas::{Definition, Saga, SagaContext, TimeoutId};
use longhaul_testing::scenario::Scenario;
use serde::{Deserialize, Serialize};

const HOUR: Duration = Duration::from_secs(3600);

#[derive(Event, Serialize, Deserialize)]
#[message("sales.order_placed.v1")]
struct OrderPlaced {
    order: u64,
}

#[derive(Command, Serialize, Deserialize)]
#[message("sales.stop_reminding.v1")]
struct StopReminding {
    order: u64,
}

#[derive(Command, Serialize, Deserialize)]
#[message("sales.remind_later.v1")]
struct RemindLater {
    order: u64,
}

#[derive(Command, Serialize, Deserialize)]
#[message("sales.close_order.v1")]
struct CloseOrder {
    order: u64,
}

#[derive(Command, Serialize, Deserialize)]
#[message("sales.remind_customer.v1")]
struct RemindCustomer {
    number: u32,
}

#[derive(Serialize, Deserialize)]
struct Order {
    reminders: Vec<TimeoutId>,
    reminded: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
enum Deadline {
    Reminder { number: u32 },
    NewYear,
}

impl Saga for Order {
    const NAME: &'static str = "order";
    type Id = u64;
    type Timeout = Deadline;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &OrderPlaced| m.order, Self::start);
        saga.handles(|m: &StopReminding| m.order, Self::on_stop);
        saga.handles(|m: &RemindLater| m.order, Self::on_later);
        saga.handles(
            |m: &CloseOrder| m.order,
            |_, _, ctx| {
                ctx.complete();
                Ok(())
            },
        );
        saga.times_out(Self::on_deadline);
    }
}

impl Order {
    fn start(_: OrderPlaced, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        let second = ctx.request_timeout(2 * HOUR, Deadline::Reminder { number: 2 });
        let first = ctx.request_timeout(HOUR, Deadline::Reminder { number: 1 });
        let never = ctx.request_timeout(HOUR / 2, Deadline::Reminder { number: 0 });
        assert!(ctx.cancel_timeout(&never));
        let moved = ctx.request_timeout(HOUR / 2, Deadline::Reminder { number: 3 });
        assert!(ctx.move_timeout(&moved, 3 * HOUR));
        let new_year = Timestamp::parse("2027-01-01T00:00:00Z")?;
        ctx.request_timeout(new_year, Deadline::NewYear);
        Ok(Self {
            reminders: vec![first, second],
            reminded: Vec::new(),
        })
    }

    fn on_stop(&mut self, _: StopReminding, ctx: &mut SagaContext<Self>) -> HandlerResult {
        self.reminders.retain(|reminder| !ctx.cancel_timeout(reminder));
        Ok(())
    }

    fn on_later(&mut self, _: RemindLater, ctx: &mut SagaContext<Self>) -> HandlerResult {
        for reminder in &self.reminders {
            ctx.move_timeout(reminder, 10 * HOUR);
        }
        Ok(())
    }

    fn on_deadline(&mut self, deadline: Deadline, ctx: &mut SagaContext<Self>) -> HandlerResult {
        if let Deadline::Reminder { number } = deadline {
            self.reminded.push(number);
            ctx.send(RemindCustomer { number });
        }
        Ok(())
    }
}

#[test]
fn when_several_timeouts_fall_due_they_fire_in_the_order_of_their_times() {
    Scenario::<Order>::new()
        .given(OrderPlaced { order: 7 })
        .advance(5 * HOUR)
        .then_state(|order| assert_eq!(order.reminded, [1, 2, 3]))
        .then_sent::<RemindCustomer>(|remind| assert_eq!(remind.number, 1))
        .then_sent::<RemindCustomer>(|remind| assert_eq!(remind.number, 2))
        .then_sent::<RemindCustomer>(|remind| assert_eq!(remind.number, 3))
        .then_nothing_sent();
}

#[test]
fn when_its_time_has_not_come_a_timeout_does_not_fire() {
    Scenario::<Order>::new()
        .given(OrderPlaced { order: 7 })
        .advance(HOUR - Duration::from_micros(1))
        .then_nothing_changed()
        .advance(Duration::from_micros(1))
        .then_sent::<RemindCustomer>(|remind| assert_eq!(remind.number, 1));
}

#[test]
fn when_a_timeout_is_asked_for_at_a_time_it_is_due_then() {
    let mut scenario = Scenario::<Order>::new();
    scenario.given(OrderPlaced { order: 7 });
    let new_year = Timestamp::parse("2027-01-01T00:00:00Z").expect("a time");
    let after = new_year.since(scenario.now());
    scenario.then_timeout_pending(after, |deadline| assert!(matches!(deadline, Deadline::NewYear)));
}

#[test]
fn when_a_timeout_is_cancelled_by_a_later_message_it_does_not_fire() {
    Scenario::<Order>::new()
        .given(OrderPlaced { order: 7 })
        .given(StopReminding { order: 7 })
        .advance(5 * HOUR)
        .then_state(|order| assert_eq!(order.reminded, [3]));
}

#[test]
fn when_a_timeout_is_moved_by_a_later_message_it_fires_at_its_new_time() {
    Scenario::<Order>::new()
        .given(OrderPlaced { order: 7 })
        .given(RemindLater { order: 7 })
        .advance(9 * HOUR)
        .then_state(|order| assert_eq!(order.reminded, [3]))
        .advance(2 * HOUR)
        .then_state(|order| assert!(matches!(order.reminded[..], [3, 1, 2] | [3, 2, 1])));
}

#[test]
fn when_a_timeout_that_fired_is_cancelled_or_moved_nothing_happens() {
    Scenario::<Order>::new()
        .given(OrderPlaced { order: 7 })
        .advance(5 * HOUR)
        .when(RemindLater { order: 7 })
        .then_nothing_changed()
        .when(StopReminding { order: 7 })
        .then_state(|order| assert_eq!(order.reminders.len(), 2));
}

#[test]
fn when_the_instance_is_finished_its_timeouts_are_cancelled() {
    Scenario::<Order>::new()
        .given(OrderPlaced { order: 7 })
        .when(CloseOrder { order: 7 })
        .then_completed()
        .then_no_timeout_pending()
        .advance(5 * HOUR)
        .then_nothing_changed();
}

#[test]
fn when_timeouts_are_listed_each_has_the_name_of_its_variant() {
    let mut scenario = Scenario::<Order>::new();
    scenario.given(OrderPlaced { order: 7 });
    let instance = scenario.look().expect("an instance");
    let names: Vec<&str> = instance
        .timeouts
        .iter()
        .map(|timeout| timeout.name.as_str())
        .collect();
    assert_eq!(names, ["Reminder", "Reminder", "Reminder", "NewYear"]);
}
