//! Rules about what is committed.

use std::collections::{HashMap, HashSet};

use longhaul_core::clock::Timestamp;
use longhaul_core::headers;
use longhaul_core::store::{InboxState, PendingChange, RecordChange};

use super::Finding;
use crate::trace::{Trace, What};

/// The collections that the runtime keeps for itself.
const OURS: &str = "longhaul/";

/// At most one lasting unit says of a message that it is done.
pub(super) fn once(trace: &Trace) -> Finding {
    let mut seen = HashMap::new();
    for unit in trace.lasting() {
        for change in &unit.work.inbox {
            if change.next == Some(InboxState::Done)
                && seen.insert((unit.endpoint, &change.id), unit.at).is_some()
            {
                return Err(format!("{} committed {} twice", unit.endpoint, change.id));
            }
        }
    }
    Ok(())
}

/// What a message changes and sends is in the unit that says that it was handled.
pub(super) fn together(trace: &Trace) -> Finding {
    // An alarm that comes early is put off: its row is written once more.
    let mut rows = HashSet::new();
    for unit in trace.lasting() {
        let work = unit.work;
        let of_saga = work.records.iter().any(|change| {
            let (RecordChange::Put { key, .. } | RecordChange::Delete { key, .. }) = change;
            !key.collection.starts_with(OURS)
        });
        let causes = work.pending.iter().filter_map(|change| match change {
            PendingChange::Add(row) if row.name != "retry" && rows.insert((unit.endpoint, &row.id)) => {
                row.envelope.headers.get(headers::CAUSATION)
            }
            _ => None,
        });
        let causes: Vec<&str> = causes.collect();
        for cause in causes {
            if !work.inbox.iter().any(|change| change.id.as_str() == cause) {
                return Err(format!(
                    "{} sent something for {cause} apart from its inbox",
                    unit.endpoint
                ));
            }
        }
        if of_saga && work.inbox.is_empty() {
            return Err(format!(
                "{} changed a record apart from any inbox entry",
                unit.endpoint
            ));
        }
    }
    Ok(())
}

/// Each change of a record begins with the version that the one before left.
pub(super) fn chained(trace: &Trace) -> Finding {
    // A record that has expired goes on from its version, or from none if it was removed, which no trace shows.
    let mut versions: HashMap<_, (u64, bool, Option<Timestamp>)> = HashMap::new();
    for unit in trace.lasting() {
        let now = trace.events.get(unit.at).map(|event| match event.what {
            What::Committed { local, .. } => local,
            _ => event.at,
        });
        for change in &unit.work.records {
            let (key, expected, next) = match change {
                RecordChange::Put {
                    key,
                    expected,
                    expires,
                    ..
                } => (key, *expected, Some(*expires)),
                RecordChange::Delete { key, expected } => (key, Some(*expected), None),
            };
            let place = (unit.endpoint, key);
            let before = versions.get(&place).copied();
            let version = before.map(|(version, ..)| version);
            let expired =
                before.is_some_and(|(.., expires)| expires.zip(now).is_some_and(|(at, now)| at <= now));
            let was_removed = expected == Some(1) && before.is_some_and(|(_, is_anew, _)| is_anew);
            if version != expected && !was_removed && !(expected.is_none() && expired) {
                return Err(format!(
                    "{} wrote {}/{} after version {expected:?}, but it was at {version:?}",
                    unit.endpoint, key.collection, key.id
                ));
            }
            match next {
                Some(expires) => {
                    let version = expected.or(version).unwrap_or(0);
                    versions.insert(place, (version + 1, expired && expected.is_none(), expires))
                }
                None => versions.remove(&place),
            };
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use longhaul_core::store::RecordKey;

    use crate::checks::story::{START, Story, add, done, put, unit};

    #[test]
    fn when_a_message_is_committed_twice_it_is_found_unless_a_crash_took_the_first() {
        let twice = Story::new()
            .commit(unit([done("m")], [], []), 0)
            .commit(unit([done("m")], [], []), 1);
        assert!(once(&twice.trace()).is_err());
        let lost = Story::new().commit(unit([done("m")], [], []), 0).lose(0);
        assert_eq!(once(&lost.commit(unit([done("m")], [], []), 0).trace()), Ok(()));
    }

    #[test]
    fn when_effects_and_inbox_are_committed_apart_it_is_found() {
        let apart = Story::new().commit(unit([], [put("7", None)], []), 0);
        assert!(together(&apart.commit(unit([done("m")], [], []), 1).trace()).is_err());
        let sent = Story::new().commit(unit([done("other")], [], [add("out", "m")]), 0);
        assert!(together(&sent.trace()).is_err());
        let one = Story::new().commit(unit([done("m")], [put("7", None)], [add("out", "m")]), 0);
        assert_eq!(together(&one.trace()), Ok(()));
    }

    #[test]
    fn when_two_units_begin_with_the_same_version_it_is_found() {
        let fork = Story::new()
            .commit(unit([done("a")], [put("7", None)], []), 0)
            .commit(unit([done("b")], [put("7", Some(1))], []), 1)
            .commit(unit([done("c")], [put("7", Some(1))], []), 2);
        assert!(chained(&fork.trace()).is_err());
        let redone = Story::new()
            .commit(unit([done("a")], [put("7", None)], []), 0)
            .lose(0)
            .commit(unit([done("a")], [put("7", None)], []), 0);
        assert_eq!(chained(&redone.trace()), Ok(()));
        let expiring = RecordChange::Put {
            key: RecordKey::new("saga/order", "7"),
            expected: Some(1),
            body: "{}".into(),
            expires: Some(START),
        };
        let anew = |version| {
            Story::new()
                .commit(unit([done("a")], [put("7", None)], []), 0)
                .commit(unit([done("b")], [expiring.clone()], []), 1)
                .commit(unit([done("c")], [put("7", None)], []), 2)
                .commit(unit([done("d")], [put("7", Some(version))], []), 3)
        };
        assert_eq!(chained(&anew(1).trace()), Ok(()), "it was removed");
        assert_eq!(chained(&anew(3).trace()), Ok(()), "it was not removed");
        assert!(chained(&anew(2).trace()).is_err());
    }
}
