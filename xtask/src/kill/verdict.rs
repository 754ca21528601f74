//! Judges what a run left behind: every order exactly one outcome, every effect exactly once, and the money adds up.

use std::collections::BTreeMap;

use longhaul::message::Message;
use longhaul::sagas::Outcome;
use serde::Serialize;

use crate::kill::accounts::Ending;
use crate::kill::evidence::Evidence;
use crate::kill::ledger::Deed;
use crate::kill::messages::{RecallParcel, ShipOrder};
use crate::kill::orders::{self, Kind};

/// What is wrong, and what came out.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Verdict {
    /// What should be there and is not.
    pub(crate) lost: Vec<String>,
    /// What is there more often than it should be.
    pub(crate) duplicated: Vec<String>,
    /// What should not be there at all.
    pub(crate) unexpected: Vec<String>,
    pub(crate) completed: u64,
    pub(crate) cancelled: u64,
    pub(crate) money: Money,
}

/// Where the money is, in cents.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct Money {
    pub(crate) charged: u64,
    pub(crate) refunded: u64,
    /// Of the orders that are completed.
    pub(crate) earned: u64,
    /// In the accounts.
    pub(crate) booked: u64,
}

impl Money {
    pub(crate) const fn adds_up(&self) -> bool {
        self.earned == self.booked
            && self.refunded <= self.charged
            && self.charged - self.refunded == self.earned
    }
}

/// How often the third party did what for one order.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Deeds {
    charges: u64,
    refunds: u64,
    parcels: u64,
    recalls: u64,
}

impl Verdict {
    pub(crate) fn is_good(&self) -> bool {
        self.lost.is_empty()
            && self.duplicated.is_empty()
            && self.unexpected.is_empty()
            && self.money.adds_up()
    }

