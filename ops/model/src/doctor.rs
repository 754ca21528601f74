//! Is everything as it should be? Findings, each with what to do.

use std::sync::Arc;
use std::time::Duration;

use longhaul_core::address::Address;
use longhaul_core::admin::QueueAdmin;
use longhaul_core::clock::{Clock, Timestamp};
use longhaul_core::transport::{Declare, Health, Topology, Transport, TransportErrorKind};
use serde::Serialize;

use crate::errors::{ErrorQueue, Failed, Filter, OpsErrorKind, Page};

/// From how many failed messages on somebody should look.
const MANY: u64 = 1_000;
/// How long a failed message may lie there: ids are remembered for 7 days, and SQS forgets messages after 14.
const OLD: Duration = Duration::from_secs(7 * 86_400);
/// How much clocks of machines may differ.
const SKEW: Duration = Duration::from_secs(60);
/// How many of the oldest messages are looked at.
const SAMPLE: usize = 50;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Good,
    /// Somebody should look.
    Warning,
    /// It does not work.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub subject: String,
    /// How it is.
    pub state: State,
    /// What was found.
    pub text: String,
    /// What to do; nothing where it is good.
    pub advice: Option<String>,
}

impl Finding {
    /// It is as it should be.
    pub fn good(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            state: State::Good,
            text: text.into(),
            advice: None,
        }
    }

    /// It is not, and this is what to do.
    pub fn other(
        state: State,
        subject: impl Into<String>,
        text: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            subject: subject.into(),
            state,
            text: text.into(),
            advice: Some(advice.into()),
        }
    }
}

/// Whether the broker takes and gives messages.
pub fn broker(transport: &Arc<dyn Transport>) -> Finding {
    let name = transport.capabilities().name;
    match &*transport.health().borrow() {
        Health::Connected => Finding::good("broker", format!("{name} answers")),
        Health::Blocked(why) => Finding::other(
            State::Bad,
            "broker",
            format!("{name} takes no messages: {why}"),
            "give the broker memory or disk space; nothing is lost meanwhile",
        ),
        Health::Disconnected(why) => Finding::other(
            State::Bad,
            "broker",
            format!("{name} can't be reached: {why}"),
            "check the broker and the network",
        ),
    }
}

/// Looks at the error queue: whether it is there and can be looked through, how much is in it, how old, and whether the
/// clocks of the machines that gave up are ahead of this one.
pub async fn errors(queue: &ErrorQueue, clock: &dyn Clock) -> Vec<Finding> {
    let page = Page {
        skip: 0,
        limit: SAMPLE,
    };
    match queue.list(&Filter::default(), page).await {
        Ok(listing) => {
            let now = clock.now();
            let mut findings = vec![amount(queue.name(), listing.depth)];
            findings.extend(age(&listing.messages, now));
            findings.extend(clocks(&listing.messages, now));
            findings
        }
        Err(error) => {
            let advice = match error.kind() {
                OpsErrorKind::NoSuchQueue => {
                    "start an endpoint once, or name the right queue with --error-queue"
                }
                OpsErrorKind::InUse => "look again once the other operator is done",
                _ => "see above",
            };
            let subject = format!("error queue {}", queue.name());
            vec![Finding::other(
                State::Bad,
                subject,
                format!("failed to {error}"),
                advice,
            )]
        }
    }
}

/// Whether the error queue is set up as endpoints want it: that it keeps what is in it as long as it can, and loses nothing.
pub async fn topology(transport: &Arc<dyn Transport>, error_queue: &Address) -> Finding {
    let topology = Topology {
        error_queues: vec![error_queue.clone()],
        ..Topology::default()
    };
    match transport.prepare(&topology, Declare::Verify).await {
        Ok(report) if report.unverified.is_empty() => {
            Finding::good("set-up", "the error queue is set up as it should be")
        }
        Ok(report) => Finding::good(
            "set-up",
            format!(
                "nothing is wrong; over this protocol can't be checked: {}",
                report.unverified.join(", ")
            ),
        ),
        Err(error) => {
            let advice = match error.kind() {
                TransportErrorKind::Topology => {
                    "set up the error queue as it says, or remove it while it is empty and start an endpoint"
                }
                _ => "it could not be looked at; see what it says",
            };
            Finding::other(State::Warning, "set-up", format!("failed to {error}"), advice)
        }
    }
}

