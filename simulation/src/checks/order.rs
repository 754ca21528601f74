//! Rules about what comes before what.

use std::collections::{HashMap, HashSet};

use longhaul_core::address::Address;
use longhaul_core::clock::Timestamp;
use longhaul_core::envelope::Envelope;
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

/// What was known of a message from a unit on.
type Known = (Option<InboxState>, Written);

/// A process with a store acknowledges a copy of a message only when what it knows of the message, for good, has no use for it.
pub(super) fn acknowledged_late(trace: &Trace) -> Finding {
    let mut known: HashMap<(&Address, &MessageId), Vec<Known>> = HashMap::new();
    let mut ends = Ends::default();
    // In the error queue now, and ever.
    let mut failed = HashSet::new();
    let mut ever_failed = HashSet::new();
    for (at, event) in trace.events.iter().enumerate() {
        let Some(member) = trace.members.get(event.process) else {
            continue;
        };
        match &event.what {
            What::Committed {
                unit, durable, index, ..
            } => {
                for change in &unit.inbox {
                    let written = Written {
                        at,
                        index: *index,
                        durable: *durable,
                    };
                    let states = known.entry((&member.name, &change.id)).or_default();
                    states.push((change.next, written));
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
                failed.insert((source.unwrap_or_default(), &envelope.id));
                ever_failed.insert((source.unwrap_or_default(), &envelope.id));
            }
            What::Replayed { queue, envelope } => {
                failed.remove(&(queue.as_str(), &envelope.id));
            }
            What::Acknowledged { envelope, .. } if member.role == Role::Stored => {
                // The row of a timeout is there until it fires: its alarm may go.
                let is_alarm = envelope.headers.get(headers::TIMEOUT_ID).is_some();
                let states = known.get(&(&member.name, &envelope.id));
                let lasts = |written: Written| ends.lasts(&member.name, written, event.at);
                let state = states.and_then(|states| {
                    let mut lasting = states.iter().rev().filter(|(_, written)| lasts(*written));
                    lasting.next().and_then(|(state, _)| *state)
                });
                let place = (member.name.as_str(), &envelope.id);
                let is_set_aside = failed.contains(&place);
                if !is_alarm && !is_set_aside && !settles(state, envelope, ever_failed.contains(&place)) {
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

/// Whether an endpoint that knows this of a message needs this copy of it no more.
fn settles(state: Option<InboxState>, copy: &Envelope, was_set_aside: bool) -> bool {
    match state {
        Some(InboxState::Done) => true,
        Some(InboxState::Scheduled { generation, .. } | InboxState::Started { generation, .. }) => {
            copy.number(headers::GENERATION).unwrap_or(0) < u64::from(generation)
        }
        // What is handled again is the copy that was sent back.
        Some(InboxState::Failed { .. }) => was_set_aside && copy.headers.get(headers::REPLAY).is_none(),
        None => false,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::story::{
        Story, add, done, failed_for_good, forgotten, id, message, message_with, scheduled, started, unit,
    };

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
        let handled = replayed().commit(unit([done("m")], [], []), 0);
        assert_eq!(acknowledged(handled), Ok(()));
        // It came once more after a crash, and waits behind another: the copy that was set aside first is a duplicate.
        let waits = set_aside("sales").commit(unit([scheduled("m", 1, 1)], [], []), 0);
        assert_eq!(acknowledged(waits.replayed(message("m"))), Ok(()));
    }

    #[test]
    fn when_a_copy_is_acknowledged_that_counts_it_is_found() {
        let copy = |generation: &str| message_with("m", headers::GENERATION, generation);
        let tried = Story::new().commit(unit([scheduled("m", 1, 1)], [], []), 0);
        let acknowledged = |copy: Envelope| acknowledged_late(&tried.clone().acknowledge(copy).trace());
        assert_eq!(acknowledged(message("m")), Ok(()));
        assert!(acknowledged(copy("1")).is_err());
        let began = tried.clone().commit(unit([started("m", 2)], [], []), 1);
        assert_eq!(acknowledged_late(&began.acknowledge(copy("1")).trace()), Ok(()));
        let forgotten = unit([forgotten("m")], [], []);
        let begun_anew = tried.clone().commit(forgotten, 1).acknowledge(message("m"));
        assert!(acknowledged_late(&begun_anew.trace()).is_err());
    }

    #[test]
    fn when_a_copy_that_was_sent_back_is_acknowledged_unhandled_it_is_found_but_not_an_old_one() {
        let set_aside = || {
            let failed = message_with("m", headers::ERROR_SOURCE, "sales");
            let failing = Story::new().taken_into(ERROR_QUEUE, failed);
            failing.commit(unit([failed_for_good("m")], [], []), 0)
        };
        let replay = || message_with("m", headers::REPLAY, "1");
        let replayed = || set_aside().replayed(replay());
        assert!(acknowledged_late(&replayed().acknowledge(replay()).trace()).is_err());
        assert_eq!(
            acknowledged_late(&replayed().acknowledge(message("m")).trace()),
            Ok(()),
            "it was set aside, and what counts is on its way"
        );
        // It was in the error queue twice, and the first to come back is scheduled again.
        let twice = replayed().commit(unit([scheduled("m", 1, 1)], [], []), 1);
        let twice = twice.replayed(replay()).acknowledge(replay());
        assert_eq!(acknowledged_late(&twice.trace()), Ok(()));
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
