//! One state of the whole: the store, the broker and both processes.

use std::fmt;

use crate::bounds::Bounds;
use crate::set::{Numbered, Set};

/// The messages that are handled.
pub(crate) const MESSAGES: [Message; 2] = [Message(0), Message(1)];
/// The processes of the endpoint.
pub(crate) const PROCESSES: [ProcessId; 2] = [ProcessId(0), ProcessId(1)];
/// The most outputs of one message.
pub(crate) const MOST_OUTPUTS: u8 = 2;
/// Rows there may be.
const ROWS: u8 = 4;
/// Commits that are told apart. Of two messages, a third commit applies one a second time.
const MOST_LINKS: usize = 3;

/// One of the two messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Message(u8);

/// One of the two processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(u8);

/// An output of a message: what is sent because of it, and the row that stands for it until it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row(u8);

impl Row {
    /// An output of a message, by its place.
    pub(crate) const fn output_of(message: Message, ordinal: u8) -> Self {
        Self(message.0 * MOST_OUTPUTS + ordinal)
    }

    /// The message whose commit adds it.
    #[must_use]
    pub const fn message(self) -> Message {
        Message(self.0 / MOST_OUTPUTS)
    }
}

impl Numbered for Message {
    fn of(number: u8) -> Self {
        Self(number)
    }

    fn number(self) -> u8 {
        self.0
    }
}

impl Numbered for Row {
    fn of(number: u8) -> Self {
        Self(number)
    }

    fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message {}", ["A", "B"][usize::from(self.0)])
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.0 + 1)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "output {} of {}", self.0 % MOST_OUTPUTS + 1, self.message())
    }
}

/// The whole at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    /// The store as its transactions see it.
    pub(crate) visible: Tables,
    /// The store as it is after a crash.
    pub(crate) durable: Tables,
    pub(crate) processes: [Process; 2],
    /// Copies of each message that wait in the queue.
    pub(crate) ready: [u8; 2],
    /// Messages of which a copy was acknowledged.
    pub(crate) acknowledged: Set<Message>,
    /// Outputs that the broker took at least once.
    pub(crate) at_broker: Set<Row>,
    /// The faults that may still happen.
    pub(crate) left: Bounds,
}

impl State {
    /// Both messages in the queue and nothing done.
    pub(crate) const fn initial(bounds: Bounds) -> Self {
        Self {
            visible: Tables::EMPTY,
            durable: Tables::EMPTY,
            processes: [Process::NEW; 2],
            ready: [1; 2],
            acknowledged: Set::EMPTY,
            at_broker: Set::EMPTY,
            left: bounds,
        }
    }

    /// The same for this state and the one in which the processes have changed places.
    pub(crate) fn canonical(mut self) -> Self {
        self.processes.sort_unstable();
        self
    }

    pub(crate) fn process(&self, id: ProcessId) -> &Process {
        &self.processes[usize::from(id.0)]
    }

    pub(crate) fn process_mut(&mut self, id: ProcessId) -> &mut Process {
        &mut self.processes[usize::from(id.0)]
    }

    pub(crate) fn is_ready(&self, message: Message) -> bool {
        self.ready[usize::from(message.0)] > 0
    }

    /// A copy more in the queue.
    pub(crate) fn put(&mut self, message: Message) {
        self.ready[usize::from(message.0)] += 1;
    }

    /// A copy less in the queue.
    pub(crate) fn take(&mut self, message: Message) {
        self.ready[usize::from(message.0)] -= 1;
    }

    /// Whether any process has a lease on the row.
    pub(crate) fn is_leased(&self, row: Row) -> bool {
        self.processes.iter().any(|process| process.leases.contains(row))
    }
}

/// What the store holds: the inbox, one record, and the rows that are not yet marked sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Tables {
    pub(crate) inbox: Set<Message>,
    pub(crate) version: u8,
    pub(crate) rows: Set<Row>,
    /// The commits behind the record, which the endpoint does not see.
    pub(crate) chain: Chain,
}

impl Tables {
    const EMPTY: Self = Self {
        inbox: Set::EMPTY,
        version: 0,
        rows: Set::EMPTY,
        chain: Chain {
            length: 0,
            links: [Link {
                message: Message(0),
                read: 0,
            }; MOST_LINKS],
        },
    };
}

