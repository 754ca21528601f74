//! Runs many schedules of one system, and reports the first that breaks a rule or an invariant.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use longhaul_core::probe::{CrashPoint, Moment};

use crate::broker::Personality;
use crate::checks;
use crate::effects::Effects;
use crate::faults::Faults;
use crate::machine::{self, Run, Setup};
use crate::plan::{Chooser, Schedule, Site};
use crate::report::Failure;
use crate::shrink::shrink;
use crate::workload::Workload;
use crate::world::World;

/// One seed in so many is run twice.
const AGAIN: u64 = 100;

type Check = Arc<dyn Fn(&Effects) -> Result<(), String> + Send + Sync>;

/// An invariant of the user's.
#[derive(Clone)]
struct Invariant {
    name: String,
    check: Check,
}

/// What an invariant may answer.
pub trait Holds {
    /// `Err` says what is wrong.
    ///
    /// # Errors
    /// The invariant does not hold.
    fn holds(self) -> Result<(), String>;
}

impl Holds for bool {
    fn holds(self) -> Result<(), String> {
        if self {
            Ok(())
        } else {
            Err(String::from("it does not hold"))
        }
    }
}

impl<E: fmt::Display> Holds for Result<(), E> {
    fn holds(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}

/// A system, what is asked of it, what may go wrong, and what must be true at the end.
#[derive(Clone)]
#[must_use = "nothing is run before `check`"]
pub struct Simulation {
    world: World,
    workload: Workload,
    faults: Faults,
    invariants: Vec<Invariant>,
    personalities: Vec<Personality>,
    first_seed: u64,
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("world", &self.world)
            .field("requests", &self.workload.len())
            .finish_non_exhaustive()
    }
}

/// What was run.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// How many schedules.
    pub schedules: u64,
    /// How many messages were delivered in them.
    pub messages: u64,
    /// How much went wrong in them.
    pub faults: u64,
    /// How much time passed in them.
    pub virtual_time: Duration,
    /// How often each point of the runtime was passed, and how often a process ended there.
    pub points: Vec<PointCount>,
}

/// How often something happened at a point of the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PointCount {
    /// Which.
    pub point: CrashPoint,
    /// Before it or after it.
    pub moment: Moment,
    /// How often it was passed.
    pub passed: u64,
    /// How often a process ended there.
    pub crashed: u64,
}

/// Adds the counts of another part of the same work.
pub(crate) fn add_counts(all: &mut Vec<PointCount>, others: &[PointCount]) {
    if all.is_empty() {
        all.extend_from_slice(others);
        return;
    }
    for (own, others) in all.iter_mut().zip(others) {
        own.passed += others.passed;
        own.crashed += others.crashed;
    }
}

impl PointCount {
    /// Those of all points, before and after, in one order.
    pub(crate) fn all_of(run: &Run) -> Vec<Self> {
        Site::all().filter_map(|site| Self::of(run, site)).collect()
    }

    fn of(run: &Run, site: Site) -> Option<Self> {
        let Site::Point(point, moment) = site else {
            return None;
        };
        Some(Self {
            point,
            moment,
            passed: u64::from(run.count(site)),
            crashed: run.crashes_at(point, moment),
        })
    }
}

impl Summary {
    /// Adds another part of the same work.
    pub fn add(&mut self, other: &Self) {
        self.schedules += other.schedules;
        self.messages += other.messages;
        self.faults += other.faults;
        self.virtual_time += other.virtual_time;
        add_counts(&mut self.points, &other.points);
    }

    fn of(run: &Run) -> Self {
        Self {
            schedules: 1,
            messages: run.messages,
            faults: run.schedule.len() as u64,
            virtual_time: run.virtual_time,
            points: PointCount::all_of(run),
        }
    }
}

impl Simulation {
    /// The system to simulate.
    pub fn of(build: impl FnOnce(World) -> World) -> Self {
        Self {
            world: build(World::default()),
            workload: Workload::new(),
            faults: Faults::all(),
            invariants: Vec::new(),
            personalities: Personality::ALL.to_vec(),
            first_seed: 0,
        }
    }

