//! The publisher task: connects, takes batches, publishes them in windows, answers.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use longhaul_core::{
    clock::{Clock, Timestamp},
    transport::{TransportError, TransportErrorKind},
};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    BATCHES, Batch, Outcome, Outgoing, Publisher, Route, WINDOW_BYTES, WINDOW_MESSAGES, outcome,
    session::Session, window::Verdict,
};
use crate::{
    backoff::Backoff,
    delay::DelayTopology,
    fault::Fault,
    health::HealthBoard,
    link::{LinkState, Target},
};

/// What the publisher needs to know.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) target: Arc<Target>,
    pub(crate) delays: DelayTopology,
    /// Whether exchanges may be created.
    pub(crate) create: Arc<AtomicBool>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) health: Arc<HealthBoard>,
    pub(crate) refusing: Arc<Mutex<HashMap<String, Refusing>>>,
    /// Where the largest frame of the connection is noted, in bytes.
    pub(crate) frame_bytes: Arc<AtomicUsize>,
    pub(crate) backoff: Backoff,
}

impl Settings {
    fn connected(&self, session: &Session) {
        self.frame_bytes
            .store(session.link.frame_bytes(), Ordering::Relaxed);
        self.health.publishing(LinkState::Up);
    }
}

/// A queue that the broker takes nothing for, again and again: it is full, or it was declared and has no leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusing {
    /// How many messages were refused since.
    pub messages: u64,
    /// Since when nothing was taken.
    pub since: Timestamp,
}

/// How many refusing queues are remembered.
const MOST_REFUSING: usize = 1000;

/// Connects, and starts the publisher on that connection.
///
/// # Errors
///
/// The first connection can't be made.
pub(crate) async fn start(settings: Settings) -> Result<(Publisher, JoinHandle<()>), Fault> {
    let session = Session::open(&settings.target, 0).await?;
    settings.connected(&session);
    let (sender, batches) = mpsc::channel(BATCHES);
    let task = Task {
        settings,
        batches,
        next: None,
        attempts: 0,
    };
    Ok((Publisher(sender), tokio::spawn(task.run(Some(session)))))
}

struct Task {
    settings: Settings,
    batches: mpsc::Receiver<Batch>,
    /// Taken, but it did not fit into the window.
    next: Option<Batch>,
    attempts: usize,
}

/// What happened while there was nothing to publish.
enum Idle {
    Batch(Batch),
    State(LinkState),
    Closed,
}

impl Task {
    async fn run(mut self, mut session: Option<Session>) {
        loop {
            let Some(live) = session.as_mut().filter(|session| session.is_up()) else {
                drop(session.take());
                if self.batches.is_closed() && self.batches.is_empty() {
                    break;
                }
                session = self.connect().await;
                continue;
            };
            match self.idle(live).await {
                Idle::Closed => break,
                Idle::Batch(batch) => {
                    let window = self.fill(batch).await;
                    if let Err(fault) = self.publish(live, window).await {
                        if live.is_blocked() {
                            live.give_up_channel();
                            continue;
                        }
                        tracing::warn!(reason = fault.text, "the connection for publishing is given up");
                        self.settings.health.publishing(LinkState::Down(fault.text));
                        session = None;
                    }
                }
                Idle::State(state) => self.settings.health.publishing(state),
            }
        }
        if let Some(session) = session {
            session.link.close().await;
        }
        self.settings
            .health
            .publishing(LinkState::Down("the transport was closed".to_owned()));
    }

    /// One attempt to connect; when it fails, whoever waits is told and there is a pause.
    async fn connect(&mut self) -> Option<Session> {
        let first = self.attempts;
        self.attempts = self.attempts.wrapping_add(1);
        match Session::open(&self.settings.target, first).await {
            Ok(session) => {
                self.settings.backoff.reset();
                self.settings.connected(&session);
                tracing::info!("connected again for publishing");
                Some(session)
            }
            Err(fault) => {
                self.settings
                    .health
                    .publishing(LinkState::Down(fault.text.clone()));
                self.refuse_waiting(|| fault.while_doing("connect to the broker"));
                let pause = self.settings.backoff.pause();
                tracing::debug!(reason = fault.text, ?pause, "no connection for publishing");
                tokio::time::sleep(pause).await;
                None
            }
        }
    }

    /// Waits for a batch, a change of the connection's state, or the end.
    async fn idle(&mut self, session: &Session) -> Idle {
        let mut state = session.link.state();
        let now = state.borrow_and_update().clone();
        if let LinkState::Blocked(why) = now {
            return self.wait_until_unblocked(session, &why).await;
        }
        if let Some(batch) = self.next.take() {
            return Idle::Batch(batch);
        }
        tokio::select! {
            batch = self.batches.recv() => batch.map_or(Idle::Closed, Idle::Batch),
            _ = state.changed() => { let state = state.borrow().clone(); Idle::State(state) }
        }
    }

