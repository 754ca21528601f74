//! Which failures are told at error level: each kind once in a while, and not once per message.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::handler::HandlerError;

/// How long more of the same is only counted.
const QUIET: Duration = Duration::from_secs(60);
/// The most kinds that are told apart. With more, the one told longest ago is forgotten.
const KINDS: usize = 256;
/// So much of an error's text tells it apart from others: numbers, which differ from message to message, left out.
const SHOWN: usize = 120;

/// What was told, by type of message and error.
#[derive(Debug, Default)]
pub(crate) struct Alarms(Mutex<BTreeMap<(String, String), Told>>);

#[derive(Debug)]
struct Told {
    at: Timestamp,
    /// How often it happened since.
    more: u64,
}

impl Alarms {
    /// Whether this failure is to be told now: `Some` with how many of its kind were not, since the last one that was.
    pub(crate) fn raise(&self, type_name: &str, error: &HandlerError, now: Timestamp) -> Option<u64> {
        let kind = (type_name.to_owned(), essence(&error.to_string()));
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = told.get_mut(&kind) {
            let is_quiet = now >= last.at && now.since(last.at) < QUIET;
            if is_quiet {
                last.more += 1;
                return None;
            }
            let more = std::mem::take(&mut last.more);
            last.at = now;
            return Some(more);
        }
        if told.len() >= KINDS {
            let oldest = told.iter().min_by_key(|(_, told)| told.at);
            if let Some(oldest) = oldest.map(|(kind, _)| kind.clone()) {
                told.remove(&oldest);
            }
        }
        told.insert(kind, Told { at: now, more: 0 });
        Some(0)
    }
}

/// The beginning of a text without its digits.
fn essence(text: &str) -> String {
    text.chars()
        .filter(|letter| !letter.is_ascii_digit())
        .take(SHOWN)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn when_the_same_fails_again_and_again_it_is_told_once_a_minute_with_a_count() {
        let alarms = Alarms::default();
        let error = |order: u32| HandlerError::unexpected(format!("charge order {order}: no route"));
        assert_eq!(alarms.raise("charge", &error(1), at(0)), Some(0));
        for order in 0..10 {
            assert_eq!(alarms.raise("charge", &error(order), at(59)), None);
        }
        assert_eq!(alarms.raise("refund", &error(1), at(59)), Some(0), "another type");
        assert_eq!(alarms.raise("charge", &error(2), at(60)), Some(10));
        assert_eq!(
            alarms.raise("charge", &error(2), at(10)),
            Some(0),
            "the clock was set back"
        );
    }

    #[test]
    fn when_there_are_very_many_kinds_the_oldest_is_forgotten() {
        let alarms = Alarms::default();
        let kind =
            |number: usize| HandlerError::unexpected("x".repeat(number % 100) + &"y".repeat(number / 100));
        for number in 0..=KINDS {
            assert_eq!(
                alarms.raise("", &kind(number), at(number as u64 / 8)),
                Some(0),
                "{number}"
            );
        }
        assert_eq!(alarms.raise("", &kind(KINDS), at(40)), None);
        assert_eq!(alarms.raise("", &kind(0), at(40)), Some(0));
        assert_eq!(alarms.0.lock().expect("whole").len(), KINDS);
    }
}
