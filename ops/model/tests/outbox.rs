//! An outbox that is flushed by hand: only what the broker has confirmed is noted as sent.

#![expect(clippy::unwrap_used, reason = "a test fails where something goes wrong")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use longhaul_core::address::Address;
use longhaul_core::clock::{Clock, SystemClock, Timestamp};
use longhaul_core::envelope::Envelope;
use longhaul_core::headers::Headers;
use longhaul_core::ids::MessageId;
use longhaul_core::store::{PendingChange, PendingKind, PendingRow, Persistence, Store, UnitOfWork};
use longhaul_core::transport::{
    Accepted, Capabilities, Declare, Destination, Dispatch, Health, Receiver, ReceiverOptions, Report,
    Topology, Transport, TransportError, TransportErrorKind,
};
use longhaul_local::LocalBroker;
use longhaul_memory::Memory;
use longhaul_ops::errors::OpsErrorKind;
use longhaul_ops::stored::StoredState;
use tokio::sync::watch;

const YEARS: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A broker whose next answers get lost, though it has done what it was asked to; and one that keeps messages for a day at most.
#[derive(Debug)]
struct Unsure {
    broker: LocalBroker,
    lost: AtomicUsize,
}

#[async_trait]
impl Transport for Unsure {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_batch: 4,
            max_delay: Duration::from_secs(86_400),
            ..self.broker.capabilities()
        }
    }

    async fn prepare(&self, topology: &Topology, mode: Declare) -> Result<Report, TransportError> {
        self.broker.prepare(topology, mode).await
    }

    async fn receiver(
        &self,
        source: &Address,
        options: ReceiverOptions,
    ) -> Result<Box<dyn Receiver>, TransportError> {
        self.broker.receiver(source, options).await
    }

    async fn dispatch(&self, batch: &[Dispatch]) -> Vec<Result<Accepted, TransportError>> {
        let answers = self.broker.dispatch(batch).await;
        let is_lost = |left: usize| left.checked_sub(1);
        if self
            .lost
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, is_lost)
            .is_err()
        {
            return answers;
        }
        let unknown = || TransportError::new(TransportErrorKind::Unknown, "send: no answer");
        answers.into_iter().map(|_| Err(unknown())).collect()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.broker.health()
    }
}

fn row(id: &str, to: &str, kind: PendingKind) -> PendingRow {
    let id = MessageId::new(id).unwrap();
    PendingRow {
        envelope: Envelope::new(id.clone(), Headers::new(), "{}".into()),
        id,
        kind,
        owner: None,
        name: String::new(),
        to: Destination::Queue(Address::new(to).unwrap()),
        due: None,
        attention: Timestamp::UNIX_EPOCH,
        token: 0,
        alarm_sent: false,
        parked: None,
    }
}

async fn stage(rows: Vec<PendingRow>, lost: usize) -> (Unsure, Arc<dyn Store>, StoredState) {
    let broker = LocalBroker::in_memory(Arc::new(SystemClock));
    let topology = Topology {
        queues: vec![Address::new("billing").unwrap()],
        ..Topology::default()
    };
    broker.prepare(&topology, Declare::Declare).await.unwrap();
    let store = Memory::new().open(&Address::new("sales").unwrap()).await.unwrap();
    let work = UnitOfWork {
        pending: rows
            .into_iter()
            .map(|row| PendingChange::Add(Box::new(row)))
            .collect(),
        ..UnitOfWork::default()
    };
    store.commit(work).await.unwrap();
    let stored = StoredState::new(Arc::clone(&store), Arc::new(SystemClock));
    let lost = AtomicUsize::new(lost);
    (Unsure { broker, lost }, store, stored)
}

async fn left(store: &Arc<dyn Store>) -> Vec<String> {
    let rows = store.admin().pending(None, 1_000).await.unwrap();
    let mut ids: Vec<_> = rows.iter().map(|row| row.id.to_string()).collect();
    ids.sort();
    ids
}

fn length(broker: &Unsure) -> usize {
    broker.broker.len(&Address::new("billing").unwrap()).unwrap()
}

#[tokio::test]
async fn when_the_broker_does_not_confirm_nothing_is_noted_and_the_next_flush_sends_the_same_ids() {
    let rows = (0..10).map(|number| row(&format!("m-{number}"), "billing", PendingKind::Message));
    // The answer to the first batch is lost.
    let (broker, store, stored) = stage(rows.collect(), 1).await;
    let error = stored
        .flush_outbox(&broker, false, &mut |_| {})
        .await
        .unwrap_err();
    assert_eq!(error.kind(), OpsErrorKind::Unreachable);
    assert_eq!((left(&store).await.len(), length(&broker)), (10, 4));
    let flushed = stored.flush_outbox(&broker, false, &mut |_| {}).await.unwrap();
    assert_eq!((flushed.outcome.done, left(&store).await.len()), (10, 0));
    // Four of them twice, under their ids: an endpoint takes each once.
    assert_eq!(length(&broker), 14);
}

#[tokio::test]
async fn when_some_can_not_be_sent_they_stay_as_they_are_and_the_others_go() {
    let now = SystemClock.now();
    let with = |row: PendingRow, change: fn(&mut PendingRow, Timestamp)| {
        let mut row = row;
        change(&mut row, now);
        row
    };
    let message = |id: &str| row(id, "billing", PendingKind::Message);
    let rows = vec![
        message("goes"),
        row("has-no-queue", "nowhere", PendingKind::Message),
        with(message("is-set-aside"), |row, _| {
            row.parked = Some("too large".to_owned());
        }),
        with(message("is-far-ahead"), |row, now| row.due = Some(now + YEARS)),
        with(message("is-soon"), |row, now| {
            row.due = Some(now + Duration::from_secs(60));
        }),
        row("is-a-timeout", "billing", PendingKind::Timeout),
    ];
    let (broker, store, stored) = stage(rows, 0).await;
    let before = left(&store).await;
    let tried = stored.flush_outbox(&broker, true, &mut |_| {}).await.unwrap();
    assert_eq!((left(&store).await, length(&broker)), (before, 0));
    assert_eq!((tried.later, tried.parked), (1, 1));
    let flushed = stored.flush_outbox(&broker, false, &mut |_| {}).await.unwrap();
    assert_eq!((flushed.outcome.done, flushed.outcome.failed), (2, 1));
    assert_eq!((flushed.later, flushed.parked), (1, 1));
    assert_eq!(flushed.outcome.problems[0].id.as_deref(), Some("has-no-queue"));
    assert_eq!(
        left(&store).await,
        ["has-no-queue", "is-a-timeout", "is-far-ahead", "is-set-aside"]
    );
}

#[tokio::test]
async fn when_nobody_on_the_broker_subscribes_to_an_event_it_stays() {
    let mut event = row("m-1", "billing", PendingKind::Message);
    event.to = Destination::Subscribers(String::from("sales.order_placed.v1"));
    let other = row("m-2", "billing", PendingKind::Message);
    let (broker, store, stored) = stage(vec![event, other], 0).await;
    let flushed = stored.flush_outbox(&broker, false, &mut |_| {}).await.unwrap();
    assert_eq!((flushed.outcome.done, flushed.outcome.failed), (1, 1));
    assert!(
        flushed.outcome.problems[0].why.contains("subscribes"),
        "{flushed:?}"
    );
    assert_eq!(left(&store).await, ["m-1"]);
}
