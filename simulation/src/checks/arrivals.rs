//! Rules about what the broker has.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use longhaul_core::address::Address;
use longhaul_core::envelope::Envelope;
use longhaul_core::headers;
use longhaul_core::ids::MessageId;
use longhaul_core::store::{InboxState, PendingChange, PendingKind};

use super::Finding;
use crate::broker::ERROR_QUEUE;
use crate::trace::{Role, Trace, What};

/// The headers that make a message what it is; those that count attempts or say why it failed come and go.
const IDENTITY: [&str; 7] = [
    headers::TYPE,
    headers::INTENT,
    headers::CONTENT_TYPE,
    headers::TIME_SENT,
    headers::CONVERSATION,
    headers::CORRELATION,
    headers::ORIGINATING_ENDPOINT,
];

/// Whatever the broker takes under one id has one body; and, sent for the same cause, is one message. (An undo that
/// nobody answers is sent again for another cause, under its old id.) The time is the
/// store's to keep: a client asks again at another time, which is passed on, and a handler without a store passes on that of
/// its cause.
pub(super) fn same(trace: &Trace) -> Finding {
    let mut bodies: HashMap<_, &Arc<Envelope>> = HashMap::new();
    let mut messages: HashMap<_, (&Arc<Envelope>, bool)> = HashMap::new();
    for event in &trace.events {
        let What::Taken { envelope, queue, .. } = &event.what else {
            continue;
        };
        let sender = envelope.headers.get(headers::ORIGINATING_ENDPOINT);
        let is_kept = trace.members.get(event.process).is_some_and(|member| {
            // What somebody else sent is passed on with the time that it came with.
            member.role == Role::Stored && sender.is_none_or(|sender| sender == member.name.as_str())
        });
        if bodies.entry(&envelope.id).or_insert(envelope).body != envelope.body {
            return Err(format!("{} was sent again with another body", envelope.id));
        }
        if queue.as_ref().is_some_and(|queue| queue.as_str() == ERROR_QUEUE) {
            // Passed on as it came.
            continue;
        }
        let transition = (&envelope.id, envelope.headers.get(headers::CAUSATION));
        let (before, was_kept) = *messages.entry(transition).or_insert((envelope, is_kept));
        let differs = IDENTITY
            .into_iter()
            .filter(|name| (is_kept && was_kept) || *name != headers::TIME_SENT)
            .find(|name| before.headers.get(name) != envelope.headers.get(name));
        if let Some(name) = differs {
            return Err(format!("{} was sent again with another {name}", envelope.id));
        }
    }
    Ok(())
}

/// What was committed to be sent is at the broker, or set aside for people.
pub(super) fn all_outputs(trace: &Trace) -> Finding {
    if trace.unsettled.is_some() {
        return Ok(());
    }
    let taken: HashSet<_> = trace
        .events
        .iter()
        .filter_map(|event| match &event.what {
            What::Taken { envelope, .. } => Some(&envelope.id),
            _ => None,
        })
        .collect();
    for unit in trace.lasting() {
        for change in &unit.work.pending {
            let PendingChange::Add(row) = change else { continue };
            let parked = trace.known.get(unit.endpoint);
            let is_parked = parked.is_some_and(|known| known.parked.contains(&row.envelope.id));
            if row.kind == PendingKind::Message && !is_parked && !taken.contains(&row.envelope.id) {
                return Err(format!(
                    "{} committed {}, and it was never sent",
                    unit.endpoint, row.envelope.id
                ));
            }
        }
    }
    Ok(())
}