    /// While the broker takes nothing, nothing is written. Batches wait for as long as an answer may take.
    async fn wait_until_unblocked(&mut self, session: &Session, why: &str) -> Idle {
        self.settings
            .health
            .publishing(LinkState::Blocked(why.to_owned()));
        let mut state = session.link.state();
        let unblocked = state.wait_for(|state| !matches!(state, LinkState::Blocked(_)));
        let limit = self.settings.target.timing.answer;
        if let Ok(state) = tokio::time::timeout(limit, unblocked).await {
            let state = state.map_or_else(
                |_| LinkState::Down("the connection ended".to_owned()),
                |state| state.clone(),
            );
            return Idle::State(state);
        }
        if self.batches.is_closed() && self.batches.is_empty() {
            return Idle::Closed;
        }
        self.refuse_waiting(|| {
            TransportError::new(
                TransportErrorKind::Rejected,
                format!("publish: the broker takes nothing for now ({why}); free memory or disk space there"),
            )
        });
        Idle::State(LinkState::Blocked(why.to_owned()))
    }

    fn refuse_waiting(&mut self, error: impl Fn() -> TransportError) {
        if let Some(batch) = self.next.take() {
            batch.refuse(&error);
        }
        while let Ok(batch) = self.batches.try_recv() {
            batch.refuse(&error);
        }
    }

    /// Adds batches that are waiting, up to the size of a window.
    ///
    /// Whoever was answered just now sends again at once: to step back for a moment lets them all into one window.
    async fn fill(&mut self, first: Batch) -> Vec<Batch> {
        let (mut messages, mut bytes) = (first.messages.len(), first.bytes());
        let mut window = vec![first];
        let mut before = 0;
        loop {
            while let Ok(batch) = self.batches.try_recv() {
                messages += batch.messages.len();
                bytes += batch.bytes();
                if messages > WINDOW_MESSAGES || bytes > WINDOW_BYTES {
                    self.next = Some(batch);
                    return window;
                }
                window.push(batch);
            }
            if window.len() == before {
                return window;
            }
            before = window.len();
            tokio::task::yield_now().await;
        }
    }

    async fn publish(&self, session: &mut Session, window: Vec<Batch>) -> Result<(), Fault> {
        let create = self.settings.create.load(Ordering::Relaxed);
        let all: Vec<&Outgoing> = window.iter().flat_map(|batch| &batch.messages).collect();
        let obstacles = session
            .prepare(
                all.iter().map(|message| &message.to),
                &self.settings.delays,
                create,
            )
            .await;
        let sent: Vec<&Outgoing> = all
            .iter()
            .copied()
            .filter(|message| !obstacles.contains_key(&message.to))
            .collect();
        let (verdicts, fault) = self.observed(session, &sent).await;
        let now = self.settings.clock.now();
        let mut verdicts = verdicts.into_iter();
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(all.len());
        for message in &all {
            outcomes.push(match obstacles.get(&message.to) {
                Some(obstacle) => outcome::of_obstacle(&message.to, obstacle),
                None => {
                    let verdict = verdicts.next().unwrap_or(Verdict::Unknown);
                    let refused = self.note(&message.to, &verdict, now);
                    outcome::of_verdict(&message.to, &verdict, fault.as_ref(), refused)
                }
            });
        }
        let mut outcomes = outcomes.into_iter();
        for batch in window {
            let count = batch.messages.len();
            batch.answer(outcomes.by_ref().take(count).collect());
        }
        fault.map_or(Ok(()), Err)
    }

    /// Publishes one window, and reports meanwhile what the connection is like.
    async fn observed(&self, session: &mut Session, sent: &[&Outgoing]) -> (Vec<Verdict>, Option<Fault>) {
        let mut state = session.link.state();
        let mut sending = pin!(session.send(sent));
        loop {
            tokio::select! {
                biased;
                done = &mut sending => return done,
                Ok(()) = state.changed() => self.settings.health.publishing(state.borrow_and_update().clone()),
            }
        }
    }

    /// Keeps count of queues that refuse everything; returns for how long this one has.
    fn note(&self, route: &Route, verdict: &Verdict, now: Timestamp) -> Option<Duration> {
        let mut refusing = self.settings.refusing.lock().ok()?;
        match verdict {
            Verdict::Accepted if refusing.is_empty() => None,
            Verdict::Accepted => {
                refusing.remove(route.name());
                None
            }
            Verdict::Nacked => {
                if refusing.len() >= MOST_REFUSING && !refusing.contains_key(route.name()) {
                    return None;
                }
                let entry = refusing.entry(route.name().to_owned());
                let entry = entry.or_insert(Refusing {
                    messages: 0,
                    since: now,
                });
                entry.messages += 1;
                Some(now.since(entry.since))
            }
            Verdict::Returned | Verdict::Refused(_) | Verdict::Unknown => None,
        }
    }
}
