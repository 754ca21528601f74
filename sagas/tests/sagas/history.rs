//! What an instance keeps of what it went through.

use std::time::Duration;

use longhaul_core::handler::HandlerResult;
use longhaul_core::{Command, Event};
use longhaul_sagas::{Definition, Instance, Saga, SagaContext, Status};
use longhaul_testing::scenario::Scenario;
use serde::{Deserialize, Serialize};

#[derive(Debug, Event, Serialize, Deserialize)]
#[message("history.begun.v1")]
struct Begun;

#[derive(Debug, Command, Serialize, Deserialize)]
#[message("history.go_on.v1")]
struct GoOn;

#[derive(Debug, Command, Serialize, Deserialize)]
#[message("post.write_letter.v1")]
struct WriteLetter;

#[derive(Debug, Serialize, Deserialize)]
struct Story<const EVENTS: usize> {
    went_on: u32,
}

#[derive(Debug, Serialize, Deserialize)]
enum Due {
    Tired,
}

impl<const EVENTS: usize> Saga for Story<EVENTS> {
    const NAME: &'static str = "story";
    type Id = u64;
    type Timeout = Due;

    fn define(saga: &mut Definition<Self>) {
        saga.history(EVENTS);
        saga.starts_on(
            |_: &Begun| 7,
            |_, ctx| {
                ctx.request_timeout(Duration::from_secs(60), Due::Tired);
                Ok(Self { went_on: 0 })
            },
        );
        saga.handles(
            |_: &GoOn| 7,
            |story, _, ctx: &mut SagaContext<Self>| {
                story.went_on += 1;
                ctx.send(WriteLetter);
                Ok(())
            },
        );
        saga.times_out(Self::on_due);
    }
}

impl<const EVENTS: usize> Story<EVENTS> {
    fn on_due(&mut self, due: Due, ctx: &mut SagaContext<Self>) -> HandlerResult {
        match due {
            Due::Tired => ctx.complete(),
        }
        Ok(())
    }
}

fn instance<const EVENTS: usize>(scenario: &Scenario<Story<EVENTS>>) -> Instance {
    Instance::read(scenario.record().expect("there is one")).expect("readable")
}

#[test]
fn when_an_instance_lives_and_ends_its_history_tells_what_and_when() {
    let mut scenario = Scenario::<Story<32>>::new();
    scenario.given(Begun).given(GoOn);
    scenario.advance(Duration::from_secs(61));
    let ended = instance(&scenario);
    assert_eq!(ended.status, Status::Completed);
    let told: Vec<_> = ended
        .history
        .events
        .iter()
        .map(|event| (event.what.as_str(), event.before, event.after))
        .collect();
    let active = Some(Status::Active);
    assert_eq!(
        told,
        [
            ("history.begun.v1", None, Status::Active),
            ("history.go_on.v1", active, Status::Active),
            ("timeout Tired", active, Status::Completed),
        ]
    );
    let events = &ended.history.events;
    assert_eq!(events[0].timeouts, ["Tired"]);
    assert_eq!(events[1].sent, ["post.write_letter.v1"]);
    assert!(events[2].at > events[1].at);
    let drawn = ended.history.to_mermaid("story 7");
    for line in [
        "participant saga as story 7",
        "saga->>post: post.write_letter.v1",
        "saga->>saga: timeout Tired",
    ] {
        assert!(drawn.contains(line), "{drawn}");
    }
}

#[test]
fn when_an_instance_lives_long_the_first_event_and_the_last_ones_are_kept() {
    let mut scenario = Scenario::<Story<4>>::new();
    scenario.given(Begun);
    for _ in 0..10 {
        scenario.given(GoOn);
    }
    let history = instance(&scenario).history;
    assert_eq!((history.events.len(), history.left_out), (4, 7));
    assert_eq!(history.events[0].what, "history.begun.v1");
    assert_eq!(history.events[1].before, None, "nobody knows any more");
    assert!(history.to_mermaid("story 7").contains("Note over saga: 7 more"));
}

#[test]
fn when_a_saga_wants_no_history_none_is_kept() {
    let mut scenario = Scenario::<Story<0>>::new();
    scenario.given(Begun).given(GoOn);
    assert!(instance(&scenario).history.events.is_empty());
}

#[test]
fn when_a_saga_wants_a_history_without_bound_its_table_has_a_fault() {
    let faults = longhaul_core::stateful::StatefulHandler::faults(&longhaul_sagas::SagaParticipant::<
        Story<1_001>,
    >::new());
    assert!(faults[0].contains("at most 1000"), "{faults:?}");
}
