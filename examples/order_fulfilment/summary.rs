//! What the ledgers say in the end, and whether it adds up.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::ledger::{Entry, What};

/// The figures.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    pub(crate) placed: u64,
    pub(crate) completed: u64,
    pub(crate) cancelled: u64,
    pub(crate) cancelled_declined: u64,
    pub(crate) cancelled_unanswered: u64,
    pub(crate) reserved: u64,
    pub(crate) released: u64,
    pub(crate) shipped: u64,
    pub(crate) charged_cents: u64,
    pub(crate) refunded_cents: u64,
    /// The price of the orders that were completed.
    pub(crate) completed_cents: u64,
}

impl Summary {
    /// Adds up the entries of all ledgers.
    pub(crate) fn of(entries: &[Entry]) -> Self {
        let count = |what| entries.iter().filter(|entry| entry.what == what).count() as u64;
        let cents = |what| {
            entries
                .iter()
                .filter(|entry| entry.what == what)
                .map(|entry| entry.cents)
                .sum()
        };
        let placed = entries.iter().filter(|entry| entry.what == What::Placed);
        let prices: BTreeMap<u64, u64> = placed.map(|entry| (entry.order, entry.cents)).collect();
        let completed = entries.iter().filter(|entry| entry.what == What::Completed);
        let (cancelled_declined, cancelled_unanswered) =
            (count(What::CancelledDeclined), count(What::CancelledUnanswered));
        Self {
            placed: count(What::Placed),
            completed: count(What::Completed),
            cancelled: cancelled_declined + cancelled_unanswered,
            cancelled_declined,
            cancelled_unanswered,
            reserved: count(What::Reserved),
            released: count(What::Released),
            shipped: count(What::Shipped),
            charged_cents: cents(What::Charged),
            refunded_cents: cents(What::Refunded),
            completed_cents: completed.filter_map(|entry| prices.get(&entry.order)).sum(),
        }
    }

    /// What does not add up.
    pub(crate) fn faults(&self) -> Vec<&'static str> {
        let rules = [
            (
                self.placed == self.completed + self.cancelled,
                "each order placed is completed or cancelled",
            ),
            (self.completed == self.shipped, "each order completed is shipped"),
            (
                self.reserved == self.released + self.shipped,
                "stock reserved is shipped or released",
            ),
            (
                self.charged_cents == self.refunded_cents + self.completed_cents,
                "money charged is refunded or belongs to a completed order",
            ),
        ];
        rules
            .into_iter()
            .filter(|(holds, _)| !holds)
            .map(|(_, rule)| rule)
            .collect()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let money = |cents: u64| format!("{}.{:02}", cents / 100, cents % 100);
        let rows = [
            ("orders placed", self.placed.to_string()),
            ("  completed", self.completed.to_string()),
            (
                "  cancelled, the card was declined",
                self.cancelled_declined.to_string(),
            ),
            (
                "  cancelled, the bank did not answer",
                self.cancelled_unanswered.to_string(),
            ),
            ("stock reserved", self.reserved.to_string()),
            ("  shipped", self.shipped.to_string()),
            ("  released again", self.released.to_string()),
            ("money charged", money(self.charged_cents)),
            ("  for completed orders", money(self.completed_cents)),
            ("  refunded", money(self.refunded_cents)),
        ];
        for (name, value) in rows {
            writeln!(f, "{name:<38}{value:>12}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(order: u64, what: What, cents: u64) -> Entry {
        Entry {
            key: format!("{order} {what:?}"),
            order,
            what,
            cents,
        }
    }

    fn fine() -> Vec<Entry> {
        vec![
            entry(1, What::Placed, 700),
            entry(1, What::Reserved, 0),
            entry(1, What::Charged, 700),
            entry(1, What::Shipped, 0),
            entry(1, What::Completed, 0),
            entry(2, What::Placed, 900),
            entry(2, What::Reserved, 0),
            entry(2, What::Charged, 900),
            entry(2, What::Refunded, 900),
            entry(2, What::Released, 0),
            entry(2, What::CancelledUnanswered, 0),
        ]
    }

    #[test]
    fn when_every_order_has_one_ending_it_adds_up() {
        let summary = Summary::of(&fine());
        assert_eq!(summary.faults(), [""; 0]);
        assert_eq!((summary.placed, summary.completed, summary.cancelled), (2, 1, 1));
        assert_eq!(
            (
                summary.charged_cents,
                summary.refunded_cents,
                summary.completed_cents
            ),
            (1600, 900, 700)
        );
    }

    #[test]
    fn when_anything_is_missing_or_twice_it_does_not_add_up() {
        for at in 0..fine().len() {
            let mut missing = fine();
            missing.remove(at);
            assert_ne!(
                Summary::of(&missing).faults(),
                [""; 0],
                "without {:?}",
                fine()[at]
            );
            let mut twice = fine();
            twice.push(fine()[at].clone());
            assert_ne!(Summary::of(&twice).faults(), [""; 0], "twice {:?}", fine()[at]);
        }
    }
}
