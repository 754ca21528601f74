//! A failure as people read it: what broke, the shrunk story, a diagram, and a test that shows it again.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use longhaul_core::clock::Timestamp;
use longhaul_core::envelope::Envelope;
use longhaul_core::headers;
use longhaul_core::ids::MessageId;
use longhaul_core::store::{InboxState, PendingChange, PendingKind, UnitOfWork};

use crate::broker::ERROR_QUEUE;
use crate::machine::Run;
use crate::plan::Schedule;
use crate::trace::{Event, Trace, What};

/// The most lines of a story that are shown.
const LINES: usize = 60;
/// A message that is this late is said to be.
const NOTICEABLE: Duration = Duration::from_secs(1);

/// A schedule that breaks something.
#[derive(Debug, Clone)]
pub struct Failure {
    seed: Option<u64>,
    broken: String,
    what: String,
    schedule: Schedule,
    story: Vec<String>,
    diagram: String,
}

impl Failure {
    pub(crate) fn new(seed: Option<u64>, broken: String, what: String, run: &Run) -> Self {
        let told = Told::of(&run.trace);
        Self {
            seed,
            broken,
            what,
            schedule: run.schedule.clone(),
            story: told.story,
            diagram: told.diagram,
        }
    }

    /// The seed that it was found with.
    #[must_use]
    pub const fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// The rule or invariant that is broken.
    #[must_use]
    pub fn broken(&self) -> &str {
        &self.broken
    }

    /// The smallest schedule found that breaks it, as [`crate::Simulation::replay`] reads it.
    #[must_use]
    pub const fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// What happened, one event a line.
    #[must_use]
    pub fn story(&self) -> &[String] {
        &self.story
    }

    /// The same as a Mermaid sequence diagram.
    #[must_use]
    pub fn diagram(&self) -> &str {
        &self.diagram
    }

    /// A test that shows it again.
    #[must_use]
    pub fn regression_test(&self) -> String {
        let words = self.broken.chars().map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        });
        let name: String = words.collect();
        format!(
            "#[test]\nfn when_replayed_{name}() {{\n    simulation().replay(\n        \"{}\",\n    );\n}}\n",
            self.schedule
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "broken: {}\n  {}\n", self.broken, self.what)?;
        if let Some(seed) = self.seed {
            writeln!(
                f,
                "again with LONGHAUL_SEED={seed}; shrunk to:\n  {}\n",
                self.schedule
            )?;
        }
        writeln!(f, "what happened:")?;
        for (number, line) in self.story.iter().take(LINES).enumerate() {
            writeln!(f, "  {:>2}. {line}", number + 1)?;
        }
        if self.story.len() > LINES {
            writeln!(f, "      … and {} more", self.story.len() - LINES)?;
        }
        writeln!(f, "\n```mermaid\n{}```\n", self.diagram)?;
        write!(f, "a test that shows it again:\n\n{}", self.regression_test())
    }
}

impl std::error::Error for Failure {}

/// A trace, told.
struct Told {
    story: Vec<String>,
    diagram: String,
}

/// Where a message came from, and what it is called.
struct Origin<'a> {
    sender: &'a str,
    name: &'a str,
    /// When it should have been there.
    expected: Timestamp,
}

impl Origin<'_> {
    /// By how much it is late, if people would notice.
    fn late(&self, now: Timestamp) -> Option<Duration> {
        let late = now.since(self.expected);
        (late >= NOTICEABLE).then_some(late)
    }
}

impl Told {
    fn of(trace: &Trace) -> Self {
        let begin = trace
            .events
            .first()
            .map_or(Timestamp::UNIX_EPOCH, |event| event.at);
        let mut origins: HashMap<&MessageId, Origin<'_>> = HashMap::new();
        let mut told = Self {
            story: Vec::new(),
            diagram: String::from("sequenceDiagram\n"),
        };
        for event in &trace.events {
            let name = trace
                .members
                .get(event.process)
                .map_or("?", |member| member.name.as_str());
            if let What::Taken {
                envelope, due, local, ..
            } = &event.what
            {
                let origin = Origin {
                    sender: name,
                    name: short(envelope),
                    expected: due.map_or(event.at, |due| event.at + due.since(*local)),
                };
                origins.entry(&envelope.id).or_insert(origin);
            }
            let before = told.story.len();
            told.tell(name, event, &origins);
            for line in &mut told.story[before..] {
                *line = format!("after {:?}: {line}", event.at.since(begin));
            }
        }
        told
    }

