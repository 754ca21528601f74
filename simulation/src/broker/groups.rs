//! Queues that keep groups in order and drop copies, as FIFO queues of Amazon SQS do.

use std::collections::BTreeMap;
use std::time::Duration;

use longhaul_core::clock::Timestamp;
use longhaul_core::envelope::Envelope;
use longhaul_core::ordering;
use longhaul_core::probe::{Mutant, is_mutated};

use super::{Held, Queue};

/// For how long copies are dropped.
const REMEMBERED: Duration = Duration::from_secs(300);

/// The place of a message in its group.
#[derive(Debug)]
pub(super) struct Standing {
    group: String,
    /// When it joined the group, and which it was then.
    joined: (Timestamp, u64),
}

impl Standing {
    pub(super) fn of(envelope: &Envelope, joined: (Timestamp, u64)) -> Self {
        Self {
            group: ordering::group(envelope).into_owned(),
            joined,
        }
    }
}

impl Queue {
    /// The same of groups: a message waits for those that joined its group before, wherever they are.
    pub(super) fn first_in_order(
        &mut self,
        now: Timestamp,
    ) -> Result<((Timestamp, u64), Held), Option<Timestamp>> {
        let mut fronts: BTreeMap<&str, (Timestamp, u64)> = BTreeMap::new();
        let lent = self.lent.values().map(|lent| &lent.held);
        for standing in lent
            .chain(self.waiting.values())
            .filter_map(|held| held.standing.as_ref())
        {
            let front = fronts.entry(&standing.group).or_insert(standing.joined);
            *front = standing.joined.min(*front);
        }
        let is_front = |held: &Held| {
            let standing = held.standing.as_ref();
            standing.is_none_or(|standing| fronts.get(standing.group.as_str()) == Some(&standing.joined))
        };
        let mut there = self.waiting.range(..=(now, u64::MAX));
        let Some((place, _)) = there.find(|(_, held)| is_front(held)) else {
            let later = self.waiting.range((now, u64::MAX)..).next();
            return Err(later.map(|((at, _), _)| *at));
        };
        let place = *place;
        self.waiting.remove(&place).map(|held| (place, held)).ok_or(None)
    }

    /// Whether this copy is dropped, since it was taken within five minutes; if not, it is now.
    pub(super) fn has_taken(&mut self, envelope: &Envelope, joined: Timestamp, is_delayed: bool) -> bool {
        let copy = if is_mutated(Mutant::CopiesAlike) {
            envelope.id.clone()
        } else {
            ordering::copy(envelope)
        };
        let mut name = copy.as_str().to_owned();
        if is_delayed {
            name = format!("{name} {joined}");
        }
        self.copies.retain(|_, taken| joined.since(*taken) < REMEMBERED);
        if self.copies.contains_key(&name) {
            return true;
        }
        self.copies.insert(name, joined);
        false
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use longhaul_core::address::Address;
    use longhaul_core::headers::{self, Headers};
    use longhaul_core::ids::MessageId;

    use crate::broker::{Broker, Holder, Personality};

    use super::*;

    const HOLDER: Holder = Holder {
        process: 0,
        start: 0,
        connection: 0,
    };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn queue() -> Address {
        Address::new("sales").expect("an address")
    }

    fn message(id: &str, generation: &str) -> Arc<Envelope> {
        let pairs = [
            (headers::ORDERING_KEY, &id[..1]),
            (headers::GENERATION, generation),
        ];
        let headers: Headers = pairs.into_iter().collect();
        Arc::new(Envelope::new(
            MessageId::new(id).expect("an id"),
            headers,
            "{}".into(),
        ))
    }

    fn broker(sent: &[(&str, u64, u64)]) -> Broker {
        let mut broker = Broker::new(Personality::SqsFifo);
        broker.queues.entry(queue()).or_default();
        for (id, now, there) in sent {
            broker.take(&queue(), message(id, "0"), at(*now), at(*there), false);
        }
        broker
    }

    /// The next message and its loan; or when to look again.
    fn lend(broker: &mut Broker, now: u64) -> Result<(String, u64), Option<Timestamp>> {
        let loan = broker.lend(&queue(), HOLDER, at(now))?;
        Ok((loan.held.envelope.id.as_str().to_owned(), loan.tag))
    }

    #[test]
    fn when_a_message_is_lent_late_or_given_back_those_behind_it_wait_and_other_groups_do_not() {
        let mut broker = broker(&[("a1", 0, 50), ("a2", 0, 0), ("b1", 0, 0), ("b2", 0, 0)]);
        let (id, tag) = lend(&mut broker, 1).expect("b1 is there");
        assert_eq!(id, "b1");
        assert_eq!(
            lend(&mut broker, 1),
            Err(Some(at(50))),
            "a1 is late, and b1 is lent"
        );
        broker.settle(&queue(), tag, Some(at(9)));
        assert_eq!(lend(&mut broker, 8), Err(Some(at(9))));
        assert_eq!(lend(&mut broker, 9).map(|(id, _)| id), Ok("b1".to_owned()));
        let (id, tag) = lend(&mut broker, 50).expect("a1 is there");
        assert_eq!(id, "a1");
        broker.settle(&queue(), tag, None);
        assert_eq!(lend(&mut broker, 50).map(|(id, _)| id), Ok("a2".to_owned()));
    }

    #[test]
    fn when_a_message_is_delayed_it_joins_its_group_when_it_is_due() {
        let mut broker = broker(&[]);
        broker.take(&queue(), message("a1", "0"), at(0), at(20), true);
        broker.take(&queue(), message("a2", "0"), at(5), at(5), false);
        let (id, tag) = lend(&mut broker, 5).expect("a2 is there");
        assert_eq!(id, "a2");
        assert!(lend(&mut broker, 20).is_err(), "a2 is lent");
        broker.settle(&queue(), tag, None);
        assert_eq!(lend(&mut broker, 20).map(|(id, _)| id), Ok("a1".to_owned()));
    }

    #[test]
    fn when_a_copy_comes_within_five_minutes_it_is_dropped_and_another_one_is_not() {
        let mut broker = broker(&[("a1", 0, 0), ("a1", 299, 299)]);
        broker.take(&queue(), message("a1", "1"), at(299), at(299), false);
        let mut came = 0;
        while let Ok((_, tag)) = lend(&mut broker, 299) {
            broker.settle(&queue(), tag, None);
            came += 1;
        }
        assert_eq!(came, 2);
        broker.take(&queue(), message("a1", "0"), at(300), at(300), false);
        assert!(lend(&mut broker, 300).is_ok());
    }
}
