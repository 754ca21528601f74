//! Rules about timeouts: never early, never lost, never late.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use longhaul_core::address::Address;
use longhaul_core::clock::Timestamp;
use longhaul_core::ids::MessageId;
use longhaul_core::store::{InboxState, PendingChange, PendingKind};

use super::Finding;
use super::rows::Rows;
use crate::trace::{Trace, What};

/// How much later than it is due a timeout may fire when nothing is wrong any more: the grace after which the store fires it
/// without the broker, the claims and calls under way that must end first, and the look at a store that is shared.
const IN_TIME: Duration = Duration::from_secs(120);

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

/// A timeout that nothing has ended.
#[derive(Debug, Clone, Copy)]
struct Open<'a> {
    name: &'a str,
    due: Timestamp,
    token: u64,
    /// When it was asked for or moved.
    since: Timestamp,
    /// Somebody has set it aside since it was asked for.
    was_parked: bool,
    is_parked: bool,
}

/// The timeouts that are open, by endpoint and id.
#[derive(Debug, Default)]
struct Timeouts<'a>(HashMap<(&'a Address, &'a MessageId), Open<'a>>);

impl<'a> Timeouts<'a> {
    /// Takes in a change made at that time; returns the timeout that fires.
    fn change(
        &mut self,
        endpoint: &'a Address,
        at: Timestamp,
        change: &'a PendingChange,
    ) -> Option<Open<'a>> {
        match change {
            PendingChange::Add(row) if row.kind == PendingKind::Timeout => {
                let before = self.0.remove(&(endpoint, &row.id));
                let open = Open {
                    name: &row.name,
                    due: row.due.unwrap_or(at),
                    token: row.token,
                    since: before.map_or(at, |before| before.since),
                    was_parked: before.is_some_and(|before| before.was_parked),
                    is_parked: row.parked.is_some(),
                };
                self.0.insert((endpoint, &row.id), open);
            }
            PendingChange::Move { id, due, .. } => {
                let open = self.0.get_mut(&(endpoint, id))?;
                (open.due, open.since, open.token) = (*due, at, open.token + 1);
            }
            PendingChange::Park { id, token, .. } => {
                let open = self.0.get_mut(&(endpoint, id))?;
                if token.is_none_or(|token| token == open.token) {
                    (open.was_parked, open.is_parked) = (true, true);
                }
            }
            PendingChange::Cancel(id) => drop(self.0.remove(&(endpoint, id))),
            PendingChange::Fire { id, .. } => return self.0.remove(&(endpoint, id)),
            // The broker has its alarm, which is no end of it.
            PendingChange::Add(_)
            | PendingChange::Sent(_)
            | PendingChange::AlarmSent { .. }
            | PendingChange::Defer { .. } => {}
        }
        None
    }
}

/// A timeout that was asked for fires, is cancelled, or is set aside.
pub(super) fn all_end(trace: &Trace) -> Finding {
    if trace.unsettled.is_some() {
        return Ok(());
    }
    let mut timeouts = Timeouts::default();
    for unit in trace.lasting() {
        for change in &unit.work.pending {
            timeouts.change(unit.endpoint, Timestamp::MIN, change);
        }
    }
    let Some(end) = trace.events.last().map(|event| event.at) else {
        return Ok(());
    };
    let mut open = timeouts.0.into_iter();
    open.find(|(_, open)| !open.is_parked && open.due <= end)
        .map_or(Ok(()), |((endpoint, id), open)| {
            Err(format!(
                "the timeout {} of {endpoint} ({id}), due {}, never fired and was never cancelled",
                open.name, open.due
            ))
        })
}