    /// Tells one event, if it is worth telling.
    fn tell(&mut self, name: &str, event: &Event, origins: &HashMap<&MessageId, Origin<'_>>) {
        match &event.what {
            What::Taken {
                envelope,
                queue: Some(queue),
                ..
            } if queue.as_str() == ERROR_QUEUE => {
                let header = |name| envelope.headers.get(name).unwrap_or("unknown");
                let (reason, text) = (header(headers::ERROR_REASON), header(headers::ERROR_TEXT));
                let message = short(envelope);
                self.say(format!(
                    "{name} moves {message} to the error queue: {reason}: {text}"
                ));
                self.draw(&format!("{name}-x{name}: {message} failed: {reason}"));
            }
            What::Committed { unit, .. } => {
                for change in unit
                    .inbox
                    .iter()
                    .filter(|change| change.next == Some(InboxState::Done))
                {
                    let origin = origins.get(&change.id);
                    let (sender, message) =
                        origin.map_or((name, "a timeout"), |origin| (origin.sender, origin.name));
                    let late = origin.and_then(|origin| origin.late(event.at));
                    let late = late.map_or_else(String::new, |late| format!(" ({late:.1?} late)"));
                    self.say(format!(
                        "{name} handles {message} from {sender}{late}{}",
                        outcome(unit)
                    ));
                    self.draw(&format!("{sender}->>{name}: {message}{late}"));
                }
            }
            What::Called(call) => {
                self.say(format!(
                    "{name} has {} done about {} ({})",
                    call.what, call.about, call.amount
                ));
                self.draw(&format!(
                    "Note over {name}: {} {} ({})",
                    call.what, call.about, call.amount
                ));
            }
            What::Crashed(Some((point, moment))) => {
                let moment = format!("{moment:?}").to_lowercase();
                self.say(format!("{name} ends {moment} {point:?}"));
                self.draw(&format!("Note over {name}: ends {moment} {point:?}"));
            }
            What::Ended(Some(error)) => self.say(format!("{name} ends: {error}")),
            What::Lost { from } => self.say(format!("{name} loses what it committed from unit {from} on")),
            What::World(text) => {
                self.say(format!("{name}: {text}"));
                self.draw(&format!("Note over {name}: {text}"));
            }
            What::Replayed { envelope, .. } => {
                self.note(name, format!("an operator replays {}", short(envelope)));
            }
            What::Discarded { envelope, .. } => {
                let message = short(envelope);
                let text = format!("an operator discards {message} and lets pass what waits behind it");
                self.note(name, text);
            }
            What::DeliveredTooOften { envelope, .. } => {
                self.say(format!("the broker gives {} up", short(envelope)));
            }
            _ => {}
        }
    }

    /// Says it, and draws it as a note.
    fn note(&mut self, name: &str, text: String) {
        self.draw(&format!("Note over {name}: {text}"));
        self.say(text);
    }

    fn say(&mut self, line: String) {
        self.story.push(line);
    }

    fn draw(&mut self, text: &str) {
        if self.diagram.lines().count() <= LINES {
            self.diagram.push_str("    ");
            // What Mermaid takes for the end of a statement.
            self.diagram.push_str(&text.replace([';', '#', '\n'], ","));
            self.diagram.push('\n');
        }
    }
}

/// What handling a message led to.
fn outcome(unit: &UnitOfWork) -> String {
    let mut sent = Vec::new();
    for change in &unit.pending {
        match change {
            PendingChange::Add(row) if row.kind == PendingKind::Timeout => {
                sent.push(format!("asks for the timeout {}", row.name));
            }
            PendingChange::Add(row) => sent.push(format!("sends {}", short(&row.envelope))),
            PendingChange::Cancel(_) => sent.push(String::from("cancels a timeout")),
            _ => {}
        }
    }
    if sent.is_empty() {
        String::new()
    } else {
        format!(", {}", sent.join(", "))
    }
}

fn short(envelope: &Envelope) -> &str {
    envelope.headers.get(headers::TYPE).unwrap_or("a message")
}