    /// Judges a run of that many orders.
    pub(crate) fn of(evidence: &Evidence, orders: u64) -> Self {
        let mut verdict = Self::default();
        let mut deeds: BTreeMap<u64, Deeds> = BTreeMap::new();
        for entry in &evidence.entries {
            let of_order = deeds.entry(entry.order).or_default();
            let (count, cents) = match entry.deed {
                Deed::Charge => (&mut of_order.charges, orders::cents(entry.order)),
                Deed::Refund => (&mut of_order.refunds, orders::cents(entry.order)),
                Deed::Parcel => (&mut of_order.parcels, 0),
                Deed::Recall => (&mut of_order.recalls, 0),
            };
            *count += 1;
            if entry.cents != cents {
                verdict.unexpected.push(format!("{entry:?}: the amount is wrong"));
            }
            match entry.deed {
                Deed::Charge => verdict.money.charged += entry.cents,
                Deed::Refund => verdict.money.refunded += entry.cents,
                Deed::Parcel | Deed::Recall => {}
            }
        }
        for order in 1..=orders {
            verdict.judge(evidence, order, deeds.remove(&order).unwrap_or_default());
        }
        verdict.judge_strangers(evidence, orders, deeds.keys());
        verdict.money.booked = evidence.accounts.iter().map(|account| account.cents).sum();
        let entries: u64 = evidence.accounts.iter().map(|account| account.entries).sum();
        verdict.compare(
            "entries in the accounts",
            entries,
            verdict.completed + verdict.cancelled,
        );
        verdict
            .unexpected
            .extend(evidence.left.iter().map(|left| format!("left behind: {left}")));
        verdict
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one rule after the other, read from top to bottom"
    )]
    fn judge(&mut self, evidence: &Evidence, order: u64, deeds: Deeds) {
        if !evidence.placed.contains(&order) {
            self.unexpected
                .push(format!("the order {order} was never confirmed"));
        }
        let endings = evidence.endings.get(&order).map_or(&[][..], Vec::as_slice);
        self.compare(&format!("outcomes of the order {order}"), endings.len() as u64, 1);
        let Some(ending) = endings.first() else {
            return;
        };
        let kind = orders::kind(order);
        let wanted = match ending {
            Ending::Completed { cents, told } => {
                self.completed += 1;
                self.money.earned += cents;
                if *cents != orders::cents(order)
                    || *told != (1, 1)
                    || !matches!(kind, Kind::Plain | Kind::Slow)
                {
                    self.unexpected
                        .push(format!("the order {order} ({kind:?}) ended with {ending:?}"));
                }
                Deeds {
                    charges: 1,
                    parcels: 1,
                    ..Deeds::default()
                }
            }
            Ending::Cancelled => {
                self.cancelled += 1;
                match kind {
                    Kind::Plain => {
                        self.unexpected.push(format!("the order {order} was cancelled"));
                        Deeds::default()
                    }
                    Kind::CardRefused => Deeds::default(),
                    Kind::OutOfStock => Deeds {
                        charges: 1,
                        refunds: 1,
                        ..Deeds::default()
                    },
                    // Patience may have ended before shipping was asked.
                    Kind::Slow => {
                        let parcels = deeds.parcels.min(1);
                        Deeds {
                            charges: 1,
                            refunds: 1,
                            parcels,
                            recalls: parcels,
                        }
                    }
                }
            }
        };
        self.compare(
            &format!("charges for the order {order}"),
            deeds.charges,
            wanted.charges,
        );
        self.compare(
            &format!("refunds for the order {order}"),
            deeds.refunds,
            wanted.refunds,
        );
        self.compare(
            &format!("parcels for the order {order}"),
            deeds.parcels,
            wanted.parcels,
        );
        self.compare(
            &format!("recalls for the order {order}"),
            deeds.recalls,
            wanted.recalls,
        );
        self.judge_shipping(evidence, order, wanted);
        self.judge_saga(evidence, order, ending);
    }

    /// What shipping committed must be what its carrier did.
    fn judge_shipping(&mut self, evidence: &Evidence, order: u64, wanted: Deeds) {
        let desk = evidence.desk.get(&order).map_or(&[][..], Vec::as_slice);
        let count = |name| desk.iter().filter(|handled| handled.as_str() == name).count() as u64;
        let asked = if orders::kind(order) == Kind::OutOfStock {
            1
        } else {
            wanted.parcels
        };
        self.compare(
            &format!("commits of ShipOrder {order}"),
            count(ShipOrder::NAME),
            asked,
        );
        self.compare(
            &format!("commits of RecallParcel {order}"),
            count(RecallParcel::NAME),
            wanted.recalls,
        );
    }

    fn judge_saga(&mut self, evidence: &Evidence, order: u64, ending: &Ending) {
        let wanted = match ending {
            Ending::Completed { .. } => Outcome::Completed,
            Ending::Cancelled => Outcome::Compensated,
        };
        match evidence.sagas.get(&order) {
            None => self.lost.push(format!("the saga of the order {order}")),
            Some((_, Some(outcome))) if *outcome == wanted => {}
            Some((status, outcome)) => {
                let text = format!(
                    "the saga of the order {order}, which ended with {ending:?}, is {status}, {outcome:?}"
                );
                self.unexpected.push(text);
            }
        }
    }

    fn judge_strangers<'a>(
        &mut self,
        evidence: &'a Evidence,
        orders: u64,
        deeds: impl Iterator<Item = &'a u64>,
    ) {
        let known = evidence
            .endings
            .keys()
            .chain(evidence.desk.keys())
            .chain(evidence.sagas.keys());
        let strangers = known.chain(deeds).filter(|order| !(1..=orders).contains(*order));
        self.unexpected
            .extend(strangers.map(|order| format!("the order {order} was never placed")));
    }

    fn compare(&mut self, what: &str, found: u64, wanted: u64) {
        let text = || format!("{found} {what}, {wanted} wanted");
        if found < wanted {
            self.lost.push(text());
        } else if found > wanted && wanted > 0 {
            self.duplicated.push(text());
        } else if found > wanted {
            self.unexpected.push(text());
        }
    }
}

#[cfg(test)]
mod tests {
    use longhaul::sagas::Status;

    use super::*;
    use crate::kill::accounts::Account;
    use crate::kill::ledger::Entry;

    const ORDERS: u64 = 3;