    /// What is asked of it.
    pub fn workload(mut self, workload: Workload) -> Self {
        self.workload = workload;
        self
    }

    /// What may go wrong; everything if it is not said.
    pub const fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// What must be true when a schedule has come to rest, beside the runtime's own rules.
    pub fn invariant<H: Holds>(
        mut self,
        name: impl Into<String>,
        check: impl Fn(&Effects) -> H + Send + Sync + 'static,
    ) -> Self {
        self.invariants.push(Invariant {
            name: name.into(),
            check: Arc::new(move |effects| check(effects).holds()),
        });
        self
    }

    /// The broker behaves like this one only; like each in turn if it is not said.
    pub fn on(mut self, personality: Personality) -> Self {
        self.personalities = vec![personality];
        self
    }

    /// Seeds count from here; from 0 if it is not said.
    pub const fn from_seed(mut self, seed: u64) -> Self {
        self.first_seed = seed;
        self
    }

    /// Runs so many schedules; or, if the environment has `LONGHAUL_SEED`, the one of that seed.
    ///
    /// # Panics
    /// A rule or an invariant is broken: with the seed, the shrunk schedule, its trace, a Mermaid sequence diagram and a
    /// test that shows it again. `LONGHAUL_SEED` is no number.
    #[track_caller]
    pub fn check(&self, schedules: u64) {
        let result = match std::env::var("LONGHAUL_SEED") {
            Ok(seed) => match seed.parse() {
                Ok(seed) => self.run_seed(seed).map(drop),
                Err(_) => panic!("failed to read LONGHAUL_SEED={seed:?}: it is a whole number"),
            },
            Err(_) => self.run_all(schedules, |_| {}).map(drop),
        };
        if let Err(failure) = result {
            panic!("{failure}");
        }
    }

    /// Runs a schedule that was printed before.
    ///
    /// # Panics
    /// As [`Simulation::check`]; the text is no schedule.
    #[track_caller]
    pub fn replay(&self, schedule: &str) {
        let schedule: Schedule = match schedule.parse() {
            Ok(schedule) => schedule,
            Err(fault) => panic!("{fault}"),
        };
        let run = self.run_schedule(&schedule);
        if let Some((broken, what)) = self.violation(&run) {
            panic!("{}", Failure::new(None, broken, what, &run));
        }
    }

    /// Runs so many schedules, and tells of each as it ends.
    ///
    /// # Errors
    /// The first schedule that breaks something, shrunk.
    pub fn run_all(&self, schedules: u64, mut tell: impl FnMut(&Summary)) -> Result<Summary, Box<Failure>> {
        let mut summary = Summary::default();
        for seed in self.first_seed..self.first_seed + schedules {
            let one = self.run_seed(seed)?;
            summary.add(&one);
            tell(&one);
        }
        Ok(summary)
    }

    /// Runs the schedule of one seed; each hundredth twice, to see that the same happens.
    ///
    /// # Errors
    /// It breaks something; it comes back shrunk. Or something else happened the second time.
    pub fn run_seed(&self, seed: u64) -> Result<Summary, Box<Failure>> {
        let run = self.draw(seed);
        let Some((broken, what)) = self.violation(&run) else {
            self.goes_alike(seed, &run)?;
            return Ok(Summary::of(&run));
        };
        let smallest = shrink(&run.schedule, self.workload.len(), |schedule| {
            let run = self.run_schedule(schedule);
            self.violation(&run).is_some_and(|(other, _)| other == broken)
        });
        let shrunk = self.run_schedule(&smallest);
        let (run, broken, what) = match self.violation(&shrunk) {
            Some((broken, what)) => (shrunk, broken, what),
            None => (run, broken, what),
        };
        Err(Box::new(Failure::new(Some(seed), broken, what, &run)))
    }

