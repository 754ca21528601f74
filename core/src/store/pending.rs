//! Rows that wait: messages to be sent, and timeouts.

use super::RecordKey;
use crate::clock::Timestamp;
use crate::envelope::Envelope;
use crate::ids::{MessageId, derived_message_id};
use crate::transport::Destination;

/// What a pending row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PendingKind {
    /// An outgoing message: it goes once the broker has it.
    Message,
    /// A timeout: it stays until it fires or is cancelled; the broker's delayed message is only its alarm.
    Timeout,
}

/// A message that is to be sent, or a timeout that is to fire: the truth behind what the broker holds.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingRow {
    /// The id of the message, or of the timeout.
    pub id: MessageId,
    /// Which of the two.
    pub kind: PendingKind,
    /// The record that a timeout belongs to.
    pub owner: Option<RecordKey>,
    /// What a timeout is called, for listings.
    pub name: String,
    /// What is sent.
    pub envelope: Envelope,
    /// To whom.
    pub to: Destination,
    /// When it is due; `None` for at once.
    pub due: Option<Timestamp>,
    /// When the relay must look at the row next.
    pub attention: Timestamp,
    /// Grows each time a timeout is moved: an alarm with an older token is stale.
    pub token: u64,
    /// Whether the broker holds an alarm for it.
    pub alarm_sent: bool,
    /// Set aside for people, with the reason.
    pub parked: Option<String>,
}

impl PendingRow {
    /// The message that is sent for this row: itself, or the alarm of a timeout, whose id follows from row and token.
    #[must_use]
    pub fn outgoing(&self) -> Envelope {
        match self.kind {
            PendingKind::Message => self.envelope.clone(),
            PendingKind::Timeout => {
                let mut alarm = self.envelope.clone();
                alarm.id = derived_message_id(&["alarm", self.id.as_str()], self.token);
                alarm.headers.set(crate::headers::TIMEOUT_ID, self.id.as_str());
                alarm
                    .headers
                    .set(crate::headers::TIMEOUT_TOKEN, self.token.to_string());
                if let Some(due) = self.due {
                    alarm.headers.set(crate::headers::DUE, due.to_string());
                }
                alarm
            }
        }
    }
}

/// A change of the pending rows.
#[derive(Debug, Clone, PartialEq)]
pub enum PendingChange {
    /// Adds a row; one with the same id is replaced.
    Add(Box<PendingRow>),
    /// The broker has the message: the row goes. No row is fine.
    Sent(MessageId),
    /// The broker has the alarm: look again at `attention`. No row, or another token, is fine and changes nothing.
    AlarmSent {
        /// Which row.
        id: MessageId,
        /// The token of the alarm.
        token: u64,
        /// When to look again.
        attention: Timestamp,
    },
    /// Look again at `attention`, whatever was sent. No row is fine, and so is one that was moved since: it stays as it is.
    Defer {
        /// Which row.
        id: MessageId,
        /// The token that the row must still have; `None` for whatever it has.
        token: Option<u64>,
        /// When to look again.
        attention: Timestamp,
    },
    /// The timeout fires: the row goes. No row, or another token, conflicts.
    Fire {
        /// Which row.
        id: MessageId,
        /// The token that the alarm carried.
        token: u64,
    },
    /// The row goes. No row is fine.
    Cancel(MessageId),
    /// Gives a timeout another due time and the next token, so that the old alarm is stale. One that was set aside rings
    /// again. No row conflicts.
    Move {
        /// Which row.
        id: MessageId,
        /// When it is due now.
        due: Timestamp,
        /// When to look next.
        attention: Timestamp,
    },
    /// Sets a row aside with the reason, until it is replaced, moved, cancelled or fired. No row is fine, and so is one that was
    /// moved since: it stays as it is.
    Park {
        /// Which row.
        id: MessageId,
        /// The token that the row must still have; `None` for whatever it has.
        token: Option<u64>,
        /// Why.
        reason: String,
    },
}