    /// Two orders completed, the third one's card refused.
    fn good() -> Evidence {
        let mut evidence = Evidence {
            placed: (1..=ORDERS).collect(),
            ..Evidence::default()
        };
        let mut account = Account::default();
        for order in [1, 2] {
            let cents = orders::cents(order);
            evidence.entries.push(Entry {
                deed: Deed::Charge,
                order,
                cents,
            });
            evidence.entries.push(Entry {
                deed: Deed::Parcel,
                order,
                cents: 0,
            });
            evidence
                .endings
                .insert(order, vec![Ending::Completed { cents, told: (1, 1) }]);
            evidence.desk.insert(order, vec![ShipOrder::NAME.to_owned()]);
            evidence
                .sagas
                .insert(order, (Status::Completed, Some(Outcome::Completed)));
            account.cents += cents;
        }
        evidence.endings.insert(3, vec![Ending::Cancelled]);
        evidence
            .sagas
            .insert(3, (Status::Compensated, Some(Outcome::Compensated)));
        account.entries = ORDERS;
        evidence.accounts.push(account);
        evidence
    }

    fn verdict_after(change: impl FnOnce(&mut Evidence)) -> Verdict {
        let mut evidence = good();
        change(&mut evidence);
        Verdict::of(&evidence, ORDERS)
    }

    #[test]
    fn when_all_is_well_nothing_is_reported() {
        let verdict = verdict_after(|_| {});
        assert!(verdict.is_good(), "{verdict:?}");
        assert_eq!((verdict.completed, verdict.cancelled), (2, 1));
    }

    #[test]
    fn when_a_card_is_charged_twice_under_two_keys_it_shows() {
        let verdict = verdict_after(|evidence| evidence.entries.push(evidence.entries[0].clone()));
        assert_eq!(verdict.duplicated, ["2 charges for the order 1, 1 wanted"]);
        assert!(!verdict.money.adds_up());
    }

    #[test]
    fn when_a_message_commits_twice_it_shows() {
        let verdict = verdict_after(|evidence| {
            evidence
                .desk
                .get_mut(&2)
                .unwrap()
                .push(ShipOrder::NAME.to_owned())
        });
        assert_eq!(verdict.duplicated, ["2 commits of ShipOrder 2, 1 wanted"]);
        let verdict = verdict_after(|evidence| {
            let again = evidence.endings[&1][0].clone();
            evidence.endings.get_mut(&1).unwrap().push(again);
        });
        assert_eq!(verdict.duplicated, ["2 outcomes of the order 1, 1 wanted"]);
        assert!(!verdict_after(|evidence| evidence.accounts[0].cents += 1).is_good());
    }

    #[test]
    fn when_something_is_missing_it_is_lost() {
        let verdict = verdict_after(|evidence| drop(evidence.endings.remove(&3)));
        assert!(
            verdict.lost[0].starts_with("0 outcomes of the order 3"),
            "{verdict:?}"
        );
        let verdict = verdict_after(|evidence| {
            evidence.entries.pop();
        });
        assert_eq!(verdict.lost, ["0 parcels for the order 2, 1 wanted"]);
        let verdict = verdict_after(|evidence| {
            evidence.sagas.remove(&1);
        });
        assert_eq!(verdict.lost, ["the saga of the order 1"]);
    }

    #[test]
    fn when_something_is_there_that_should_not_be_it_is_unexpected() {
        let refused = Entry {
            deed: Deed::Charge,
            order: 3,
            cents: orders::cents(3),
        };
        assert!(
            !verdict_after(|evidence| evidence.entries.push(refused))
                .unexpected
                .is_empty()
        );
        let stranger = Entry {
            deed: Deed::Parcel,
            order: 99,
            cents: 0,
        };
        assert!(
            !verdict_after(|evidence| evidence.entries.push(stranger))
                .unexpected
                .is_empty()
        );
        assert!(!verdict_after(|evidence| evidence.left.push(String::from("a timeout"))).is_good());
        let active = (Status::Active, None);
        assert!(
            !verdict_after(|evidence| {
                evidence.sagas.insert(1, active);
            })
            .is_good()
        );
    }
}
