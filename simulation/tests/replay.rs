//! An operator's replay that ends or fails at any of its calls, and is made again: no message is lost. The real replay over a real
//! broker (the embedded one), whose every call may be cut; on purpose the wrong way round, messages are lost.

#![expect(clippy::expect_used, reason = "a test fails where something goes wrong")]

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_executor::block_on;
use longhaul_core::address::Address;
use longhaul_core::admin::{Found, Pass, Place, QueueAdmin, QueueDepth};
use longhaul_core::clock::{Clock, ManualClock, Timestamp};
use longhaul_core::envelope::Envelope;
use longhaul_core::headers::{self, Headers};
use longhaul_core::ids::MessageId;
use longhaul_core::transport::{
    Accepted, Capabilities, Declare, Destination, Dispatch, Health, Receiver, ReceiverOptions, Report,
    Topology, Transport, TransportError, TransportErrorKind,
};
use longhaul_local::LocalBroker;
use longhaul_ops::errors::{ErrorQueue, Filter, Outcome, Replay, Selection, Target};
use longhaul_simulation::{Mutant, mutate};
use tokio::sync::{Notify, watch};

const MESSAGES: usize = 5;

/// What becomes of a call that is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// The command ends before it.
    EndsBefore,
    /// The command ends when half of it is done.
    EndsMidway,
    /// The command ends after it, and was not told.
    EndsAfter,
    /// It is not done, and fails.
    Fails,
    /// It is done, and fails all the same.
    FailsDone,
}

const CUTS: [Cut; 5] = [
    Cut::EndsBefore,
    Cut::EndsMidway,
    Cut::EndsAfter,
    Cut::Fails,
    Cut::FailsDone,
];

/// The broker of one run of the command, that cuts one of its calls.
#[derive(Debug)]
struct Cutter {
    broker: LocalBroker,
    calls: AtomicUsize,
    cut: Option<(usize, Cut)>,
    ended: Notify,
}

impl Cutter {
    fn of(broker: &LocalBroker, cut: Option<(usize, Cut)>) -> Arc<Self> {
        Arc::new(Self {
            broker: broker.clone(),
            calls: AtomicUsize::new(0),
            cut,
            ended: Notify::new(),
        })
    }

    /// What becomes of the call that is about to be made.
    fn next(&self) -> Option<Cut> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        self.cut.filter(|(at, _)| *at == call).map(|(_, cut)| cut)
    }

    async fn end<T>(&self) -> T {
        self.ended.notify_one();
        pending().await
    }

    /// A call that is done whole or not at all.
    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, TransportError>>,
    ) -> Result<T, TransportError> {
        match self.next() {
            None => call.await,
            Some(Cut::EndsBefore) => self.end().await,
            Some(Cut::EndsMidway | Cut::EndsAfter) => {
                drop(call.await);
                self.end().await
            }
            Some(Cut::Fails) => Err(no_answer()),
            Some(Cut::FailsDone) => {
                drop(call.await);
                Err(no_answer())
            }
        }
    }
}

fn no_answer() -> TransportError {
    TransportError::new(TransportErrorKind::Unknown, "ask the broker: there was no answer")
}

/// The transport and the administration of one run of the command.
#[derive(Debug, Clone)]
struct Broker(Arc<Cutter>);

#[async_trait]
impl Transport for Broker {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_batch: 2,
            ..self.0.broker.capabilities()
        }
    }

    async fn prepare(&self, topology: &Topology, mode: Declare) -> Result<Report, TransportError> {
        self.0.broker.prepare(topology, mode).await
    }

    async fn receiver(
        &self,
        source: &Address,
        options: ReceiverOptions,
    ) -> Result<Box<dyn Receiver>, TransportError> {
        self.0.broker.receiver(source, options).await
    }

    async fn dispatch(&self, batch: &[Dispatch]) -> Vec<Result<Accepted, TransportError>> {
        let cut = self.0.next();
        let done = match cut {
            None | Some(Cut::EndsAfter | Cut::FailsDone) => batch.len(),
            Some(Cut::EndsMidway) => batch.len().div_ceil(2),
            Some(Cut::EndsBefore | Cut::Fails) => 0,
        };
        let answers = self.0.broker.dispatch(&batch[..done]).await;
        match cut {
            None => answers,
            Some(Cut::Fails | Cut::FailsDone) => batch.iter().map(|_| Err(no_answer())).collect(),
            Some(_) => self.0.end().await,
        }
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.0.broker.health()
    }
}

