//! Rules about what comes before what.

use std::collections::{HashMap, HashSet};

use longhaul_core::address::Address;
use longhaul_core::clock::Timestamp;
use longhaul_core::headers;
use longhaul_core::ids::MessageId;
use longhaul_core::store::{InboxState, PendingChange, PendingRow};

use super::Finding;
use crate::broker::ERROR_QUEUE;
use crate::trace::{Role, Trace, What};

/// The ends of processes that put units in danger: when, and from which unit on everything was lost.
#[derive(Default)]
struct Ends<'a>(HashMap<&'a Address, Vec<(usize, usize)>>);

/// A unit: the place of its event, its number, and from when on it lasts by itself.
#[derive(Clone, Copy)]
struct Written {
    at: usize,
    index: usize,
    durable: Timestamp,
}

impl<'a> Ends<'a> {
    fn add(&mut self, endpoint: &'a Address, at: usize, from: usize) {
        self.0.entry(endpoint).or_default().push((at, from));
    }

    /// Whether a unit lasts now: because its time has come, or because an end of its process left it there.
    fn lasts(&self, endpoint: &Address, unit: Written, now: Timestamp) -> bool {
        let ends = self.0.get(endpoint).map_or(&[][..], Vec::as_slice);
        let mut later = ends.iter().filter(|(at, _)| *at > unit.at).peekable();
        let survived = later.peek().is_some();
        later.all(|(_, from)| unit.index < *from) && (survived || unit.durable <= now)
    }
}

