//! Random plans in a world with a will of its own: whatever comes when, the effects are as they must be.
//!
//! The world is drawn before the saga runs: which steps it carries out, refuses or never answers, which undos it refuses
//! how often, and how long each answer takes. What must come of it is computed from that draw alone.

use std::collections::BTreeMap;
use std::time::Duration;

use longhaul_core::clock::Timestamp;
use longhaul_core::ids::{MessageId, Randomness, SeededRandomness};
use longhaul_core::message::Message;
use longhaul_core::outbound::Outgoing;
use longhaul_sagas::{Outcome, Status};
use longhaul_testing::scenario::Scenario;

use crate::plan::{
    ATTEMPTS, Begun, Change, DoStep, Kind, Plan, StepDone, StepRefused, StepUndone, UNDO_WITHIN, UndoRefused,
    UndoStep,
};

/// What the world makes of one step.
#[derive(Debug, Clone, Copy)]
struct Fate {
    kind: Kind,
    /// How long it takes to answer; `None`: it never does, though it may have carried it out.
    answers_after: Option<Duration>,
    refuses: bool,
    /// How often it refuses the undo before it carries it out.
    undo_refusals: u32,
    /// How long it takes to answer an undo.
    undo_answers_after: Duration,
}

#[derive(Debug, Clone)]
struct Draw {
    fates: Vec<Fate>,
    /// When the plan is stopped; `None`: it is to finish.
    stop_after: Option<Duration>,
}

struct Dice(SeededRandomness);

impl Dice {
    fn below(&self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    fn index(&self, bound: u64) -> usize {
        usize::try_from(self.below(bound)).expect("small")
    }

    fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn minutes(&self, most: u64) -> Duration {
        Duration::from_secs(self.below(most * 60) + 1)
    }
}

fn draw(dice: &Dice) -> Draw {
    let fate = |_| {
        let awaited = !dice.one_in(4);
        Fate {
            kind: Kind {
                undo: !dice.one_in(6),
                awaited,
                undo_awaited: !dice.one_in(4),
            },
            answers_after: (!dice.one_in(10)).then(|| dice.minutes(if dice.one_in(5) { 600 } else { 50 })),
            refuses: dice.one_in(4),
            undo_refusals: if dice.one_in(4) {
                u32::try_from(dice.below(5)).expect("small")
            } else {
                0
            },
            undo_answers_after: Duration::from_secs([60, 250, 400, 700, 1300][dice.index(5)]),
        }
    };
    let steps = dice.below(7);
    Draw {
        fates: (0..steps).map(fate).collect(),
        stop_after: (!dice.one_in(5)).then(|| dice.minutes(120)),
    }
}

/// What the world has seen and done.
#[derive(Debug, Default)]
struct World {
    /// Effects in place, by step.
    effects: BTreeMap<usize, bool>,
    /// Undos by id: the world knows an id again and does nothing then.
    undos: BTreeMap<MessageId, usize>,
    refusals: BTreeMap<usize, u32>,
    /// Steps in the order in which their undo was carried out.
    undone: Vec<usize>,
    /// Undos sent and not answered yet, where the saga waits for the answer.
    outstanding: BTreeMap<MessageId, usize>,
    answers: Vec<(Timestamp, Outgoing, Reply)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Reply {
    Done,
    Refused,
    Undone,
    UndoRefused,
}

impl World {
    fn receive(&mut self, sent: &Outgoing, draw: &Draw, now: Timestamp, scenario: &Scenario<Plan>) {
        if sent.type_name == DoStep::NAME {
            let step = serde_json::from_slice::<DoStep>(&sent.body).expect("a step").step;
            self.do_step(step, sent, draw.fates[step], now);
        } else if sent.type_name == UndoStep::NAME {
            let step = serde_json::from_slice::<UndoStep>(&sent.body)
                .expect("an undo")
                .step;
            self.undo(step, sent, draw, now, scenario);
        }
    }

    fn do_step(&mut self, step: usize, sent: &Outgoing, fate: Fate, now: Timestamp) {
        let refuses = fate.refuses && fate.kind.awaited;
        self.effects.insert(step, !refuses);
        if let Some(after) = fate.answers_after {
            let reply = if refuses { Reply::Refused } else { Reply::Done };
            self.answers.push((now + after, sent.clone(), reply));
        }
    }

