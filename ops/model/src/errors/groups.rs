//! Failed messages grouped by endpoint, type and error, in one pass and with bounded memory.

use std::collections::BTreeMap;

use longhaul_core::clock::Timestamp;
use serde::Serialize;

use crate::errors::failed::Failed;

/// The most groups that are kept apart; what belongs to none of them is counted together.
pub const MOST_GROUPS: usize = 1_000;
/// The longest error text of a group, in characters.
const TEXT: usize = 160;

/// What the messages of one group have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct GroupKey {
    /// The endpoint that gave up; empty where that is not said.
    pub endpoint: String,
    /// The wire name of the type; empty where that is not said.
    #[serde(rename = "type")]
    pub type_name: String,
    /// The word for why; empty where that is not said.
    pub reason: String,
    /// The first line of what the error said, with `#` for every word that holds a digit.
    pub text: String,
}

impl GroupKey {
    /// The group of a message.
    #[must_use]
    pub fn of(failed: &Failed) -> Self {
        Self {
            endpoint: failed.endpoint.clone().unwrap_or_default(),
            type_name: failed.type_name.clone(),
            reason: failed.reason.clone().unwrap_or_default(),
            text: pattern(failed.text.as_deref().unwrap_or_default()),
        }
    }
}

/// One group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// What its messages have in common.
    #[serde(flatten)]
    pub key: GroupKey,
    /// How many there are.
    pub count: u64,
    /// The earliest of their last failures.
    pub oldest: Option<Timestamp>,
    /// The latest of their last failures.
    pub newest: Option<Timestamp>,
    /// The id of one of them.
    pub example: Option<String>,
}

/// All groups of a pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups {
    groups: BTreeMap<GroupKey, Group>,
    /// Messages that found no room for one more group.
    pub others: u64,
    /// All messages that were counted.
    pub messages: u64,
}

impl Groups {
    /// Counts one more message.
    pub fn add(&mut self, failed: &Failed) {
        self.messages += 1;
        let key = GroupKey::of(failed);
        if self.groups.len() >= MOST_GROUPS && !self.groups.contains_key(&key) {
            self.others += 1;
            return;
        }
        let group = self.groups.entry(key.clone()).or_insert_with(|| Group {
            key,
            count: 0,
            oldest: None,
            newest: None,
            example: failed.id.clone(),
        });
        group.count += 1;
        if let Some(last) = failed.last_failure {
            group.oldest = Some(group.oldest.map_or(last, |oldest| oldest.min(last)));
            group.newest = group.newest.max(Some(last));
        }
    }

    /// The groups, the largest first.
    #[must_use]
    pub fn by_count(self) -> Vec<Group> {
        let mut groups: Vec<Group> = self.groups.into_values().collect();
        groups.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.key.cmp(&other.key)));
        groups
    }
}

/// Ids and amounts differ from message to message while the error is the same.
fn pattern(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let words = line.split_whitespace().map(|word| {
        if word.contains(|c: char| c.is_ascii_digit()) {
            "#"
        } else {
            word
        }
    });
    let joined = words.collect::<Vec<_>>().join(" ");
    joined.chars().take(TEXT).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn failed(text: &str, second: u64) -> Failed {
        Failed {
            id: Some(text.to_owned()),
            text: Some(text.to_owned()),
            last_failure: Some(Timestamp::UNIX_EPOCH + Duration::from_secs(second)),
            ..Failed::default()
        }
    }

    #[test]
    fn when_errors_differ_in_numbers_only_they_are_one_group() {
        let mut groups = Groups::default();
        groups.add(&failed("charge 17 EUR: timed out", 5));
        groups.add(&failed("charge 4 EUR: timed out\nmore", 3));
        groups.add(&failed("no such card", 9));
        let groups = groups.by_count();
        assert_eq!((groups.len(), groups[0].count), (2, 2));
        assert_eq!(groups[0].key.text, "charge # EUR: timed out");
        let at = |second| Some(Timestamp::UNIX_EPOCH + Duration::from_secs(second));
        assert_eq!((groups[0].oldest, groups[0].newest), (at(3), at(5)));
    }

    #[test]
    fn when_every_error_is_another_one_memory_is_bounded_and_none_is_forgotten() {
        let mut groups = Groups::default();
        let word = |number: usize| -> String {
            let letters = number.to_string();
            letters
                .bytes()
                .map(|digit| char::from(digit - b'0' + b'a'))
                .collect()
        };
        for number in 0..MOST_GROUPS + 50 {
            groups.add(&failed(&word(number), 1));
        }
        assert_eq!((groups.others, groups.messages), (50, MOST_GROUPS as u64 + 50));
        assert_eq!(groups.by_count().len(), MOST_GROUPS);
    }
}
