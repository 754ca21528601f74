//! What must be true of every schedule, whatever the system under test: rules over the trace.
//!
//! A rule is a function from a trace to its first violation. Each is shown, in its tests, a trace that breaks it; and all of them,
//! in `unknown`, a trace with unknown outcomes of sends and commits that breaks none, and what breaks each of them after it.

mod arrivals;
mod commits;
mod delays;
mod order;
mod parked;
mod retries;
mod rows;
#[cfg(test)]
pub(crate) mod story;
mod timeouts;
#[cfg(test)]
mod unknown;

use crate::trace::Trace;

/// What was found, for people.
type Finding = Result<(), String>;

/// A rule and its name.
pub(crate) type Rule = (&'static str, fn(&Trace) -> Finding);

/// All rules. The first are the most telling.
pub(crate) const RULES: [Rule; 20] = [
    ("a message is committed at most once", commits::once),
    (
        "effects are committed together with their inbox entry",
        commits::together,
    ),
    ("versions of a record form a chain", commits::chained),
    (
        "an acknowledgement comes after a durable commit",
        order::acknowledged_late,
    ),
    ("nothing leaves before its commit is durable", order::sent_late),
    ("what is marked as sent was confirmed", order::marked_late),
    ("a timeout never fires early", timeouts::never_early),
    ("every timeout fires or is ended", timeouts::all_end),
    ("a timeout fires in time", timeouts::in_time),
    ("what is sent again is the same", arrivals::same),
    ("every output arrives", arrivals::all_outputs),
    ("nothing that the broker took is lost", arrivals::conserved),
    ("only what can't be sent is set aside", parked::for_a_reason),
    ("a delayed message keeps its delay", delays::kept),
    ("a delayed message never comes early", delays::delivered_in_time),
    ("what is sent names its cause", arrivals::caused),
    ("a conversation goes on in what is sent", arrivals::conversed),
    ("a failed message keeps its body and says why", retries::complete),
    ("attempts are counted across restarts", retries::counted),
    ("everything comes to rest", settled),
];

/// After the last fault everything comes to rest within ten minutes of the latest plan.
fn settled(trace: &Trace) -> Finding {
    trace.unsettled.clone().map_or(Ok(()), Err)
}

/// The first rule that is broken.
pub(crate) fn first_violation(trace: &Trace) -> Option<(&'static str, String)> {
    RULES
        .iter()
        .find_map(|(name, rule)| rule(trace).err().map(|text| (*name, text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use story::Story;

    #[test]
    fn when_something_is_left_at_the_end_it_has_not_come_to_rest() {
        assert_eq!(settled(&Story::new().trace()), Ok(()));
        let mut trace = Story::new().trace();
        trace.unsettled = Some(String::from("m-1 waits in sales"));
        assert!(settled(&trace).is_err());
    }

    #[test]
    fn when_a_schedule_is_as_it_should_be_no_rule_is_broken() {
        assert_eq!(first_violation(&Story::good().trace()), None);
    }
}