    fn undo(&mut self, step: usize, sent: &Outgoing, draw: &Draw, now: Timestamp, scenario: &Scenario<Plan>) {
        let fate = draw.fates[step];
        if self.undos.insert(sent.id.clone(), step).is_some() {
            return;
        }
        assert_eq!(
            self.effects.get(&step),
            Some(&true),
            "step {step} is undone, but has no effect\n{draw:#?}"
        );
        // One that was begun is not interrupted by the late success of another.
        if !self.refusals.contains_key(&step) {
            self.check_order(step, draw, scenario);
        }
        let refused = self.refusals.entry(step).or_default();
        let reply = if *refused < fate.undo_refusals && fate.kind.undo_awaited {
            *refused += 1;
            Reply::UndoRefused
        } else {
            self.effects.insert(step, false);
            self.undone.push(step);
            Reply::Undone
        };
        if fate.kind.undo_awaited {
            self.outstanding.insert(sent.id.clone(), step);
            assert!(
                self.outstanding.len() == 1,
                "two undos at a time: {:?}\n{draw:#?}",
                self.outstanding
            );
            self.answers
                .push((now + fate.undo_answers_after, sent.clone(), reply));
        }
    }

    /// When the undo of a step is sent, no later step is left of which the saga knows that it is done.
    fn check_order(&self, step: usize, draw: &Draw, scenario: &Scenario<Plan>) {
        let waiting: Vec<usize> = self
            .answers
            .iter()
            .filter(|(_, _, reply)| *reply == Reply::Done)
            .filter_map(|(_, sent, _)| serde_json::from_slice::<DoStep>(&sent.body).ok())
            .map(|sent| sent.step)
            .collect();
        for (later, fate) in draw.fates.iter().enumerate().skip(step + 1) {
            let unknown = fate.kind.awaited && (fate.answers_after.is_none() || waiting.contains(&later));
            let left = fate.kind.undo && self.effects.get(&later) == Some(&true);
            assert!(
                !left || unknown,
                "step {step} is undone before step {later}\n{draw:#?}\n{:#?}",
                scenario.look()
            );
        }
    }