    /// Every so often a seed is run twice: what is not the same again could not be shown again when it broke something.
    fn goes_alike(&self, seed: u64, run: &Run) -> Result<(), Box<Failure>> {
        if !seed.is_multiple_of(AGAIN) {
            return Ok(());
        }
        let again = self.draw(seed);
        let Some((first, second)) = run.trace.parting(&again.trace) else {
            return Ok(());
        };
        let what = format!(
            "run again, seed {seed} went otherwise; something in the code asks what is not of the simulation: the time, random \
             numbers, a static, or the order of a hash map. The first that differs:\n  {first}\n  {second}"
        );
        let broken = String::from("one seed gives one schedule");
        Err(Box::new(Failure::new(Some(seed), broken, what, run)))
    }

    /// Whether the schedule of one seed breaks something, without shrinking it.
    #[must_use]
    pub fn breaks(&self, seed: u64) -> Option<String> {
        self.violation(&self.draw(seed)).map(|(broken, _)| broken)
    }

    /// A number that is the same whenever the same happens in the schedule of one seed.
    #[must_use]
    pub fn fingerprint(&self, seed: u64) -> u64 {
        self.draw(seed).trace.fingerprint()
    }

    pub(crate) fn personalities(&self) -> impl Iterator<Item = Personality> {
        self.personalities.iter().copied()
    }

    pub(crate) const fn allowed(&self) -> Faults {
        self.faults
    }

    pub(crate) fn draw(&self, seed: u64) -> Run {
        let count = self.personalities.len() as u64;
        let turn = usize::try_from(seed % count.max(1)).unwrap_or(0);
        let personality = self
            .personalities
            .get(turn)
            .copied()
            .unwrap_or(Personality::Rabbit);
        machine::run(
            self.setup(seed),
            personality,
            None,
            Chooser::drawing(seed, &self.faults),
        )
    }

    pub(crate) fn run_schedule(&self, schedule: &Schedule) -> Run {
        let personality = schedule.personality;
        let requests = schedule.requests.clone();
        let setup = self.setup(schedule.seed);
        machine::run(setup, personality, requests, Chooser::given(schedule))
    }

    const fn setup(&self, seed: u64) -> Setup<'_> {
        Setup {
            world: &self.world,
            workload: &self.workload,
            faults: &self.faults,
            seed,
        }
    }

    pub(crate) fn violation(&self, run: &Run) -> Option<(String, String)> {
        if let Some((rule, what)) = checks::first_violation(&run.trace) {
            return Some((rule.to_owned(), what));
        }
        self.invariants.iter().find_map(|invariant| {
            let what = (invariant.check)(&run.effects).err()?;
            Some((invariant.name.clone(), what))
        })
    }
}

/// Runs the schedules of many seeds on several threads, each seed once, in no particular order. Tells of each as it ends;
/// `false` is enough of them.
///
/// # Errors
/// A seed that breaks something, with the name of its system: the lowest of those found before all threads stopped.
pub fn run_in_parallel(
    seeds: std::ops::Range<u64>,
    threads: usize,
    system: impl Fn(u64) -> (String, Simulation) + Sync,
    tell: impl Fn(&Summary) -> bool + Sync,
) -> Result<(), (String, Box<Failure>)> {
    let next = AtomicU64::new(seeds.start);
    let failures = std::thread::scope(|scope| {
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return None;
                }
                let (name, simulation) = system(seed);
                match simulation.run_seed(seed) {
                    Ok(summary) if tell(&summary) => {}
                    Ok(_) => return None,
                    Err(failure) => {
                        next.store(seeds.end, Ordering::Relaxed);
                        return Some((name, failure));
                    }
                }
            }
        };
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let found = workers.into_iter().filter_map(|worker| match worker.join() {
            Ok(found) => found,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        found.collect::<Vec<_>>()
    });
    failures
        .into_iter()
        .min_by_key(|(_, failure)| failure.seed())
        .map_or(Ok(()), Err)
}
