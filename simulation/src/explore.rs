//! Small systems, exhaustively: every fault at every place, and every pair of them.

use std::collections::BTreeSet;
use std::time::Duration;

use longhaul_core::probe::CrashPoint;

use crate::faults::{FaultKind, Faults};
use crate::machine::Run;
use crate::plan::{Fault, Place, Schedule, Site};
use crate::report::Failure;
use crate::simulation::{PointCount, Simulation, add_counts};

/// What was explored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explored {
    /// Places at which something could go wrong when nothing did.
    pub places: u64,
    /// Schedules with one fault.
    pub singles: u64,
    /// Schedules with two, the second at any place that was passed after the first.
    pub pairs: u64,
    /// The points of the runtime that were passed when nothing went wrong.
    pub quiet: BTreeSet<CrashPoint>,
    /// How often each point of the runtime was passed in all these schedules, and how often a process ended there.
    pub points: Vec<PointCount>,
}

impl Explored {
    /// The points of the runtime that were passed in any of these schedules: at no other could a process end.
    #[must_use]
    pub fn passed(&self) -> BTreeSet<CrashPoint> {
        let passed = self.points.iter().filter(|count| count.passed > 0);
        passed.map(|count| count.point).collect()
    }

    /// The sides of points at which a process ended, of those that were passed.
    #[must_use]
    pub fn ends(&self) -> usize {
        self.points.iter().filter(|count| count.crashed > 0).count()
    }

    fn count(&mut self, run: &Run) {
        add_counts(&mut self.points, &PointCount::all_of(run));
    }
}

impl Simulation {
    /// Runs every schedule with at most so many faults, one or two, on each broker of the simulation: each fault that
    /// [`Simulation::faults`] includes at each place where it can happen, each time as a second or as longer than a lease.
    /// Another order is the process after the one whose turn it is. What the world does by itself is at no place, and left
    /// out: cuts, pauses, stops, steps of clocks, and a broker that takes nothing.
    ///
    /// For small systems: the number of schedules grows with the square of the places. Tells of each as it ends.
    ///
    /// # Errors
    /// The first schedule that breaks something.
    pub fn explore(&self, depth: u8, mut tell: impl FnMut(&Explored)) -> Result<Explored, Box<Failure>> {
        let mut explored = Explored::default();
        for personality in self.personalities() {
            let nothing = Schedule {
                personality,
                ..Schedule::default()
            };
            let quiet = self.try_schedule(&nothing)?;
            explored.count(&quiet);
            let passed = PointCount::all_of(&quiet).into_iter();
            let passed = passed.filter(|count| count.passed > 0);
            explored.quiet.extend(passed.map(|count| count.point));
            for first in self.choices(&quiet, None) {
                explored.places += 1;
                let single = nothing.with(first);
                let run = self.try_schedule(&single)?;
                explored.count(&run);
                explored.singles += 1;
                tell(&explored);
                if depth < 2 {
                    continue;
                }
                for second in self.choices(&run, Some(&single)) {
                    explored.count(&self.try_schedule(&single.with(second))?);
                    explored.pairs += 1;
                    tell(&explored);
                }
            }
        }
        Ok(explored)
    }

    fn try_schedule(&self, schedule: &Schedule) -> Result<Run, Box<Failure>> {
        let run = self.run_schedule(schedule);
        match self.violation(&run) {
            None => Ok(run),
            Some((broken, what)) => Err(Box::new(Failure::new(None, broken, what, &run))),
        }
    }

    /// Everything that can go wrong in a run like this one; with a schedule, only what comes after its fault.
    fn choices(&self, run: &Run, after: Option<&Schedule>) -> Vec<(Place, Fault)> {
        let mut choices = Vec::new();
        for site in Site::all() {
            let from = after.map_or(0, |_| run.counts_at_first_fault(site));
            for nth in from..run.count(site) {
                let faults = palette(site, self.allowed());
                choices.extend(faults.into_iter().map(|fault| (Place { site, nth }, fault)));
            }
        }
        choices
    }
}

impl Schedule {
    fn with(&self, fault: (Place, Fault)) -> Self {
        let mut schedule = self.clone();
        schedule.faults.push(fault);
        schedule
    }
}

/// What can go wrong at a place.
fn palette(site: Site, faults: Faults) -> Vec<Fault> {
    const SECOND: Duration = Duration::from_secs(1);
    const LEASE: Duration = Duration::from_secs(40);
    let failures = |kind: FaultKind, writes: bool| {
        let mut palette = vec![
            Fault::Refused,
            Fault::Unknown { done: false },
            Fault::Silence { done: false },
            Fault::Late(LEASE),
        ];
        if writes {
            palette.extend([Fault::Unknown { done: true }, Fault::Silence { done: true }]);
        }
        if faults.includes(kind) {
            palette
        } else {
            Vec::new()
        }
    };
    let only = |kind: FaultKind, palette: &[Fault]| {
        if faults.includes(kind) {
            palette.to_vec()
        } else {
            Vec::new()
        }
    };
    match site {
        Site::Arrival => {
            let mut palette = only(FaultKind::Delay, &[Fault::Late(SECOND), Fault::Late(LEASE)]);
            palette.extend(only(
                FaultKind::Duplicate,
                &[Fault::Twice(SECOND), Fault::Twice(LEASE)],
            ));
            palette
        }
        Site::Send => failures(FaultKind::Broker, true),
        Site::Settle => only(FaultKind::Acknowledgement, &[Fault::Lost]),
        Site::Load | Site::Claim => failures(FaultKind::Store, false),
        Site::Commit => failures(FaultKind::Store, true),
        Site::Outside => {
            let mut palette = failures(FaultKind::Outside, true);
            palette.extend(only(
                FaultKind::Panic,
                &[Fault::Panic { done: false }, Fault::Panic { done: true }],
            ));
            palette
        }
        Site::Point(..) => only(FaultKind::Crash, &[Fault::Crash(SECOND)]),
        Site::Turn => only(FaultKind::Order, &[Fault::Pick(1)]),
        Site::World => Vec::new(),
    }
}