    /// The answer that comes next, if one comes by then.
    fn next_answer(&mut self, until: Timestamp) -> Option<(Timestamp, Outgoing, Reply)> {
        let next = self
            .answers
            .iter()
            .enumerate()
            .min_by_key(|(_, (at, _, _))| *at)?
            .0;
        (self.answers[next].0 <= until).then(|| self.answers.remove(next))
    }
}

/// Lets the world and the saga run until nothing more can happen.
fn run(seed: u64) -> (Draw, World, Scenario<Plan>) {
    let dice = Dice(SeededRandomness::new(seed));
    let draw = draw(&dice);
    let mut world = World::default();
    let mut scenario = Scenario::<Plan>::new();
    let begin = scenario.now();
    scenario.given(Begun {
        plan: 7,
        steps: draw.fates.iter().map(|fate| fate.kind).collect(),
    });
    deliver(&mut world, &draw, &scenario);
    let change_at = begin + draw.stop_after.unwrap_or(Duration::from_secs(60));
    let mut changed = false;
    let end = begin + Duration::from_secs(20 * 3600);
    while scenario.now() < end {
        // Small strides, so that the world sees what is sent when it is sent.
        let stride = scenario.now() + Duration::from_secs(30);
        if !changed && change_at <= stride {
            changed = true;
            let change = if draw.stop_after.is_some() {
                Change::Stop(7)
            } else {
                Change::Finish(7)
            };
            scenario.when(change);
            deliver(&mut world, &draw, &scenario);
        }
        while let Some((_, sent, reply)) = world.next_answer(stride) {
            world.outstanding.remove(&sent.id);
            match reply {
                Reply::Done => scenario.when_reply_to(&sent, StepDone),
                Reply::Refused => scenario.when_reply_to(&sent, StepRefused),
                Reply::Undone => scenario.when_reply_to(&sent, StepUndone),
                Reply::UndoRefused => scenario.when_reply_to(&sent, UndoRefused),
            };
            deliver(&mut world, &draw, &scenario);
            if dice.one_in(3) {
                scenario.when_again().then_nothing_changed();
            }
        }
        scenario.advance(stride.since(scenario.now()));
        deliver(&mut world, &draw, &scenario);
    }
    (draw, world, scenario)
}

fn deliver(world: &mut World, draw: &Draw, scenario: &Scenario<Plan>) {
    for sent in scenario.recorded() {
        world.receive(sent, draw, scenario.now(), scenario);
    }
}

/// What must come of a plan that was stopped.
fn check_stopped(draw: &Draw, world: &World, scenario: &Scenario<Plan>, seed: u64) {
    let context = || format!("seed {seed}\n{draw:#?}\n{world:#?}\n{:#?}", scenario.look());
    let stays_for_good = |fate: &Fate| {
        let has_effect = !(fate.refuses && fate.kind.awaited);
        // While an answer is on its way the undo is sent again each time that the wait for it ends.
        let sent_for_each_answer = 1 + fate.undo_answers_after.as_secs() / UNDO_WITHIN.as_secs();
        let sent = u64::from(fate.undo_refusals) * sent_for_each_answer;
        has_effect && fate.kind.undo_awaited && sent >= u64::from(ATTEMPTS)
    };
    let undoable = || draw.fates.iter().enumerate().filter(|(_, fate)| fate.kind.undo);
    let unanswered = |fate: &Fate| fate.kind.awaited && fate.answers_after.is_none();
    let failing: Vec<usize> = undoable()
        .filter(|(_, fate)| stays_for_good(fate) && !unanswered(fate))
        .map(|(step, _)| step)
        .collect();
    let is_stuck = !failing.is_empty() || undoable().any(|(_, fate)| unanswered(fate));
    let instance = scenario
        .look()
        .unwrap_or_else(|| panic!("there is no instance\n{}", context()));
    match is_stuck {
        true => assert_eq!(
            (instance.status, instance.outcome),
            (Status::Stuck, None),
            "{}",
            context()
        ),
        false => assert_eq!(instance.outcome, Some(Outcome::Compensated), "{}", context()),
    }
    for (step, fate) in undoable() {
        let in_place = world.effects[&step];
        let carried_out = world.undone.iter().filter(|undone| **undone == step).count();
        assert!(
            carried_out <= 1,
            "step {step} was undone {carried_out} times\n{}",
            context()
        );
        if fate.refuses && fate.kind.awaited || unanswered(fate) {
            assert_eq!(carried_out, 0, "step {step}\n{}", context());
        } else if failing.is_empty() {
            assert!(!in_place, "step {step} was not undone\n{}", context());
        } else if failing.contains(&step) || failing.iter().all(|failing| *failing < step) {
            // What comes before a failing undo may wait for the operator; the failing one and what follows it does not.
            assert_eq!(in_place, failing.contains(&step), "step {step}\n{}", context());
        }
    }
}

/// What must come of a plan that is to finish.
fn check_finished(draw: &Draw, world: &World, scenario: &Scenario<Plan>, seed: u64) {
    let context = || format!("seed {seed}\n{draw:#?}\n{:#?}", scenario.look());
    assert_eq!(world.undone, Vec::<usize>::new(), "{}", context());
    let unanswered = |fate: &Fate| fate.kind.undo && fate.kind.awaited && fate.answers_after.is_none();
    let instance = scenario
        .look()
        .unwrap_or_else(|| panic!("there is no instance\n{}", context()));
    match draw.fates.iter().any(unanswered) {
        true => assert_eq!(
            (instance.status, instance.completing),
            (Status::Active, true),
            "{}",
            context()
        ),
        false => assert_eq!(instance.outcome, Some(Outcome::Completed), "{}", context()),
    }
}

#[test]
fn when_random_plans_meet_a_random_world_effects_are_undone_once_in_order_or_the_saga_is_stuck() {
    let mut stopped: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 0..250 {
        let (draw, world, scenario) = run(seed);
        match draw.stop_after {
            Some(_) => check_stopped(&draw, &world, &scenario, seed),
            None => check_finished(&draw, &world, &scenario, seed),
        }
        let word = scenario
            .look()
            .map_or("none", |instance| instance.status.as_str());
        *stopped.entry(word).or_default() += 1;
    }
    // The draw must reach all the ends.
    for end in ["compensated", "completed", "stuck"] {
        assert!(stopped.get(end).is_some_and(|count| *count > 10), "{stopped:?}");
    }
}