/// A timeout fires soon after it is due, or after what is wrong has passed. One whose handler has failed fires as its retries
/// say.
pub(super) fn in_time(trace: &Trace) -> Finding {
    let mut timeouts = Timeouts::default();
    let mut seen = 0;
    let mut retried = HashSet::new();
    // Since when nothing is wrong any more.
    let mut quiet = Timestamp::MIN;
    for unit in trace.lasting() {
        for event in trace.events.get(seen..=unit.at).unwrap_or_default() {
            if let What::Disturbed { until } = event.what {
                quiet = quiet.max(until);
            }
        }
        seen = unit.at + 1;
        let Some(event) = trace.events.get(unit.at) else {
            continue;
        };
        let What::Committed { local, .. } = event.what else {
            continue;
        };
        for change in &unit.work.inbox {
            if let Some(InboxState::Scheduled { .. }) = change.next {
                retried.insert((unit.endpoint, &change.id));
            }
        }
        let alarms = unit.work.inbox.iter();
        let is_retried = alarms
            .map(|change| (unit.endpoint, &change.id))
            .any(|alarm| retried.contains(&alarm));
        for change in &unit.work.pending {
            let Some(fired) = timeouts.change(unit.endpoint, event.at, change) else {
                continue;
            };
            // It was due so long ago by the clock of whoever fires it.
            let due = event.at - local.since(fired.due);
            let late = event.at.since(due.max(fired.since).max(quiet));
            if late > IN_TIME && !fired.was_parked && !is_retried {
                return Err(format!(
                    "the timeout {} of {} fired at {local}, {late:?} after it was due and nothing was wrong any more",
                    fired.name, unit.endpoint
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::story::{START, Story, add, done, id, message, row, scheduled, unit};

    fn timeout(due: Timestamp) -> PendingChange {
        let mut timeout = row("t", "m");
        timeout.kind = PendingKind::Timeout;
        timeout.due = Some(due);
        PendingChange::Add(Box::new(timeout))
    }

    fn fire() -> PendingChange {
        PendingChange::Fire {
            id: id("t"),
            token: 0,
        }
    }

    fn moved(due: Timestamp) -> PendingChange {
        PendingChange::Move {
            id: id("t"),
            due,
            attention: START,
        }
    }

    fn asked() -> Story {
        Story::new().commit(unit([done("m")], [], [timeout(START)]), 0)
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
            super::super::order::sent_late(&story.taken(alarm).trace())
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

    #[test]
    fn when_a_timeout_is_asked_for_and_nothing_ends_it_it_is_found() {
        let ended_by = |change| all_end(&asked().commit(unit([done("n")], [], [change]), 1).trace());
        let alarm_sent = PendingChange::AlarmSent {
            id: id("t"),
            token: 0,
            attention: START,
        };
        assert!(all_end(&asked().trace()).is_err());
        assert!(
            ended_by(PendingChange::Sent(id("t"))).is_err(),
            "only its alarm is sent"
        );
        assert!(ended_by(alarm_sent).is_err());
        assert!(ended_by(moved(START + Duration::from_secs(1))).is_err());
        assert!(ended_by(add("out", "n")).is_err());
        let lost = asked().commit(unit([done("n")], [], [fire()]), 1).lose(1);
        assert!(all_end(&lost.trace()).is_err(), "it fired in vain");
        assert_eq!(ended_by(fire()), Ok(()));
        assert_eq!(ended_by(PendingChange::Cancel(id("t"))), Ok(()));
        assert_eq!(
            all_end(&asked().lose(0).trace()),
            Ok(()),
            "it was never asked for"
        );
        let far = START + Duration::from_secs(3600);
        assert_eq!(ended_by(moved(far)), Ok(()), "the story ends before it is due");
    }

    #[test]
    fn when_a_timeout_fires_late_it_is_found_unless_something_was_wrong_until_then() {
        let late = || asked().after(Duration::from_secs(3600));
        let fired = |story: Story| {
            let index = story.clone().trace().lasting().len();
            in_time(&story.commit(unit([done("alarm")], [], [fire()]), index).trace())
        };
        assert!(fired(late()).is_err());
        let failed = |alarm| asked().commit(unit([scheduled(alarm, 1, 1)], [], []), 1);
        let later = Duration::from_secs(3600);
        assert_eq!(
            fired(failed("alarm").after(later)),
            Ok(()),
            "its handler has failed"
        );
        assert!(fired(failed("other").after(later)).is_err());
        assert!(fired(asked().disturbed().after(Duration::from_secs(3600))).is_err());
        assert_eq!(fired(asked()), Ok(()));
        assert_eq!(fired(late().disturbed()), Ok(()));
        let near = late().commit(unit([done("n")], [], [moved(START)]), 1);
        assert_eq!(fired(near.clone()), Ok(()), "it was moved just now");
        assert!(fired(near.after(Duration::from_secs(3600))).is_err());
        let far = asked().commit(
            unit([done("n")], [], [moved(START + Duration::from_secs(3600))]),
            1,
        );
        assert_eq!(fired(far.after(Duration::from_secs(3600))), Ok(()));
    }
}
