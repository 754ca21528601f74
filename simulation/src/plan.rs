//! What goes wrong in one schedule: drawn from a seed, or given, place by place.

mod text;

use std::collections::BTreeMap;
use std::time::Duration;

use longhaul_core::probe::{CrashPoint, Moment};

use crate::broker::{LEASE, Personality};
use crate::faults::{FaultKind, Faults};
use crate::random::Random;
pub use text::InvalidSchedule;

/// A kind of moment at which something can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Site {
    /// Several processes could run.
    Turn,
    /// A message comes into a queue.
    Arrival,
    /// A message is handed to the broker.
    Send,
    /// A message is settled.
    Settle,
    /// A store is asked.
    Load,
    /// A store is written.
    Commit,
    /// A store is asked for due rows.
    Claim,
    /// A third party is asked.
    Outside,
    /// The world by itself.
    World,
    /// A point of the runtime.
    Point(CrashPoint, Moment),
}

impl Site {
    /// All of them.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let others = [
            Self::Turn,
            Self::Arrival,
            Self::Send,
            Self::Settle,
            Self::Load,
            Self::Commit,
            Self::Claim,
            Self::Outside,
            Self::World,
        ];
        let sides = |point| {
            [
                Self::Point(point, Moment::Before),
                Self::Point(point, Moment::After),
            ]
        };
        others
            .into_iter()
            .chain(CrashPoint::ALL.into_iter().flat_map(sides))
    }

    const OTHERS: usize = 9;
    const COUNT: usize = Self::OTHERS + CrashPoint::ALL.len() * 2;

    const fn index(self) -> usize {
        match self {
            Self::Turn => 0,
            Self::Arrival => 1,
            Self::Send => 2,
            Self::Settle => 3,
            Self::Load => 4,
            Self::Commit => 5,
            Self::Claim => 6,
            Self::Outside => 7,
            Self::World => 8,
            Self::Point(point, moment) => Self::OTHERS + point as usize * 2 + moment as usize,
        }
    }
}

/// The n-th moment of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) site: Site,
    pub(crate) nth: u32,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// Another process than the first in line runs.
    Pick(u8),
    /// It comes, or is answered, so much later.
    Late(Duration),
    /// It comes again, so much later.
    Twice(Duration),
    /// The answer is no, and nothing was done.
    Refused,
    /// The answer is that nobody knows.
    Unknown { done: bool },
    /// There is no answer at all.
    Silence { done: bool },
    /// Whoever asked panics over the answer.
    Panic { done: bool },
    /// It is taken for settled, and is not.
    Lost,
    /// The process ends here, and starts again after so long.
    Crash(Duration),
    /// Something of the world, so long after the beginning.
    World(Duration, WorldFault),
}

impl Fault {
    /// For how long it is wrong by itself; `None` for what is only another order.
    const fn length(self) -> Option<Duration> {
        match self {
            Self::Pick(_) => None,
            Self::Late(length) | Self::Twice(length) | Self::Crash(length) => Some(length),
            Self::Refused
            | Self::Unknown { .. }
            | Self::Silence { .. }
            | Self::Panic { .. }
            | Self::Lost
            | Self::World(..) => Some(Duration::ZERO),
        }
    }
}

/// What goes wrong by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum WorldFault {
    /// The connection of the process to the broker is cut: what it holds is delivered again.
    Cut(u8),
    /// The consumer of the process ends for good.
    EndConsumer(u8),
    /// The broker takes nothing for so long.
    Block(Duration),
    /// The process does not run for so long, and does not know.
    Pause(u8, Duration),
    /// The clock of the process jumps by so many microseconds.
    Step(u8, i64),
    /// The process is asked to stop, and starts again.
    Stop(u8),
}

/// Everything that went wrong in a schedule, in the order in which it did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule {
    pub(crate) faults: Vec<(Place, Fault)>,
    /// The numbers of the requests that were made; `None` for all.
    pub(crate) requests: Option<Vec<usize>>,
    /// What the broker is like.
    pub(crate) personality: Personality,
    /// Where the endpoints' own randomness comes from: ids and jitter.
    pub(crate) seed: u64,
}

impl Schedule {
    /// How much went wrong.
    #[must_use]
    pub fn len(&self) -> usize {
        self.faults.len()
    }

    /// Whether nothing did.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }
}

/// How often each kind of moment came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts([u32; Site::COUNT]);

impl Counts {
    pub(crate) const fn of(&self, site: Site) -> u32 {
        self.0[site.index()]
    }
}