/// Every message that the broker took is done with at the end, or in the error queue, or was discarded from there.
pub(super) fn conserved(trace: &Trace) -> Finding {
    if trace.unsettled.is_some() {
        return Ok(());
    }
    let mut settled = HashSet::new();
    for unit in trace.lasting() {
        let changes = unit.work.inbox.iter();
        let ended = changes.filter(|change| change.next == Some(InboxState::Done));
        settled.extend(ended.map(|change| (unit.endpoint, &change.id)));
    }
    // By the endpoint that gave it up: what one sets aside excuses no other.
    let failed = trace.failed.iter().filter_map(|envelope| {
        let source = envelope.headers.get(headers::ERROR_SOURCE)?;
        Some((source, &envelope.id))
    });
    let mut failed: HashSet<(&str, &MessageId)> = failed.collect();
    for event in &trace.events {
        let Some(member) = trace.members.get(event.process) else {
            continue;
        };
        match &event.what {
            What::Acknowledged { envelope, .. } if member.role == Role::Storeless => {
                settled.insert((&member.name, &envelope.id));
            }
            What::DeliveredTooOften { queue, envelope } | What::Discarded { queue, envelope } => {
                failed.insert((queue.as_str(), &envelope.id));
            }
            _ => {}
        }
    }
    for event in &trace.events {
        let What::Taken {
            envelope,
            queue: Some(queue),
            ..
        } = &event.what
        else {
            continue;
        };
        // A timeout is its row, not its alarm.
        let is_alarm = envelope.headers.get(headers::TIMEOUT_ID).is_some();
        let is_settled =
            settled.contains(&(queue, &envelope.id)) || failed.contains(&(queue.as_str(), &envelope.id));
        if queue.as_str() != ERROR_QUEUE && !is_alarm && !is_settled {
            return Err(format!("{} came into {queue} and is nowhere", envelope.id));
        }
    }
    Ok(())
}

/// What a unit sends names the message whose handling sent it.
pub(super) fn caused(trace: &Trace) -> Finding {
    for unit in trace.lasting() {
        let [handled] = unit.work.inbox.as_slice() else {
            continue;
        };
        if handled.next != Some(InboxState::Done) {
            continue;
        }
        for change in &unit.work.pending {
            let PendingChange::Add(row) = change else { continue };
            if row.name == "retry" {
                // The next of those that waited behind it: a copy of what another message caused.
                continue;
            }
            let cause = row.envelope.headers.get(headers::CAUSATION);
            if cause != Some(handled.id.as_str()) {
                return Err(format!(
                    "{} was sent for {}, and names {cause:?} as its cause",
                    row.envelope.id, handled.id
                ));
            }
        }
    }
    Ok(())
}

/// What a unit sends belongs to the conversation of the message whose handling sent it.
pub(super) fn conversed(trace: &Trace) -> Finding {
    let mut conversations: HashMap<&MessageId, &str> = HashMap::new();
    for event in &trace.events {
        if let What::Taken { envelope, .. } = &event.what {
            conversations
                .entry(&envelope.id)
                .or_insert_with(|| conversation(envelope));
        }
    }
    let mut timeouts: HashMap<(&Address, &MessageId), &str> = HashMap::new();
    for unit in trace.lasting() {
        // A timeout may fire without an alarm that the broker took.
        let fired = unit.work.pending.iter().find_map(|change| match change {
            PendingChange::Fire { id, .. } => timeouts.get(&(unit.endpoint, id)).copied(),
            _ => None,
        });
        let [handled] = unit.work.inbox.as_slice() else {
            continue;
        };
        let goes_on = fired.or_else(|| conversations.get(&handled.id).copied());
        for change in &unit.work.pending {
            let PendingChange::Add(row) = change else { continue };
            if row.kind == PendingKind::Timeout {
                timeouts.insert((unit.endpoint, &row.id), conversation(&row.envelope));
            }
            // The next of those that waited behind it is a copy of what another message caused.
            let is_copy = row.name == "retry";
            let is_other = goes_on.is_some_and(|goes_on| !is_copy && goes_on != conversation(&row.envelope));
            if handled.next == Some(InboxState::Done) && is_other {
                return Err(format!(
                    "{} was sent for {}, and belongs to the conversation {} instead of {goes_on:?}",
                    row.envelope.id,
                    handled.id,
                    conversation(&row.envelope)
                ));
            }
        }
    }
    Ok(())
}