/// The commits that wrote the record, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Chain {
    length: u8,
    links: [Link; MOST_LINKS],
}

/// One commit: whose effect it applied, and on which version; it wrote the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Link {
    pub(crate) message: Message,
    pub(crate) read: u8,
}

impl Chain {
    pub(crate) fn links(&self) -> &[Link] {
        &self.links[..usize::from(self.length)]
    }

    pub(crate) fn push(&mut self, link: Link) {
        // Where there is no room a message took effect twice, and the search has ended.
        if let Some(place) = self.links.get_mut(usize::from(self.length)) {
            *place = link;
            self.length += 1;
        }
    }

    /// How often the effect of a message was applied.
    pub(crate) fn times(&self, message: Message) -> usize {
        self.links().iter().filter(|link| link.message == message).count()
    }
}

/// A process of the endpoint: the message it handles, and the rows it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Process {
    pub(crate) phase: Phase,
    /// Whether the broker still takes a settlement from it for the message in hand.
    pub(crate) may_settle: bool,
    ways: [Way; ROWS as usize],
    /// Rows that no other relay claims, because this process has committed or claimed them.
    pub(crate) leases: Set<Row>,
}

impl Process {
    /// As it starts, with nothing in memory.
    pub(crate) const NEW: Self = Self {
        phase: Phase::Idle,
        may_settle: false,
        ways: [Way::Nowhere; ROWS as usize],
        leases: Set::EMPTY,
    };

    pub(crate) fn way(&self, row: Row) -> Way {
        self.ways[usize::from(row.0)]
    }

    pub(crate) fn set_way(&mut self, row: Row, way: Way) {
        self.ways[usize::from(row.0)] = way;
    }

    /// The rows that stand at `way`.
    pub(crate) fn rows_at(&self, way: Way) -> Set<Row> {
        (0..ROWS).map(Row).filter(|row| self.way(*row) == way).collect()
    }

    /// The rows that it does something about.
    pub(crate) fn rows_under_way(&self) -> Set<Row> {
        (0..ROWS)
            .map(Row)
            .filter(|row| self.way(*row) != Way::Nowhere)
            .collect()
    }

    /// Ends the leases on rows that it no longer does anything about: their time will come.
    pub(crate) fn let_leases_end(&mut self) {
        let committing = self.phase.committing();
        let under_way = self.rows_under_way();
        self.leases = self
            .leases
            .iter()
            .filter(|row| under_way.contains(*row) || committing == Some(row.message()))
            .collect();
    }
}

/// How far a process is with the message in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Phase {
    /// It has none.
    Idle,
    /// It is to ask the store.
    Received(Message),
    /// It has run the saga on this version of the record, and is to commit.
    Loaded(Message, u8),
    /// The store has executed the unit, and nothing of it is durable.
    Executed(Message),
    /// The unit is durable, and the process has no answer yet.
    Durable(Message),
    /// The effect is committed without the inbox entry, as no endpoint should do.
    Unnoted(Message),
    /// It is to acknowledge.
    Settling(Message),
}

impl Phase {
    /// The message in hand.
    pub(crate) const fn message(self) -> Option<Message> {
        match self {
            Self::Idle => None,
            Self::Received(message)
            | Self::Loaded(message, _)
            | Self::Executed(message)
            | Self::Durable(message)
            | Self::Unnoted(message)
            | Self::Settling(message) => Some(message),
        }
    }

    /// The message whose commit awaits its answer.
    pub(crate) const fn committing(self) -> Option<Message> {
        match self {
            Self::Executed(message) | Self::Durable(message) => Some(message),
            Self::Idle | Self::Received(_) | Self::Loaded(..) | Self::Unnoted(_) | Self::Settling(_) => None,
        }
    }
}

/// How far a process is with sending a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Way {
    /// It does nothing about it.
    Nowhere,
    /// It is to be sent.
    Queued,
    /// The broker has it, and the confirmation is on its way.
    Taken,
    /// It is confirmed, and to be marked.
    Confirmed,
}