/// Decides what goes wrong, and keeps what it decided.
#[derive(Debug)]
pub(crate) struct Chooser {
    mode: Mode,
    counts: Counts,
    /// The counts when something went wrong first.
    at_first: Option<Counts>,
    taken: Vec<(Place, Fault)>,
    /// For how long something is wrong that was taken since somebody asked.
    wrong: Option<Duration>,
    /// Faults are over: everything must settle now.
    is_over: bool,
}

#[derive(Debug)]
enum Mode {
    Drawn(Mix),
    Given(BTreeMap<Place, Fault>),
}

/// How often what goes wrong in one schedule: each seed has a mix of its own (swarm testing, Groce et al., ISSTA 2012).
#[derive(Debug)]
struct Mix {
    random: Random,
    budget: u32,
    crashes: u32,
    crash: u32,
    order: u32,
    late: u32,
    twice: u32,
    send: u32,
    settle: u32,
    store: u32,
    outside: u32,
    panics: bool,
}

impl Chooser {
    /// Draws from a seed.
    pub(crate) fn drawing(seed: u64, faults: &Faults) -> Self {
        let mut random = Random::new(seed);
        let mut rate = |kind: FaultKind, rates: [u32; 3]| {
            let choice = random.below(4);
            if !faults.includes(kind) {
                return 0;
            }
            usize::try_from(choice)
                .ok()
                .and_then(|at| rates.get(at))
                .copied()
                .unwrap_or(0)
        };
        let (crash, order) = (
            rate(FaultKind::Crash, [32, 128, 512]),
            rate(FaultKind::Order, [2048, 8192, 24_000]),
        );
        let (late, twice) = (
            rate(FaultKind::Delay, [1024, 4096, 16_384]),
            rate(FaultKind::Duplicate, [1024, 3277, 8192]),
        );
        let (send, settle) = (
            rate(FaultKind::Broker, [512, 2048, 6000]),
            rate(FaultKind::Acknowledgement, [1024, 4096, 8192]),
        );
        let (store, outside) = (
            rate(FaultKind::Store, [256, 1024, 3000]),
            rate(FaultKind::Outside, [1024, 4096, 8192]),
        );
        let budget = u32::try_from(random.below(11)).unwrap_or(0);
        Self::new(Mode::Drawn(Mix {
            budget,
            crashes: 3,
            random,
            crash,
            order,
            late,
            twice,
            send,
            settle,
            store,
            outside,
            panics: faults.includes(FaultKind::Panic),
        }))
    }

    /// Does what is given, and nothing else.
    pub(crate) fn given(schedule: &Schedule) -> Self {
        Self::new(Mode::Given(schedule.faults.iter().copied().collect()))
    }

    const fn new(mode: Mode) -> Self {
        Self {
            mode,
            counts: Counts([0; Site::COUNT]),
            at_first: None,
            taken: Vec::new(),
            wrong: None,
            is_over: false,
        }
    }

    /// Nothing goes wrong from now on.
    pub(crate) const fn end_faults(&mut self) {
        self.is_over = true;
    }

    /// What went wrong.
    pub(crate) fn taken(&self) -> &[(Place, Fault)] {
        &self.taken
    }

    /// For how long something is wrong, if anything has begun to be since this was asked last.
    pub(crate) const fn begun(&mut self) -> Option<Duration> {
        self.wrong.take()
    }

    /// How often each kind of moment came: in all, and before something went wrong first.
    pub(crate) fn counts(&self) -> (Counts, Counts) {
        (self.counts, self.at_first.unwrap_or(self.counts))
    }

    /// Whether something goes wrong at this moment.
    pub(crate) fn ask(&mut self, site: Site) -> Option<Fault> {
        let count = &mut self.counts.0[site.index()];
        let nth = *count;
        *count += 1;
        if self.is_over {
            return None;
        }
        let place = Place { site, nth };
        let fault = match &mut self.mode {
            Mode::Given(given) => given.get(&place).copied(),
            Mode::Drawn(mix) => mix.draw(site),
        }?;
        self.at_first.get_or_insert(self.counts);
        self.wrong = self.wrong.max(fault.length());
        self.taken.push((place, fault));
        Some(fault)
    }

