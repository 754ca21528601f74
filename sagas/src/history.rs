//! What an instance went through: kept with it, up to a bound, and drawn.

use std::fmt::Write as _;

use longhaul_core::clock::Timestamp;
use longhaul_core::handler::Received;
use longhaul_core::headers;
use longhaul_core::ids::MessageId;
use serde::{Deserialize, Serialize};

use crate::status::Status;
use crate::turn::Turn;

/// How many events are kept if the saga does not say.
pub(crate) const DEFAULT_EVENTS: usize = 32;
/// The most that a saga can ask for.
pub(crate) const MOST_EVENTS: usize = 1_000;
/// The most names of messages that one event lists.
const MOST_NAMES: usize = 16;

/// The events of an instance: the first, and the last ones up to a bound.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredHistory {
    pub(crate) events: Vec<StoredEvent>,
    /// How many are left out after the first.
    #[serde(default, skip_serializing_if = "is_none_left_out")]
    pub(crate) left_out: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
const fn is_none_left_out(count: &u64) -> bool {
    *count == 0
}

/// One thing that happened to an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredEvent {
    pub(crate) at: Timestamp,
    pub(crate) what: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<MessageId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    pub(crate) status: Status,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) sent: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) timeouts: Vec<String>,
    /// Attempts that failed before.
    #[serde(default, skip_serializing_if = "is_none_failed")]
    pub(crate) failed: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
const fn is_none_failed(count: &u32) -> bool {
    *count == 0
}

impl StoredEvent {
    /// A message was handled; `timeout`: it was the alarm of the timeout of that name.
    pub(crate) fn handled(received: &Received, timeout: Option<&str>, status: Status, turn: &Turn) -> Self {
        let headers = &received.envelope.headers;
        let from = headers.get(headers::ORIGINATING_ENDPOINT).map(str::to_owned);
        Self {
            at: received.now,
            what: timeout.map_or_else(|| received.type_name.clone(), |name| format!("timeout {name}")),
            message: Some(received.envelope.id.clone()),
            from: from.filter(|_| timeout.is_none()),
            status,
            sent: names(turn.outbound.messages().iter().map(|message| &*message.type_name)),
            timeouts: names(turn.timeouts_asked()),
            failed: received.attempt.saturating_sub(1),
        }
    }

    /// The message was an operator's, who did this.
    pub(crate) fn by_operator(self, what: String) -> Self {
        Self {
            what,
            from: Some(String::from("operator")),
            ..self
        }
    }

    /// An operator did something.
    pub(crate) fn operated(what: String, at: Timestamp, status: Status) -> Self {
        Self {
            at,
            what,
            message: None,
            from: Some(String::from("operator")),
            status,
            sent: Vec::new(),
            timeouts: Vec::new(),
            failed: 0,
        }
    }
}

fn names<'a>(all: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<_> = all.map(str::to_owned).collect();
    if names.len() > MOST_NAMES {
        let more = names.split_off(MOST_NAMES - 1).len();
        names.push(format!("and {more} more"));
    }
    names
}

impl StoredHistory {
    pub(crate) const fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Adds an event; of more than `most`, all but the first and the last ones are left out.
    pub(crate) fn add(&mut self, event: StoredEvent, most: usize) {
        if most == 0 {
            self.events.clear();
            return;
        }
        self.events.push(event);
        if self.events.len() > most {
            let first_kept = 1 + self.events.len() - most;
            let first_kept = if most == 1 { first_kept - 1 } else { first_kept };
            let from = usize::from(most > 1);
            self.left_out += self.events.drain(from..first_kept).count() as u64;
        }
    }
}

/// What an instance went through, as far as it is kept: see [`Definition::history`](crate::Definition::history).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct History {
    /// What happened, in order: the first event, and the last ones.
    pub events: Vec<HistoryEvent>,
    /// How many events after the first are not kept any more.
    pub left_out: u64,
}

/// One thing that happened to an instance, and was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryEvent {
    /// When.
    pub at: Timestamp,
    /// The wire name of the message that was handled, `timeout` and its name, or what an operator did.
    pub what: String,
    /// The id of the message; `None` for what an operator did.
    pub message: Option<MessageId>,
    /// The endpoint that sent it, or `operator`; `None` for timeouts and for messages that don't say.
    pub from: Option<String>,
    /// Where the instance stood before; `None` where this event started it, or those before are left out.
    pub before: Option<Status>,
    /// Where it stood afterwards.
    pub after: Status,
    /// The wire names of what was sent, at most 16.
    pub sent: Vec<String>,
    /// The names of the timeouts that were asked for, at most 16.
    pub timeouts: Vec<String>,
    /// How many attempts to handle it had failed before.
    pub failed: u32,
}

impl History {
    pub(crate) fn of(stored: StoredHistory) -> Self {
        let left_out = stored.left_out;
        let mut before = None;
        let events = stored.events.into_iter().enumerate().map(|(number, event)| {
            let is_after_gap = number == 1 && left_out > 0;
            let was = before.replace(event.status).filter(|_| !is_after_gap);
            HistoryEvent {
                at: event.at,
                what: event.what,
                message: event.message,
                from: event.from,
                before: was,
                after: event.status,
                sent: event.sent,
                timeouts: event.timeouts,
                failed: event.failed,
            }
        });
        Self {
            events: events.collect(),
            left_out,
        }
    }

