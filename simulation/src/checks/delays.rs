//! Rules about messages that are to come later.

use std::collections::HashMap;
use std::sync::Arc;

use longhaul_core::address::Address;
use longhaul_core::clock::Timestamp;
use longhaul_core::headers;
use longhaul_core::ids::MessageId;
use longhaul_core::store::{PendingChange, PendingKind};

use super::Finding;
use crate::broker::ERROR_QUEUE;
use crate::trace::{Role, Trace, What};

/// What the broker takes with a due time is not delivered before it, in the world's time.
pub(super) fn delivered_in_time(trace: &Trace) -> Finding {
    let mut dues = HashMap::new();
    for event in &trace.events {
        match &event.what {
            What::Taken {
                envelope,
                due: Some(due),
                local,
                ..
            } => {
                dues.insert(Arc::as_ptr(envelope), event.at + due.since(*local));
            }
            What::Delivered { queue, envelope, .. } => {
                let due = dues.get(&Arc::as_ptr(envelope)).copied();
                if let Some(due) = due.filter(|due| event.at < *due) {
                    return Err(format!(
                        "{} came into {queue} at {}, and was to come at {due}",
                        envelope.id, event.at
                    ));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// A message: its id, and which attempt it is for.
type Copy<'a> = (&'a Address, &'a MessageId, u64);

/// What was committed to be sent later is handed to the broker with its due time, as long as that has not come.
pub(super) fn kept(trace: &Trace) -> Finding {
    let mut dues: HashMap<Copy<'_>, Timestamp> = HashMap::new();
    for event in &trace.events {
        let Some(member) = trace.members.get(event.process) else {
            continue;
        };
        match &event.what {
            What::Committed { unit, .. } => {
                for change in &unit.pending {
                    if let PendingChange::Add(row) = change
                        && row.kind == PendingKind::Message
                        && let Some(due) = row.due
                    {
                        let generation = row.envelope.number(headers::GENERATION).unwrap_or(0);
                        dues.insert((&member.name, &row.envelope.id, generation), due);
                    }
                }
            }
            What::Taken {
                envelope,
                queue,
                due,
                local,
            } if member.role == Role::Stored => {
                let generation = envelope.number(headers::GENERATION).unwrap_or(0);
                let wanted = dues.get(&(&member.name, &envelope.id, generation)).copied();
                let is_error = queue.as_ref().is_some_and(|queue| queue.as_str() == ERROR_QUEUE);
                let is_early = |wanted: &Timestamp| wanted > local && due.is_none_or(|due| due < *wanted);
                if let Some(wanted) = wanted.filter(|wanted| !is_error && is_early(wanted)) {
                    return Err(format!(
                        "{} sent {} at {local} to come at {due:?}, and it was to come at {wanted}",
                        member.name, envelope.id
                    ));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::checks::story::{START, Story, done, message, row, unit};

    #[test]
    fn when_a_message_comes_before_its_time_it_is_found() {
        let due = START + Duration::from_secs(60);
        let came = |due, after| {
            let story = Story::new().delivered(message("m"), due, Duration::from_secs(after));
            delivered_in_time(&story.trace())
        };
        assert!(came(Some(due), 10).is_err());
        assert_eq!(came(Some(due), 100), Ok(()));
        assert_eq!(came(None, 0), Ok(()));
        assert_eq!(came(Some(START), 0), Ok(()), "that has passed");
    }

    #[test]
    fn when_a_message_is_sent_without_its_time_it_is_found() {
        let due = START + Duration::from_secs(60);
        let sent = |due, after| {
            let mut row = row("out", "m");
            row.due = Some(START + Duration::from_secs(60));
            let add = PendingChange::Add(Box::new(row));
            let story = Story::new().commit(unit([done("m")], [], [add]), 0);
            let story = story.after(Duration::from_secs(after));
            kept(&story.delivered(message("out"), due, Duration::ZERO).trace())
        };
        assert!(sent(None, 0).is_err());
        assert!(sent(Some(START), 0).is_err());
        assert_eq!(sent(Some(due), 0), Ok(()));
        assert_eq!(sent(None, 100), Ok(()), "its time has come");
    }
}