    /// What the world does by itself, given how many processes there are.
    pub(crate) fn world(&mut self, processes: u8, faults: &Faults) -> Vec<(Duration, WorldFault)> {
        let events: Vec<(Place, Fault)> = match &mut self.mode {
            Mode::Given(given) => given
                .iter()
                .filter(|(place, _)| place.site == Site::World)
                .map(|(place, fault)| (*place, *fault))
                .collect(),
            Mode::Drawn(mix) => {
                let events = (0..mix.random.below(4)).filter_map(|_| mix.world(processes, faults));
                let events = events.collect::<Vec<_>>();
                let numbered = events.into_iter().zip(0..);
                numbered
                    .map(|(fault, nth)| {
                        (
                            Place {
                                site: Site::World,
                                nth,
                            },
                            fault,
                        )
                    })
                    .collect()
            }
        };
        self.taken.extend(&events);
        let mut events: Vec<_> = events
            .into_iter()
            .filter_map(|(_, fault)| match fault {
                Fault::World(after, what) => Some((after, what)),
                _ => None,
            })
            .collect();
        events.sort_by_key(|(after, _)| *after);
        events
    }
}

impl Mix {
    fn draw(&mut self, site: Site) -> Option<Fault> {
        let rate = match site {
            Site::Turn => self.order,
            Site::Arrival => self.late + self.twice,
            Site::Send => self.send,
            Site::Settle => self.settle,
            Site::Load | Site::Commit | Site::Claim => self.store,
            Site::Outside => self.outside,
            Site::Point(..) => self.crash,
            Site::World => 0,
        };
        // What is only another order is no fault, and costs none.
        let is_free = matches!(site, Site::Turn);
        if !self.random.happens(rate) || (!is_free && self.budget == 0) {
            return None;
        }
        let fault = match site {
            Site::Turn => Fault::Pick(u8::try_from(1 + self.random.below(3)).unwrap_or(1)),
            Site::Arrival => {
                let is_late = self.random.below(u64::from(rate)) < u64::from(self.late);
                let later = self.moment();
                if is_late {
                    Fault::Late(later)
                } else {
                    Fault::Twice(later)
                }
            }
            Site::Send => self.failure(false),
            Site::Outside if self.panics && self.random.below(4) == 0 => Fault::Panic {
                done: self.random.below(2) == 0,
            },
            Site::Load | Site::Claim | Site::Commit | Site::Outside => self.failure(site != Site::Commit),
            Site::Settle => Fault::Lost,
            Site::Point(..) => {
                self.crashes = self.crashes.checked_sub(1)?;
                Fault::Crash(self.moment())
            }
            Site::World => return None,
        };
        self.budget -= u32::from(!is_free);
        Some(fault)
    }

    /// How a call can fail. A mere question is never half done.
    const fn failure(&mut self, is_question: bool) -> Fault {
        let done = !is_question && self.random.below(2) == 0;
        match self.random.below(6) {
            0 | 1 => Fault::Refused,
            2 | 3 => Fault::Unknown { done },
            4 => Fault::Silence { done },
            _ => Fault::Late(self.moment()),
        }
    }

    /// A time from a microsecond to two minutes: below a millisecond, 20 or 500 milliseconds, 6 or 40 seconds, or two
    /// minutes, each as likely as the others.
    const fn moment(&mut self) -> Duration {
        const BOUNDS: [u64; 6] = [1_000, 20_000, 500_000, 6_000_000, 40_000_000, 120_000_000];
        let most = BOUNDS[(self.random.next() % 6) as usize];
        Duration::from_micros(1 + self.random.below(most))
    }

    fn world(&mut self, processes: u8, faults: &Faults) -> Option<Fault> {
        let after = self.moment();
        // The first process is the client, whose requests are the input.
        let process = 1 + u8::try_from(self.random.below(u64::from(processes.max(2)) - 1)).unwrap_or(0);
        let (kind, what) = match self.random.below(7) {
            0 | 1 => (FaultKind::Connection, WorldFault::Cut(process)),
            2 => (FaultKind::Connection, WorldFault::EndConsumer(process)),
            3 => (FaultKind::Broker, WorldFault::Block(self.moment())),
            4 => (FaultKind::Pause, WorldFault::Pause(process, self.pause())),
            5 => (FaultKind::Clock, WorldFault::Step(process, self.step())),
            _ => (FaultKind::Stop, WorldFault::Stop(process)),
        };
        faults.includes(kind).then_some(Fault::World(after, what))
    }

    /// As long as a message is lent for, up to four times that.
    const fn pause(&mut self) -> Duration {
        Duration::from_secs(LEASE.as_secs() + self.random.below(3 * LEASE.as_secs()))
    }

    /// A second or an hour, forward or back.
    const fn step(&mut self) -> i64 {
        const STEPS: [i64; 4] = [1_000_000, -1_000_000, 3_600_000_000, -3_600_000_000];
        STEPS[(self.random.next() % 4) as usize]
    }
}
