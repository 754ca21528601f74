//! Rules about rows that are set aside.

use std::collections::HashSet;

use longhaul_core::address::Address;
use longhaul_core::headers;
use longhaul_core::ids::MessageId;
use longhaul_core::store::{PendingChange, PendingKind};
use longhaul_core::transport::TransportErrorKind;

use super::Finding;
use super::rows::Rows;
use crate::broker::ERROR_QUEUE;
use crate::trace::{Trace, What};

/// Whether the broker will never take such a message, as it is, from that endpoint.
const fn is_final(kind: TransportErrorKind) -> bool {
    matches!(
        kind,
        TransportErrorKind::Invalid
            | TransportErrorKind::Topology
            | TransportErrorKind::InUse
            | TransportErrorKind::Configuration
    )
}

/// A row is set aside only when the broker has refused it for good, or its alarm is in the error queue.
pub(super) fn for_a_reason(trace: &Trace) -> Finding {
    let mut rows = Rows::default();
    let mut refused: HashSet<(&Address, &MessageId)> = HashSet::new();
    let mut failed: HashSet<(&str, &MessageId)> = HashSet::new();
    for event in &trace.events {
        let Some(member) = trace.members.get(event.process) else {
            continue;
        };
        match &event.what {
            What::Refused { id, kind } if is_final(*kind) => {
                refused.insert((&member.name, id));
            }
            What::Taken {
                envelope,
                queue: Some(queue),
                ..
            } if queue.as_str() == ERROR_QUEUE => {
                let source = envelope.headers.get(headers::ERROR_SOURCE);
                failed.insert((source.unwrap_or_default(), &envelope.id));
            }
            What::Lost { from } => rows.lose(&member.name, *from),
            What::Committed { unit, index, .. } => {
                for change in &unit.pending {
                    rows.change(&member.name, *index, change);
                    let PendingChange::Park { id, .. } = change else {
                        continue;
                    };
                    let Some(row) = rows.get(&member.name, id) else {
                        continue;
                    };
                    let sent = row.outgoing().id;
                    let has_failed =
                        row.kind == PendingKind::Timeout && failed.contains(&(member.name.as_str(), &sent));
                    if !has_failed && !refused.contains(&(&member.name, &sent)) {
                        return Err(format!(
                            "{} set {id} aside, which the broker has not refused for good and which is not in the error queue",
                            member.name
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
    use crate::checks::story::{START, Story, done, id, message_with, row, unit};

    fn asked(kind: PendingKind) -> (Story, MessageId) {
        let mut row = row("out", "m");
        row.kind = kind;
        row.due = Some(START);
        let sent = row.outgoing().id;
        let add = PendingChange::Add(Box::new(row));
        (Story::new().commit(unit([done("m")], [], [add]), 0), sent)
    }

    fn parked(story: Story) -> Finding {
        let park = PendingChange::Park {
            id: id("out"),
            token: None,
            reason: String::new(),
        };
        for_a_reason(&story.commit(unit([], [], [park]), 1).trace())
    }

    #[test]
    fn when_a_message_is_set_aside_that_the_broker_may_still_take_it_is_found() {
        let asked = || asked(PendingKind::Message).0;
        assert!(parked(asked()).is_err());
        assert!(parked(asked().refused("out", TransportErrorKind::Unknown)).is_err());
        assert!(parked(asked().refused("other", TransportErrorKind::Invalid)).is_err());
        let failed = message_with("out", headers::ERROR_SOURCE, "sales");
        assert!(
            parked(asked().taken_into(ERROR_QUEUE, failed)).is_err(),
            "it is no alarm"
        );
        assert_eq!(
            parked(asked().refused("out", TransportErrorKind::Invalid)),
            Ok(())
        );
    }

    #[test]
    fn when_a_timeout_is_set_aside_whose_alarm_has_not_failed_it_is_found() {
        let (story, alarm) = asked(PendingKind::Timeout);
        let failed_at = |source| {
            let failed = message_with(alarm.as_str(), headers::ERROR_SOURCE, source);
            parked(story.clone().taken_into(ERROR_QUEUE, failed))
        };
        assert!(parked(story.clone()).is_err());
        assert!(failed_at("archive").is_err());
        assert_eq!(failed_at("sales"), Ok(()));
        let moved = PendingChange::Move {
            id: id("out"),
            due: START,
            attention: START,
        };
        let refused = story.refused(alarm.as_str(), TransportErrorKind::Invalid);
        let moved = refused.commit(unit([done("n")], [], [moved]), 1);
        let park = PendingChange::Park {
            id: id("out"),
            token: None,
            reason: String::new(),
        };
        let parked = for_a_reason(&moved.commit(unit([], [], [park]), 2).trace());
        assert!(parked.is_err(), "that alarm is stale");
    }
}
