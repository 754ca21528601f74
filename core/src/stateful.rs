//! Code that handles messages against stored records: synchronous, pure, run again when it loses a race.

use std::borrow::Cow;

use crate::handler::{HandlerResult, Received};
use crate::message::MessageKind;
use crate::outbound::Outbound;
use crate::store::{PendingChange, PendingRow, Record, RecordChange, RecordKey};

/// Takes part in handling messages with state. Object safe.
///
/// `keys` and `handle` are pure: the same arguments give the same results, nothing outside is read or touched, for
/// the runtime calls `handle` again on fresh records when another process was faster. All participants that took one
/// message commit together, or not at all.
pub trait StatefulHandler: Send + Sync + 'static {
    /// A stable name, unique in the endpoint; the ids of what it sends follow from it.
    fn name(&self) -> &str;

    /// The messages that it takes.
    fn accepts(&self) -> Vec<Accepts>;

    /// The records that handling this message needs: the runtime locks them in sorted order and loads them.
    ///
    /// # Errors
    /// No key can be read from the message; other participants' errors count the same.
    fn keys(&self, received: &Received) -> HandlerResult<Vec<RecordKey>>;

    /// Handles the message. `work.records` holds what was found under the keys, in their order.
    ///
    /// # Errors
    /// Nothing of the message is committed, and recoverability decides.
    fn handle(&self, received: &Received, work: Work<'_>) -> HandlerResult<Effects>;

    /// Whether messages for one of its records keep their order behind one that went to the error queue: they wait, set
    /// aside in the store, until that one is replayed or let go.
    fn keeps_order(&self) -> bool {
        false
    }

    /// How it looks, drawn for people; `None`, which is the default: there is nothing to draw.
    fn described(&self) -> Option<Described> {
        None
    }

    /// The statuses that its instances may come to; none by default. Each is counted from 0 on, so that who watches sees the first.
    fn statuses(&self) -> Vec<Became> {
        Vec::new()
    }

    /// What is wrong with its definition, each with the line that mends it; reported when the endpoint is built.
    fn faults(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A participant's definition, drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// A diagram for Mermaid.
    pub mermaid: String,
    /// The same for Graphviz (`dot`).
    pub graphviz: String,
}

/// A message that a participant takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Accepts {
    /// Its wire name.
    pub type_name: Cow<'static, str>,
    /// Its kind: an event of this endpoint's is subscribed to.
    pub kind: MessageKind,
}

/// What a stateful handler is given.
#[derive(Debug)]
pub struct Work<'a> {
    /// What was found under the keys, in their order.
    pub records: &'a [Option<Record>],
    /// The timeout that fired, where the message is an alarm. The runtime removes its row.
    pub timeout: Option<&'a PendingRow>,
    /// Records what is sent.
    pub outbound: Outbound,
}

/// What a stateful handler wants committed.
#[derive(Debug)]
pub struct Effects {
    /// What is sent.
    pub outbound: Outbound,
    /// What changes.
    pub records: Vec<RecordChange>,
    /// Timeouts cancelled or moved.
    pub pending: Vec<PendingChange>,
    /// Whether it took the message.
    pub taken: Taken,
    /// What became of an instance by this, one after the other; it is counted once this is committed.
    pub became: Vec<Became>,
}

/// An instance has come to another status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Became {
    /// What it is an instance of.
    pub what: Cow<'static, str>,
    /// The status, in a word of the participant's own.
    pub status: &'static str,
}

/// Whether a participant took a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It did.
    Handled,
    /// It knows the message to be late or meant for something finished; the word is counted and logged.
    Ignored(&'static str),
    /// There is nothing that the message is for, and it may not exist yet.
    Absent,
}