#[async_trait]
impl QueueAdmin for Broker {
    fn caution(&self) -> Option<&'static str> {
        self.0.broker.caution()
    }

    async fn queues(&self, limit: usize) -> Result<Option<Vec<Address>>, TransportError> {
        self.0.broker.queues(limit).await
    }

    async fn depth(&self, queue: &Address) -> Result<QueueDepth, TransportError> {
        self.0.broker.depth(queue).await
    }

    async fn look_through(&self, queue: &Address) -> Result<Box<dyn Pass>, TransportError> {
        let pass = self.0.call(self.0.broker.look_through(queue)).await?;
        let cutter = Arc::clone(&self.0);
        Ok(Box::new(CutPass { cutter, pass }))
    }
}

#[derive(Debug)]
struct CutPass {
    cutter: Arc<Cutter>,
    pass: Box<dyn Pass>,
}

#[async_trait]
impl Pass for CutPass {
    fn expected(&self) -> u64 {
        self.pass.expected()
    }

    async fn next(&mut self, limit: usize) -> Result<Vec<Found>, TransportError> {
        self.cutter.call(self.pass.next(limit)).await
    }

    async fn remove(&mut self, places: &[Place]) -> Result<(), TransportError> {
        // Midway, one of them is taken out.
        let midway = self.cutter.cut == Some((self.cutter.calls.load(Ordering::SeqCst), Cut::EndsMidway));
        let some = if midway { 1 } else { places.len() };
        self.cutter.call(self.pass.remove(&places[..some])).await
    }

    async fn close(self: Box<Self>) -> Result<(), TransportError> {
        self.cutter.call(self.pass.close()).await
    }
}

fn address(name: &str) -> Address {
    Address::new(name).expect("an address")
}

/// Five messages that `sales` refused, in the error queue of a broker.
async fn failed(broker: &LocalBroker) {
    let topology = Topology {
        queues: vec![address("sales")],
        error_queues: vec![address("error")],
        ..Topology::default()
    };
    let prepared = broker.prepare(&topology, Declare::Declare).await;
    prepared.expect("there are queues");
    let dispatch = |number: usize| Dispatch {
        envelope: Envelope::new(
            MessageId::new(format!("m-{number}")).expect("an id"),
            Headers::from_iter([
                (headers::ERROR_SOURCE, "sales"),
                (headers::ERROR_REASON, "refused"),
            ]),
            "{}".into(),
        ),
        to: Destination::Queue(address("error")),
        due: None,
    };
    for batch in (0..MESSAGES).map(dispatch).collect::<Vec<_>>().chunks(2) {
        for taken in broker.dispatch(batch).await {
            taken.expect("it is taken");
        }
    }
}

/// Replays everything, until it is through or its process ends: `None`.
async fn replay(cutter: Arc<Cutter>, clock: &ManualClock) -> Option<Outcome> {
    let clock: Arc<dyn Clock> = Arc::new(clock.clone());
    let broker = Broker(Arc::clone(&cutter));
    let errors = ErrorQueue::new(
        Arc::new(broker.clone()),
        Arc::new(broker),
        address("error"),
        clock,
    );
    let all = Replay {
        selection: Selection::Matching(Filter::default()),
        target: Target::Source,
        per_second: None,
    };
    let mut tell = |_| {};
    tokio::select! {
        biased;
        replayed = errors.replay(&all, &mut tell) => replayed.ok(),
        () = cutter.ended.notified() => None,
    }
}