/// The conversation of a message; one that names none begins it.
fn conversation(envelope: &Envelope) -> &str {
    let named = envelope.headers.get(headers::CONVERSATION);
    named.unwrap_or(envelope.id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::story::{Story, add, done, message, message_with, row, unit};

    #[test]
    fn when_a_message_is_sent_again_otherwise_it_is_found() {
        let first = || Story::new().taken(message("m"));
        let typed = message_with("m", headers::TYPE, "another.type");
        assert!(same(&first().taken(typed).trace()).is_err());
        let mut filled = message("m");
        filled.body = "{}".into();
        assert!(same(&first().taken(filled).trace()).is_err());
        let at = |time| message_with("m", headers::TIME_SENT, time);
        let later = Story::new().taken(at("1")).taken(at("2"));
        assert!(same(&later.trace()).is_err());
        let asked_again = Story::new().taken_by_another(at("1")).taken(at("2"));
        assert_eq!(
            same(&asked_again.trace()),
            Ok(()),
            "a client asks at another time"
        );
        let retried = message_with("m", headers::GENERATION, "1");
        assert_eq!(same(&first().taken(retried).trace()), Ok(()));
    }

    #[test]
    fn when_an_output_never_arrives_it_is_found_unless_its_commit_was_lost() {
        let committed = || Story::new().commit(unit([done("m")], [], [add("out", "m")]), 0);
        assert!(all_outputs(&committed().trace()).is_err());
        assert_eq!(all_outputs(&committed().lose(0).trace()), Ok(()));
        assert_eq!(all_outputs(&committed().taken(message("out")).trace()), Ok(()));
    }

    #[test]
    fn when_a_message_is_nowhere_it_is_found() {
        assert!(conserved(&Story::new().taken(message("m")).trace()).is_err());
        let done = Story::new()
            .taken(message("m"))
            .commit(unit([done("m")], [], []), 0);
        assert_eq!(conserved(&done.trace()), Ok(()));
    }

    #[test]
    fn when_a_message_is_in_the_error_queue_that_excuses_only_who_put_it_there() {
        let failed_at = |source| {
            let came = Story::new()
                .taken(message("m"))
                .taken_into("archive", message("m"));
            let mut trace = came.commit(unit([done("m")], [], []), 0).trace();
            let failed = message_with("m", headers::ERROR_SOURCE, source);
            trace.failed.push(Arc::new(failed));
            conserved(&trace)
        };
        assert_eq!(failed_at("archive"), Ok(()));
        assert!(failed_at("sales").is_err(), "nothing became of it in the archive");
        let given_up = Story::new().taken(message("m")).given_up("sales", message("m"));
        assert_eq!(conserved(&given_up.clone().trace()), Ok(()));
        let discarded = Story::new().taken(message("m")).discarded(message("m"));
        assert_eq!(conserved(&discarded.trace()), Ok(()));
        let elsewhere = given_up.taken_into("archive", message("m"));
        assert!(conserved(&elsewhere.trace()).is_err());
    }

    #[test]
    fn when_a_message_leaves_the_conversation_of_its_cause_it_is_found() {
        let told = |conversation| {
            let mut out = row("out", "m");
            out.envelope.headers.set(headers::CONVERSATION, conversation);
            let asked = Story::new().taken(message_with("m", headers::CONVERSATION, "talk"));
            let add = PendingChange::Add(Box::new(out));
            conversed(&asked.commit(unit([done("m")], [], [add]), 0).trace())
        };
        assert_eq!(told("talk"), Ok(()));
        assert!(told("another").is_err());
        let unnamed = Story::new().taken(message("m"));
        let unit_of = |conversation| {
            let mut out = row("out", "m");
            out.envelope.headers.set(headers::CONVERSATION, conversation);
            unit([done("m")], [], [PendingChange::Add(Box::new(out))])
        };
        assert_eq!(
            conversed(&unnamed.clone().commit(unit_of("m"), 0).trace()),
            Ok(())
        );
        assert!(conversed(&unnamed.commit(unit_of("out"), 0).trace()).is_err());
    }

    #[test]
    fn when_a_message_names_another_cause_it_is_found() {
        let wrong = Story::new().commit(unit([done("m")], [], [add("out", "other")]), 0);
        assert!(caused(&wrong.trace()).is_err());
        let right = Story::new().commit(unit([done("m")], [], [add("out", "m")]), 0);
        assert_eq!(caused(&right.trace()), Ok(()));
    }
}
