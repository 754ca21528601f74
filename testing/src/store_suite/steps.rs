//! Random units: mostly such as an endpoint commits, some with expectations that don't hold.

use longhaul_core::clock::Timestamp;
use longhaul_core::ids::{Randomness, SeededRandomness};
use longhaul_core::store::InboxState;

use super::model::Model;
use super::sample::{Unit, at, id, key, message, timeout};

/// How many different messages, records and rows there are: few, so that units meet.
pub(super) const NAMES: u64 = 6;

/// Random units from a seed.
pub(super) struct Steps(SeededRandomness);

impl Steps {
    pub(super) const fn new(seed: u64) -> Self {
        Self(SeededRandomness::new(seed))
    }

    /// A number below `end`.
    pub(super) fn below(&self, end: u64) -> u64 {
        self.0.next_u64() % end
    }

    pub(super) fn name(&self) -> String {
        name(self.below(NAMES))
    }

    /// A time; the later the step, the later.
    pub(super) fn time(&self, step: u64) -> Timestamp {
        at(step + self.below(20))
    }

    /// A unit that mostly fits what `model` holds.
    pub(super) fn unit(&self, model: &Model, step: u64) -> Unit {
        let mut unit = Unit::new();
        for _ in 0..self.below(3) {
            unit = self.change_inbox(unit, model, step);
        }
        for _ in 0..self.below(3) {
            unit = self.change_record(unit, model, step);
        }
        for _ in 0..self.below(4) {
            unit = self.change_row(unit, model, step);
        }
        unit
    }

    fn is_wrong(&self) -> bool {
        self.below(12) == 0
    }

    fn state(&self) -> Option<InboxState> {
        let attempts = u32::from(self.below(2) == 0);
        let since = at(self.below(2));
        match self.below(6) {
            0 => None,
            1 => Some(InboxState::Scheduled {
                generation: 1,
                attempts,
                since,
            }),
            2 => Some(InboxState::Started {
                generation: 1,
                attempts,
                times: 1,
                since,
            }),
            3 => Some(InboxState::Failed { attempts }),
            _ => Some(InboxState::Done),
        }
    }

    fn change_inbox(&self, unit: Unit, model: &Model, step: u64) -> Unit {
        let name = self.name();
        let known = model.inbox.get(&id(&name)).map(|(state, _)| *state);
        let expected = if self.is_wrong() { self.state() } else { known };
        unit.inbox(&name, expected, self.state(), self.time(step))
    }

    fn change_record(&self, unit: Unit, model: &Model, step: u64) -> Unit {
        let name = self.name();
        let known = model.records.get(&key(&name)).map(|record| record.version);
        let expected = match self.below(12) {
            0 => Some(self.below(4)),
            1 => None,
            _ => known,
        };
        if let (0, Some(expected)) = (self.below(5), expected) {
            return unit.delete(&name, expected);
        }
        let expires = (self.below(3) == 0).then(|| self.time(step));
        let body = vec![b'x'; usize::try_from(self.below(6_000)).unwrap_or(0)];
        unit.put_until(&name, expected, body, expires)
    }

    fn change_row(&self, unit: Unit, model: &Model, step: u64) -> Unit {
        let name = self.name();
        let token = model.rows.get(&id(&name)).map_or(1, |row| row.token);
        let token = if self.is_wrong() { token + 1 } else { token };
        let time = self.time(step);
        match self.below(12) {
            0..=2 => unit.add(message(&name, time)),
            3..=5 => unit.add(timeout(&name, time, self.time(step))),
            6 => unit.sent(&name),
            7 => unit.alarm_sent(&name, token, time),
            8 if self.below(2) == 0 => unit.defer(&name, time),
            8 => unit.defer_if(&name, token, time),
            9 if model.rows.contains_key(&id(&name)) || self.is_wrong() => unit.fire(&name, token),
            10 if model.rows.contains_key(&id(&name)) || self.is_wrong() => unit.move_to(&name, time, time),
            11 if self.below(2) == 0 => unit.park(&name, "why"),
            11 => unit.park_if(&name, token, "why"),
            _ => unit.cancel(&name),
        }
    }
}

/// One of the names that steps use.
pub(super) fn name(number: u64) -> String {
    format!("x-{number}")
}
