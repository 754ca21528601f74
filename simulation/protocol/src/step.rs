//! What can happen: one step of one part, which nothing interrupts.

use std::fmt;

use crate::state::{Message, ProcessId, Row};

/// One step from a state to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The broker delivers a copy.
    Receive(ProcessId, Message),
    /// The process asks the store what is known of the message, and runs the saga if it is new.
    Load(ProcessId, Message),
    /// The store executes the unit, or finds that it conflicts.
    Commit(ProcessId, Message),
    /// The store makes durable what is executed.
    Sync,
    /// The process learns that its unit is durable, and queues the outputs.
    Answer(ProcessId, Message),
    /// The process writes the inbox entry by itself, which only a mutation does.
    Note(ProcessId, Message),
    /// The process acknowledges the message.
    Acknowledge(ProcessId, Message),
    /// The broker takes an output.
    Send(ProcessId, Row),
    /// The process reads the confirmation of an output.
    Confirm(ProcessId, Row),
    /// The process marks what was confirmed as sent.
    Mark(ProcessId),
    /// The relay of the process claims a row and queues it.
    Claim(ProcessId, Row),

    /// The broker refuses an output.
    Refuse(ProcessId, Row),
    /// The confirmation of an output does not arrive.
    LoseConfirmation(ProcessId, Row),
    /// The process hears that it lost the right to settle, and drops the message.
    Stop(ProcessId, Message),

    /// The process ends and starts anew.
    CrashProcess(ProcessId),
    /// The store ends and starts anew.
    CrashStore,
    /// Another copy arrives.
    Duplicate(Message),
    /// The broker gives a delivery back to the queue while the process still handles it.
    LapseDelivery(ProcessId, Message),
    /// The lease on a row ends while the process still sends it.
    LapseRow(ProcessId, Row),
    /// A commit is answered with an error and not executed; the process gives the message back.
    FailCommit(ProcessId, Message),
    /// A commit is executed and answered with an error; the process looks again.
    LoseAnswer(ProcessId, Message),
}

impl Step {
    /// Whether it belongs to a run in which nothing goes wrong.
    #[must_use]
    pub const fn is_progress(self) -> bool {
        match self {
            Self::Receive(..)
            | Self::Load(..)
            | Self::Commit(..)
            | Self::Sync
            | Self::Answer(..)
            | Self::Note(..)
            | Self::Acknowledge(..)
            | Self::Send(..)
            | Self::Confirm(..)
            | Self::Mark(_)
            | Self::Claim(..) => true,
            Self::Refuse(..)
            | Self::LoseConfirmation(..)
            | Self::Stop(..)
            | Self::CrashProcess(_)
            | Self::CrashStore
            | Self::Duplicate(_)
            | Self::LapseDelivery(..)
            | Self::LapseRow(..)
            | Self::FailCommit(..)
            | Self::LoseAnswer(..) => false,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Receive(who, message) => write!(f, "{who} receives {message}"),
            Self::Load(who, message) => write!(f, "{who} loads what {message} needs"),
            Self::Commit(who, message) => write!(f, "{who} hands the store its unit for {message}"),
            Self::Sync => write!(f, "the store makes durable what it has executed"),
            Self::Answer(who, message) => write!(f, "{who} hears that its unit for {message} is durable"),
            Self::Note(who, message) => write!(f, "{who} writes the inbox entry of {message} by itself"),
            Self::Acknowledge(who, message) => write!(f, "{who} acknowledges {message}"),
            Self::Send(who, row) => write!(f, "{who} sends {row}, and the broker takes it"),
            Self::Confirm(who, row) => write!(f, "{who} reads the confirmation of {row}"),
            Self::Mark(who) => write!(f, "{who} marks its rows as sent"),
            Self::Claim(who, row) => write!(f, "the relay of {who} claims {row}"),
            Self::Refuse(who, row) => write!(f, "the broker refuses {row} from {who}"),
            Self::LoseConfirmation(who, row) => write!(f, "the confirmation of {row} is lost to {who}"),
            Self::Stop(who, message) => write!(f, "{who} hears that it lost {message}, and drops it"),
            Self::CrashProcess(who) => write!(f, "{who} crashes and starts anew"),
            Self::CrashStore => write!(f, "the store crashes and forgets what is not durable"),
            Self::Duplicate(message) => write!(f, "a second copy of {message} arrives in the queue"),
            Self::LapseDelivery(who, message) => {
                write!(
                    f,
                    "the broker puts {message} back in the queue while {who} still handles it"
                )
            }
            Self::LapseRow(who, row) => write!(f, "the lease of {who} on {row} ends too early"),
            Self::FailCommit(who, message) => {
                write!(
                    f,
                    "the store refuses the unit of {who} for {message}, which is given back"
                )
            }
            Self::LoseAnswer(who, message) => {
                write!(
                    f,
                    "{who} hears of an error although its unit for {message} was executed"
                )
            }
        }
    }
}
