//! Pending rows as the units of a trace leave them.

use std::collections::HashMap;

use longhaul_core::address::Address;
use longhaul_core::ids::MessageId;
use longhaul_core::store::{PendingChange, PendingRow};

/// Rows as they were committed, and what each of them sends.
#[derive(Default)]
pub(super) struct Rows<'a> {
    rows: HashMap<(&'a Address, &'a MessageId), PendingRow>,
    /// What each unit found, the last at the end: a crash may take units back.
    before: HashMap<&'a Address, Vec<Before<'a>>>,
}

/// A row as it was before the unit of that number.
struct Before<'a> {
    index: usize,
    id: &'a MessageId,
    row: Option<PendingRow>,
}

impl<'a> Rows<'a> {
    /// Takes in a change by the unit of that number; returns the id of what may leave from now on.
    pub(super) fn change(
        &mut self,
        endpoint: &'a Address,
        index: usize,
        change: &'a PendingChange,
    ) -> Option<MessageId> {
        let (id, row) = match change {
            PendingChange::Add(row) => (&row.id, (**row).clone()),
            PendingChange::Move { id, due, .. } => {
                let mut row = self.rows.get(&(endpoint, id))?.clone();
                row.token += 1;
                row.due = Some(*due);
                (id, row)
            }
            _ => return None,
        };
        let leaves = row.outgoing().id;
        let row = self.rows.insert((endpoint, id), row);
        let before = Before { index, id, row };
        self.before.entry(endpoint).or_default().push(before);
        Some(leaves)
    }

    /// The units from that one on are gone.
    pub(super) fn lose(&mut self, endpoint: &'a Address, from: usize) {
        let before = self.before.entry(endpoint).or_default();
        while let Some(Before { id, row, .. }) = before.pop_if(|before| before.index >= from) {
            match row {
                Some(row) => self.rows.insert((endpoint, id), row),
                None => self.rows.remove(&(endpoint, id)),
            };
        }
    }

    pub(super) fn get(&self, endpoint: &'a Address, id: &'a MessageId) -> Option<&PendingRow> {
        self.rows.get(&(endpoint, id))
    }
}