/// How often each id is in the queue.
async fn ids(broker: &LocalBroker, queue: &str) -> BTreeMap<String, usize> {
    let mut pass = broker.look_through(&address(queue)).await.expect("a queue");
    let mut ids = BTreeMap::new();
    for found in pass.next(100).await.expect("what it holds") {
        let id = String::from_utf8(found.incoming.id.expect("an id")).expect("text");
        *ids.entry(id).or_default() += 1;
    }
    ids
}

/// A replay that is cut there, and another one that is not. Says what is wrong afterwards; tells of how many calls the first
/// one was.
async fn violation(cut: Option<(usize, Cut)>) -> (Option<String>, usize) {
    let clock = ManualClock::starting_at(Timestamp::UNIX_EPOCH);
    let broker = LocalBroker::in_memory(Arc::new(clock.clone()));
    failed(&broker).await;
    let first = Cutter::of(&broker, cut);
    replay(Arc::clone(&first), &clock).await;
    let calls = first.calls.load(Ordering::SeqCst);
    let again = replay(Cutter::of(&broker, None), &clock).await;
    let (sales, left) = (ids(&broker, "sales").await, ids(&broker, "error").await);
    let lost = (0..MESSAGES)
        .map(|number| format!("m-{number}"))
        .find(|id| !sales.contains_key(id) && !left.contains_key(id));
    let wrong = match lost {
        Some(lost) => Some(format!("{lost} is lost")),
        None if again.is_none() => Some("the second replay did not end well".to_owned()),
        None if !left.is_empty() => Some(format!("{left:?} are in the error queue still")),
        None if sales.values().any(|copies| *copies > 2) => Some(format!("too many copies: {sales:?}")),
        None if cut.is_none() && sales.values().any(|copies| *copies > 1) => {
            Some(format!("nothing was cut, and there are copies: {sales:?}"))
        }
        None => None,
    };
    (wrong, calls)
}

/// Every cut of every call; and none.
fn schedules() -> Vec<Option<(usize, Cut)>> {
    let (quiet, calls) = block_on(violation(None));
    assert_eq!(quiet, None);
    // It looks, takes two pages (the second is empty), sends and takes out three times, and closes.
    assert_eq!(calls, 10);
    let cuts = (0..calls).flat_map(|call| CUTS.map(|cut| Some((call, cut))));
    [None].into_iter().chain(cuts).collect()
}

#[test]
fn when_a_replay_is_cut_at_any_call_and_made_again_no_message_is_lost() {
    for cut in schedules() {
        assert_eq!(block_on(violation(cut)).0, None, "{cut:?}");
    }
}

#[test]
fn when_a_replay_takes_out_first_and_sends_then_it_is_caught() {
    let schedules = schedules();
    mutate(Some(Mutant::ReplayDeletesFirst));
    let losing: Vec<_> = schedules
        .iter()
        .enumerate()
        .filter_map(|(number, cut)| {
            let wrong = block_on(violation(*cut)).0?;
            wrong.ends_with("is lost").then_some((number + 1, *cut, wrong))
        })
        .collect();
    mutate(None);
    let (number, cut, wrong) = losing.first().expect("a message that is lost");
    println!(
        "{:<24} {number:>9}  an operator's replay loses nothing: {wrong} ({cut:?})",
        "ReplayDeletesFirst"
    );
    println!("{} of {} schedules lose a message", losing.len(), schedules.len());
    // Between the two: ended after the removal, ended before or midway through the sending, or sent and refused.
    let between = [
        (2, Cut::EndsAfter),
        (3, Cut::EndsBefore),
        (3, Cut::EndsMidway),
        (3, Cut::Fails),
    ];
    for cut in between {
        assert!(
            losing.iter().any(|(_, losing, _)| *losing == Some(cut)),
            "{cut:?} loses nothing: {losing:?}"
        );
    }
}
