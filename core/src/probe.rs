//! Where a process may end, and where the runtime may be made wrong on purpose: what the simulator counts and tries.
//!
//! Only with the feature `simulation`, which nothing that is deployed turns on; without it, none of this is compiled.

use std::cell::Cell;
use std::fmt;

/// A step of the runtime before and after which a process may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CrashPoint {
    /// The store is opened.
    OpenStore,
    /// Queues and subscriptions are made sure of.
    Prepare,
    /// The subscriptions are written down.
    SaveManifest,
    /// A message has come, and waits for its turn.
    TakeTurn,
    /// What handling needs is read.
    Load,
    /// A suspicious message is marked as begun.
    MarkStarted,
    /// Handlers run.
    RunHandlers,
    /// Participants with state run.
    RunStateful,
    /// What came of a message is committed.
    Commit,
    /// What was committed is put in line for the broker.
    Enqueue,
    /// A batch is handed to the broker.
    Dispatch,
    /// The broker's answers are noted.
    NoteAnswers,
    /// What was sent is written down.
    WriteMarks,
    /// A message is acknowledged.
    Acknowledge,
    /// A message is given back.
    Release,
    /// A retry is committed.
    ScheduleRetry,
    /// A retry is sent where there is no store.
    SendRetry,
    /// A message is sent to the error queue.
    MoveToErrors,
    /// It is written down that a message is in the error queue.
    NoteFailed,
    /// Due rows are claimed.
    ClaimDue,
    /// A claimed row is put in line for the broker.
    RelayRow,
    /// An overdue timeout fires without the broker.
    FireOverdue,
    /// What is no longer needed is removed.
    Purge,
    /// A session's messages are committed.
    CommitBatch,
    /// Outputs are sent and awaited where nothing is stored, or the store does not last.
    SendOutputs,
    /// A message that can't be read is looked up.
    LookUpRejected,
    /// The endpoint has stopped taking, and finishes.
    Finish,
}

impl CrashPoint {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::OpenStore,
        Self::Prepare,
        Self::SaveManifest,
        Self::TakeTurn,
        Self::Load,
        Self::MarkStarted,
        Self::RunHandlers,
        Self::RunStateful,
        Self::Commit,
        Self::Enqueue,
        Self::Dispatch,
        Self::NoteAnswers,
        Self::WriteMarks,
        Self::Acknowledge,
        Self::Release,
        Self::ScheduleRetry,
        Self::SendRetry,
        Self::MoveToErrors,
        Self::NoteFailed,
        Self::ClaimDue,
        Self::RelayRow,
        Self::FireOverdue,
        Self::Purge,
        Self::CommitBatch,
        Self::SendOutputs,
        Self::LookUpRejected,
        Self::Finish,
    ];
}

/// Which side of a [`CrashPoint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moment {
    /// Nothing of the step was done.
    Before,
    /// The step was done, and nobody was told.
    After,
}

/// A fault made on purpose, to see that it is caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Mutant {
    /// A message is acknowledged before what came of it is committed.
    AckBeforeCommit,
    /// A commit returns before it is durable (of a store).
    CommitNotSynced,
    /// A row is marked as sent before the broker has confirmed it.
    MarkBeforeConfirm,
    /// A confirmation is taken for that of the neighbour in its batch.
    ConfirmOfAnother,
    /// The inbox is written in a commit of its own, after the effects.
    InboxApart,
    /// What the inbox knows is not asked.
    InboxIgnored,
    /// A row that is sent again gets a new id.
    NewIdOnResend,
    /// An alarm counts before its timeout is due.
    AlarmTooEarly,
    /// What was done first is undone first (of what is built on it).
    UndoneForward,
    /// The version that was read is not compared when a record is written (of a store).
    VersionIgnored,
    /// A failed message is acknowledged before the error queue has it.
    ErrorAckFirst,
    /// Failed attempts are not written down.
    AttemptsForgotten,
    /// The answers to a batch are taken as good when the first is.
    PartialFailureIgnored,
    /// The end of the consumer is not noticed.
    EndOfConsumerIgnored,
    /// The right to settle is not renewed while a handler runs (of a transport).
    LeaseNotRenewed,
    /// Nothing left behind is ever sent.
    RelayOff,
    /// The row of a timeout goes when the broker has its alarm.
    TimeoutGoneWithAlarm,
    /// A message that went to the error queue holds nobody up.
    OrderForgotten,
    /// Whoever waits behind a message is not sent on its way when that is handled.
    NextForgotten,
    /// A circuit breaker that has opened is never probed.
    BreakerStuck,
    /// A timeout is put off as was meant for its old time, though it was moved since.
    MoveOverridden,
    /// A retry, a replay and an alarm that was moved are the same copy as the message (of a transport).
    CopiesAlike,
    /// An operator's replay takes a message out of the error queue before its copy is sent (of what operators do).
    ReplayDeletesFirst,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::AckBeforeCommit,
        Self::CommitNotSynced,
        Self::MarkBeforeConfirm,
        Self::ConfirmOfAnother,
        Self::InboxApart,
        Self::InboxIgnored,
        Self::NewIdOnResend,
        Self::AlarmTooEarly,
        Self::UndoneForward,
        Self::VersionIgnored,
        Self::ErrorAckFirst,
        Self::AttemptsForgotten,
        Self::PartialFailureIgnored,
        Self::EndOfConsumerIgnored,
        Self::LeaseNotRenewed,
        Self::RelayOff,
        Self::TimeoutGoneWithAlarm,
        Self::OrderForgotten,
        Self::NextForgotten,
        Self::BreakerStuck,
        Self::MoveOverridden,
        Self::CopiesAlike,
        Self::ReplayDeletesFirst,
    ];
}

thread_local! {
    static MUTANT: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Makes everything that runs on this thread wrong in this way, or right again.
pub fn mutate(mutant: Option<Mutant>) {
    MUTANT.set(mutant);
}

/// Whether what runs on this thread is wrong in this way.
#[must_use]
pub fn is_mutated(mutant: Mutant) -> bool {
    MUTANT.get() == Some(mutant)
}

/// Watches a running endpoint, and may end it.
pub trait Probe: fmt::Debug + Send + Sync + 'static {
    /// The endpoint is at this point; `false` ends its process here: nothing after it is run.
    fn goes_on(&self, point: CrashPoint, moment: Moment) -> bool;
}