/// What is set up can't even be opened, or spoken to.
pub fn unreachable(why: impl Into<String>) -> Finding {
    let advice = "nothing else could be looked at; see what it says";
    Finding::other(State::Bad, "connection", why, advice)
}

fn amount(name: &Address, depth: u64) -> Finding {
    let subject = format!("error queue {name}");
    match depth {
        0 => Finding::good(subject, "empty"),
        depth if depth < MANY => Finding::good(subject, format!("{depth} messages")),
        depth => Finding::other(
            State::Warning,
            subject,
            format!("{depth} messages"),
            "see what they have in common: longhaul errors group",
        ),
    }
}

fn age(messages: &[Failed], now: Timestamp) -> Option<Finding> {
    let oldest = messages.iter().filter_map(|failed| failed.last_failure).min()?;
    let days = now.since(oldest).as_secs() / 86_400;
    if now.since(oldest) <= OLD {
        return Some(Finding::good(
            "age of failures",
            format!("the oldest seen is {days} days old"),
        ));
    }
    Some(Finding::other(
        State::Warning,
        "age of failures",
        format!("one failed {days} days ago"),
        "replay, export or discard what is old: ids are remembered for 7 days by default, and SQS forgets messages after 14",
    ))
}

fn clocks(messages: &[Failed], now: Timestamp) -> Option<Finding> {
    let latest = messages.iter().filter_map(|failed| failed.last_failure).max()?;
    let ahead = latest.since(now);
    if ahead <= SKEW {
        return Some(Finding::good("clocks", "no failure lies in the future"));
    }
    Some(Finding::other(
        State::Warning,
        "clocks",
        format!(
            "a message failed {} s in the future of this machine",
            ahead.as_secs()
        ),
        "set the clocks of this machine and of the endpoints' machines by NTP",
    ))
}

/// Looks at a queue in which nothing should ever be.
pub async fn should_be_empty(admin: &dyn QueueAdmin, queue: &Address, advice: &str) -> Finding {
    let subject = format!("queue {queue}");
    match admin.depth(queue).await {
        Ok(depth) if depth.ready == 0 => Finding::good(subject, "empty, as it should be"),
        Ok(depth) => Finding::other(
            State::Warning,
            subject,
            format!("{} messages", depth.ready),
            advice,
        ),
        Err(error) if error.kind() == TransportErrorKind::Topology => Finding::other(
            State::Warning,
            subject,
            "it is missing",
            "start an endpoint once: it creates what is missing",
        ),
        Err(error) => Finding::other(State::Bad, subject, format!("failed to {error}"), "see above"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed_at(micros: i64) -> Failed {
        Failed {
            last_failure: Some(Timestamp::from_micros(micros)),
            ..Failed::default()
        }
    }

    #[test]
    fn when_failures_are_old_or_many_or_in_the_future_somebody_should_look() {
        let now = Timestamp::UNIX_EPOCH + OLD;
        let name = Address::new("error").expect("an address");
        assert_eq!(amount(&name, 999).state, State::Good);
        assert_eq!(amount(&name, 1_000).state, State::Warning);
        let state = |finding: Option<Finding>| finding.map(|finding| finding.state);
        assert_eq!(state(age(&[failed_at(0)], now)), Some(State::Good));
        assert_eq!(state(age(&[failed_at(-1)], now)), Some(State::Warning));
        assert_eq!(state(age(&[], now)), None);
        let ahead = i64::try_from((OLD + SKEW).as_micros()).expect("small");
        assert_eq!(state(clocks(&[failed_at(ahead)], now)), Some(State::Good));
        assert_eq!(state(clocks(&[failed_at(ahead + 1)], now)), Some(State::Warning));
    }
}