/// A process with a store acknowledges a message only when what came of it lasts.
pub(super) fn acknowledged_late(trace: &Trace) -> Finding {
    // Copies of generations before the number are settled.
    let mut words: HashMap<(&Address, &MessageId), Vec<(u64, Written)>> = HashMap::new();
    let mut ends = Ends::default();
    let mut failed = HashSet::new();
    for (at, event) in trace.events.iter().enumerate() {
        let Some(member) = trace.members.get(event.process) else {
            continue;
        };
        match &event.what {
            What::Committed {
                unit, durable, index, ..
            } => {
                for change in &unit.inbox {
                    let before = match change.next {
                        Some(InboxState::Done) => u64::MAX,
                        Some(InboxState::Scheduled { generation, .. }) => u64::from(generation),
                        // One that failed is in the error queue, or nowhere.
                        Some(InboxState::Failed { .. } | InboxState::Started { .. }) | None => continue,
                    };
                    let written = Written {
                        at,
                        index: *index,
                        durable: *durable,
                    };
                    words
                        .entry((&member.name, &change.id))
                        .or_default()
                        .push((before, written));
                }
            }
            What::Lost { from } => ends.add(&member.name, at, *from),
            What::Taken {
                envelope,
                queue: Some(queue),
                ..
            } if queue.as_str() == ERROR_QUEUE => {
                failed.insert(&envelope.id);
            }
            What::Acknowledged { envelope, .. } if member.role == Role::Stored => {
                // The row of a timeout is there until it fires: its alarm may go.
                let is_alarm = envelope.headers.get(headers::TIMEOUT_ID).is_some();
                let generation = envelope.number(headers::GENERATION).unwrap_or(0);
                let words = words.get(&(&member.name, &envelope.id));
                let is_settled = words.is_some_and(|words| {
                    let settles = |(before, unit): &(u64, Written)| {
                        *before > generation && ends.lasts(&member.name, *unit, event.at)
                    };
                    words.iter().any(settles)
                });
                if !is_alarm && !is_settled && !failed.contains(&envelope.id) {
                    return Err(format!(
                        "{} acknowledged {} before anything about it was durable",
                        member.name, envelope.id
                    ));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Rows as they were committed, and what each of them sends.
#[derive(Default)]
struct Rows<'a> {
    rows: HashMap<(&'a Address, &'a MessageId), PendingRow>,
    /// What each unit found, the last at the end: a crash may take units back.
    before: HashMap<&'a Address, Vec<Before<'a>>>,
}

/// A row as it was before the unit of that number.
struct Before<'a> {
    index: usize,
    id: &'a MessageId,
    row: Option<PendingRow>,
}

impl<'a> Rows<'a> {
    /// Takes in a change by the unit of that number; returns the id of what may leave from now on.
    fn change(
        &mut self,
        endpoint: &'a Address,
        index: usize,
        change: &'a PendingChange,
    ) -> Option<MessageId> {
        let (id, row) = match change {
            PendingChange::Add(row) => (&row.id, (**row).clone()),
            PendingChange::Move { id, due, .. } => {
                let mut row = self.rows.get(&(endpoint, id))?.clone();
                row.token += 1;
                row.due = Some(*due);
                (id, row)
            }
            _ => return None,
        };
        let leaves = row.outgoing().id;
        let row = self.rows.insert((endpoint, id), row);
        let before = Before { index, id, row };
        self.before.entry(endpoint).or_default().push(before);
        Some(leaves)
    }

    /// The units from that one on are gone.
    fn lose(&mut self, endpoint: &'a Address, from: usize) {
        let before = self.before.entry(endpoint).or_default();
        while let Some(Before { id, row, .. }) = before.pop_if(|before| before.index >= from) {
            match row {
                Some(row) => self.rows.insert((endpoint, id), row),
                None => self.rows.remove(&(endpoint, id)),
            };
        }
    }

    fn get(&self, endpoint: &'a Address, id: &'a MessageId) -> Option<&PendingRow> {
        self.rows.get(&(endpoint, id))
    }
}

/// What an endpoint with a store sends was committed before, and that lasts.
pub(super) fn sent_late(trace: &Trace) -> Finding {
    let mut rows = Rows::default();
    let mut leaving: HashMap<(&Address, MessageId), Vec<Written>> = HashMap::new();
    let mut ends = Ends::default();
    for (at, event) in trace.events.iter().enumerate() {
        let Some(member) = trace.members.get(event.process) else {
            continue;
        };
        match &event.what {
            What::Committed {
                unit, durable, index, ..
            } => {
                let written = Written {
                    at,
                    index: *index,
                    durable: *durable,
                };
                for change in &unit.pending {
                    if let Some(id) = rows.change(&member.name, *index, change) {
                        leaving.entry((&member.name, id)).or_default().push(written);
                    }
                }
            }
            What::Lost { from } => {
                rows.lose(&member.name, *from);
                ends.add(&member.name, at, *from);
            }
            What::Taken { envelope, queue, .. } if member.role == Role::Stored => {
                let is_error = queue.as_ref().is_some_and(|queue| queue.as_str() == ERROR_QUEUE);
                let units = leaving.get(&(&member.name, envelope.id.clone()));
                let lasts = |unit: &Written| ends.lasts(&member.name, *unit, event.at);
                if !is_error && !units.is_some_and(|units| units.iter().any(lasts)) {
                    return Err(format!(
                        "{} sent {} before it was durable, or without ever committing it",
                        member.name, envelope.id
                    ));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// A row is marked as sent only when the broker has said so of that very message.
pub(super) fn marked_late(trace: &Trace) -> Finding {
    let mut rows = Rows::default();
    let mut confirmed: HashSet<(&Address, &MessageId)> = HashSet::new();
    for event in &trace.events {
        let Some(member) = trace.members.get(event.process) else {
            continue;
        };
        match &event.what {
            What::Confirmed(id) => {
                confirmed.insert((&member.name, id));
            }
            What::Lost { from } => rows.lose(&member.name, *from),
            What::Committed { unit, index, .. } => {
                for change in &unit.pending {
                    rows.change(&member.name, *index, change);
                    let (PendingChange::Sent(id) | PendingChange::AlarmSent { id, .. }) = change else {
                        continue;
                    };
                    let Some(row) = rows.get(&member.name, id) else {
                        continue;
                    };
                    let is_moved =
                        matches!(change, PendingChange::AlarmSent { token, .. } if *token != row.token);
                    if !is_moved && !confirmed.contains(&(&member.name, &row.outgoing().id)) {
                        return Err(format!(
                            "{} marked {} as sent, which the broker never confirmed",
                            member.name, row.envelope.id
                        ));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// A timeout fires strictly after the instant that it was asked for, by the clock of whoever fires it.
pub(super) fn never_early(trace: &Trace) -> Finding {
    let mut rows = Rows::default();
    for event in &trace.events {
        let Some(member) = trace.members.get(event.process) else {
            continue;
        };
        if let What::Lost { from } = &event.what {
            rows.lose(&member.name, *from);
        }
        let What::Committed {
            unit, local, index, ..
        } = &event.what
        else {
            continue;
        };
        for change in &unit.pending {
            if let PendingChange::Fire { id, .. } = change
                && let Some(row) = rows.get(&member.name, id)
                && let Some(due) = row.due
                && *local <= due
            {
                return Err(format!(
                    "the timeout {} of {} fired at {local}, due {due}",
                    row.name, member.name
                ));
            }
            rows.change(&member.name, *index, change);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use longhaul_core::clock::Timestamp;
    use longhaul_core::store::PendingKind;

    use super::*;
    use crate::checks::story::{START, Story, add, done, id, message, row, unit};

    fn timeout(due: Timestamp) -> PendingChange {
        let mut timeout = row("t", "m");
        timeout.kind = PendingKind::Timeout;
        timeout.due = Some(due);
        PendingChange::Add(Box::new(timeout))
    }

    #[test]
    fn when_a_message_is_acknowledged_too_early_it_is_found() {
        assert!(acknowledged_late(&Story::new().acknowledge(message("m")).trace()).is_err());
        let unsynced = Story::new()
            .slow_commit(unit([done("m")], [], []), 0)
            .acknowledge(message("m"));
        assert!(acknowledged_late(&unsynced.trace()).is_err());
        let lost = Story::new()
            .commit(unit([done("m")], [], []), 0)
            .lose(0)
            .acknowledge(message("m"));
        assert!(acknowledged_late(&lost.trace()).is_err());
        let good = Story::new()
            .commit(unit([done("m")], [], []), 0)
            .acknowledge(message("m"));
        assert_eq!(acknowledged_late(&good.trace()), Ok(()));
    }

    #[test]
    fn when_a_message_leaves_too_early_or_from_nowhere_it_is_found() {
        assert!(sent_late(&Story::new().taken(message("out")).trace()).is_err());
        let unsynced = Story::new().slow_commit(unit([done("m")], [], [add("out", "m")]), 0);
        assert!(sent_late(&unsynced.taken(message("out")).trace()).is_err());
        let good = Story::new().commit(unit([done("m")], [], [add("out", "m")]), 0);
        assert_eq!(sent_late(&good.taken(message("out")).trace()), Ok(()));
    }

    #[test]
    fn when_a_crash_takes_the_move_of_a_timeout_it_is_not_counted() {
        let moved = |due| {
            let change = PendingChange::Move {
                id: id("t"),
                due,
                attention: START,
            };
            unit([done("n")], [], [change])
        };
        let fire = PendingChange::Fire {
            id: id("t"),
            token: 0,
        };
        let story = Story::new()
            .commit(unit([done("m")], [], [timeout(START)]), 0)
            .commit(moved(START + Duration::from_secs(3600)), 1);
        let alarmed = |story: Story, times| {
            let mut row = row("t", "m");
            row.kind = PendingKind::Timeout;
            row.token = times;
            let alarm = message(row.outgoing().id.as_str());
            sent_late(&story.taken(alarm).trace())
        };
        let lost = || story.clone().lose(1);
        assert!(never_early(&story.clone().commit(unit([], [], [fire.clone()]), 2).trace()).is_err());
        assert_eq!(
            never_early(&lost().commit(unit([], [], [fire]), 1).trace()),
            Ok(())
        );
        assert_eq!(alarmed(lost().commit(moved(START), 1), 1), Ok(()));
        assert!(alarmed(lost().commit(moved(START), 1), 2).is_err());
    }

    #[test]
    fn when_a_row_is_marked_without_its_confirmation_it_is_found() {
        let committed = || Story::new().commit(unit([done("m")], [], [add("out", "m"), add("two", "m")]), 0);
        let mark = || unit([], [], [PendingChange::Sent(id("out"))]);
        assert!(marked_late(&committed().confirmed("two").commit(mark(), 1).trace()).is_err());
        assert_eq!(
            marked_late(&committed().confirmed("out").commit(mark(), 1).trace()),
            Ok(())
        );
    }

    #[test]
    fn when_a_timeout_fires_before_or_at_its_instant_it_is_found() {
        let fire = || PendingChange::Fire {
            id: id("t"),
            token: 0,
        };
        let fired = |due| {
            let asked = Story::new().commit(unit([done("m")], [], [timeout(due)]), 0);
            asked.commit(unit([done("alarm")], [], [fire()]), 1).trace()
        };
        assert!(never_early(&fired(START + Duration::from_secs(3600))).is_err());
        assert_eq!(never_early(&fired(START)), Ok(()));
    }
}