    /// A sequence diagram for Mermaid of the instance that is called `name`.
    ///
    /// A message that was sent goes to a participant that is called like the first part of its wire name, since a saga does
    /// not know where its messages are routed: `billing` for `billing.charge_card.v1`.
    ///
    /// ```
    /// use longhaul_sagas::History;
    ///
    /// assert_eq!(History::default().to_mermaid("order 7"), "sequenceDiagram\n    participant saga as order 7\n");
    /// ```
    #[must_use]
    pub fn to_mermaid(&self, name: &str) -> String {
        let mut text = format!("sequenceDiagram\n    participant saga as {}\n", shown(name));
        for (number, event) in self.events.iter().enumerate() {
            if number == 1 && self.left_out > 0 {
                line(&mut text, format_args!("Note over saga: {} more", self.left_out));
            }
            let what = shown(&event.what);
            match &event.from {
                Some(from) => line(&mut text, format_args!("{}->>saga: {what}", node(from))),
                None => line(&mut text, format_args!("saga->>saga: {what}")),
            }
            let mut notes = vec![event.at.to_string()];
            if event.failed > 0 {
                notes.push(format!("after {} failed attempts", event.failed));
            }
            if event.before != Some(event.after) {
                notes.push(event.after.to_string());
            }
            notes.extend(
                event
                    .timeouts
                    .iter()
                    .map(|name| format!("asks for the timeout {}", shown(name))),
            );
            line(
                &mut text,
                format_args!("Note right of saga: {}", notes.join("<br/>")),
            );
            for sent in &event.sent {
                let to = sent.split('.').next().unwrap_or_default();
                line(&mut text, format_args!("saga->>{}: {}", node(to), shown(sent)));
            }
        }
        text
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a text can't fail.
    writeln!(text, "    {line}").unwrap_or_default();
}

/// A name that Mermaid takes for a participant, and never for a word of its own.
fn node(name: &str) -> String {
    let name: String = name
        .chars()
        .map(|letter| {
            if letter.is_alphanumeric() || letter == '_' {
                letter
            } else {
                '_'
            }
        })
        .collect();
    match name.as_str() {
        "" => String::from("unknown"),
        "saga" | "end" | "loop" | "alt" | "else" | "opt" | "par" | "and" | "note" | "participant"
        | "actor" | "critical" | "break" | "rect" | "box" | "activate" | "deactivate" | "create"
        | "destroy" | "autonumber" => format!("{name}_"),
        _ => name,
    }
}

/// A text that ends no line and begins no comment.
fn shown(text: &str) -> String {
    text.chars()
        .take(120)
        .map(|letter| match letter {
            ';' | '#' | '%' | '<' | '>' => '_',
            letter if letter.is_control() => ' ',
            letter => letter,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u64) -> StoredEvent {
        let at = Timestamp::UNIX_EPOCH + std::time::Duration::from_secs(number);
        StoredEvent::operated(number.to_string(), at, Status::Active)
    }

    fn after(count: u64, most: usize) -> (Vec<String>, u64) {
        let mut history = StoredHistory::default();
        (0..count).for_each(|number| history.add(event(number), most));
        let whats = history.events.into_iter().map(|event| event.what);
        (whats.collect(), history.left_out)
    }

    #[test]
    fn when_there_are_more_events_than_are_kept_the_first_and_the_last_stay() {
        let texts = |numbers: &[u64]| numbers.iter().map(u64::to_string).collect::<Vec<_>>();
        assert_eq!(after(4, 4), (texts(&[0, 1, 2, 3]), 0));
        assert_eq!(after(9, 4), (texts(&[0, 6, 7, 8]), 5));
        assert_eq!(after(9, 1), (texts(&[8]), 8));
        assert_eq!(after(9, 0), (Vec::new(), 0));
    }

    #[test]
    fn when_a_saga_is_set_to_keep_fewer_events_the_others_go_with_the_next_one() {
        let mut history = StoredHistory::default();
        (0..9).for_each(|number| history.add(event(number), 9));
        history.add(event(9), 3);
        assert_eq!((history.events.len(), history.left_out), (3, 7));
    }

    #[test]
    fn when_names_are_wild_the_diagram_stays_one() {
        let mut wild = event(0);
        wild.from = Some(String::from("end"));
        wild.what = String::from("a;b\n%%c");
        wild.sent = vec![String::from(".x"), String::from("billing.charge_card.v1")];
        let history = History::of(StoredHistory {
            events: vec![wild],
            left_out: 0,
        });
        assert_eq!(
            history.to_mermaid("order\n7"),
            "sequenceDiagram\n    participant saga as order 7\n    end_->>saga: a_b __c\n    \
             Note right of saga: 1970-01-01T00:00:00Z<br/>active\n    saga->>unknown: .x\n    \
             saga->>billing: billing.charge_card.v1\n"
        );
    }
}
