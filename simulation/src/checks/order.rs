//! Rules about what comes before what.

use std::collections::{HashMap, HashSet};

use longhaul_core::address::Address;
use longhaul_core::clock::Timestamp;
use longhaul_core::headers;
use longhaul_core::ids::MessageId;
use longhaul_core::store::{InboxState, PendingChange};

use super::Finding;
use super::rows::Rows;
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
    // What lies in the error queue, whose it is, and since which event.
    let mut failed = HashMap::new();
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
                // It excuses whoever put it there, until it is sent back.
                let source = envelope.headers.get(headers::ERROR_SOURCE);
                failed.insert((source.unwrap_or_default(), &envelope.id), at);
            }
            What::Replayed { queue, envelope } => {
                let set_aside = failed.remove(&(queue.as_str(), &envelope.id));
                // What was done before it was sent back is done. And if it came once more after it was set aside, since a crash
                // had kept that from being written down, what was written then still stands.
                let earlier = words.entry((queue, &envelope.id)).or_default();
                earlier.retain(|(before, written)| {
                    *before == u64::MAX || set_aside.is_some_and(|set_aside| written.at > set_aside)
                });
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
                if !is_alarm && !is_settled && !failed.contains_key(&(member.name.as_str(), &envelope.id)) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::story::{Story, add, done, id, message, message_with, scheduled, unit};

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
    fn when_another_endpoint_has_set_a_message_aside_or_it_was_sent_back_that_excuses_nobody() {
        let set_aside = |source| {
            let failed = message_with("m", headers::ERROR_SOURCE, source);
            Story::new().taken_into(ERROR_QUEUE, failed)
        };
        let acknowledged = |story: Story| acknowledged_late(&story.acknowledge(message("m")).trace());
        assert_eq!(acknowledged(set_aside("sales")), Ok(()));
        assert!(acknowledged(set_aside("archive")).is_err());
        let replayed = || set_aside("sales").replayed(message("m"));
        assert!(acknowledged(replayed()).is_err());
        let tried = Story::new().commit(unit([scheduled("m", 1, 1)], [], []), 0);
        assert_eq!(acknowledged(tried.clone()), Ok(()));
        assert!(
            acknowledged(tried.replayed(message("m"))).is_err(),
            "that was before"
        );
        let handled = replayed().commit(unit([done("m")], [], []), 0);
        assert_eq!(acknowledged(handled), Ok(()));
        // It came once more after a crash, and waits behind another: the copy that was set aside first is a duplicate.
        let waits = set_aside("sales").commit(unit([scheduled("m", 1, 1)], [], []), 0);
        assert_eq!(acknowledged(waits.replayed(message("m"))), Ok(()));
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
    fn when_a_row_is_marked_without_its_confirmation_it_is_found() {
        let committed = || Story::new().commit(unit([done("m")], [], [add("out", "m"), add("two", "m")]), 0);
        let mark = || unit([], [], [PendingChange::Sent(id("out"))]);
        assert!(marked_late(&committed().confirmed("two").commit(mark(), 1).trace()).is_err());
        assert_eq!(
            marked_late(&committed().confirmed("out").commit(mark(), 1).trace()),
            Ok(())
        );
    }
}
