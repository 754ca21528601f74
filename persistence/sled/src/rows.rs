//! What one unit makes of pending rows.

use std::collections::BTreeMap;

use longhaul_core::ids::MessageId;
use longhaul_core::store::{PendingChange, PendingRow, StoreError};

use crate::endpoint::Endpoint;
use crate::fault::{self, conflict};
use crate::in_flight::Touched;
use crate::stored_row;

/// The rows that a unit changes; the changes take effect in order.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    endpoint: &'a Endpoint,
    /// What the unit leaves behind so far; none for what goes.
    pub(crate) known: BTreeMap<MessageId, Option<PendingRow>>,
}

impl<'a> Rows<'a> {
    pub(crate) const fn of(endpoint: &'a Endpoint) -> Self {
        Self {
            endpoint,
            known: BTreeMap::new(),
        }
    }

    pub(crate) async fn change(&mut self, change: PendingChange) -> Result<(), StoreError> {
        match change {
            PendingChange::Add(row) => self.set(*row),
            PendingChange::Sent(id) | PendingChange::Cancel(id) => {
                self.known.insert(id, None);
            }
            PendingChange::Fire { id, token } => {
                if self.token(&id).await != Some(token) {
                    return Err(conflict(&format!("the timeout {id} is gone or was moved")));
                }
                self.known.insert(id, None);
            }
            PendingChange::Move { id, due, attention } => {
                let row = self.row(&id).await?;
                let row = row.ok_or_else(|| conflict(&format!("the timeout {id} is gone")))?;
                self.set(PendingRow {
                    due: Some(due),
                    attention,
                    token: row.token.saturating_add(1),
                    alarm_sent: false,
                    parked: None,
                    ..row
                });
            }
            PendingChange::AlarmSent { id, token, attention } if self.token(&id).await == Some(token) => {
                let row = self.row(&id).await?;
                self.set_if(row.map(|row| PendingRow {
                    attention,
                    alarm_sent: true,
                    ..row
                }));
            }
            PendingChange::AlarmSent { .. } => {}
            PendingChange::Defer { id, token, attention } => {
                let row = self.row(&id).await?.filter(|row| has(row, token));
                self.set_if(row.map(|row| PendingRow { attention, ..row }));
            }
            PendingChange::Park { id, token, reason } => {
                let row = self.row(&id).await?.filter(|row| has(row, token));
                self.set_if(row.map(|row| PendingRow {
                    parked: Some(reason),
                    ..row
                }));
            }
        }
        Ok(())
    }

    fn set(&mut self, row: PendingRow) {
        self.known.insert(row.id.clone(), Some(row));
    }

    fn set_if(&mut self, row: Option<PendingRow>) {
        if let Some(row) = row {
            self.set(row);
        }
    }

    /// The token of the row, if there is one.
    async fn token(&self, id: &MessageId) -> Option<u64> {
        if let Some(row) = self.known.get(id) {
            return row.as_ref().map(|row| row.token);
        }
        self.endpoint.known(&Touched::Row(id.clone())).await;
        self.endpoint.entry(id).map(|entry| entry.token)
    }

    /// The row, if there is one.
    async fn row(&self, id: &MessageId) -> Result<Option<PendingRow>, StoreError> {
        if let Some(row) = self.known.get(id) {
            return Ok(row.clone());
        }
        if self.token(id).await.is_none() {
            return Ok(None);
        }
        self.endpoint.stored_row(id)
    }
}

/// Whether the row still has the token, if one is asked for.
fn has(row: &PendingRow, token: Option<u64>) -> bool {
    token.is_none_or(|token| row.token == token)
}

impl Endpoint {
    /// The row as it is in the database.
    pub(crate) fn stored_row(&self, id: &MessageId) -> Result<Option<PendingRow>, StoreError> {
        let value = self.database.get(&self.keys.row(id)).map_err(fault::on_read)?;
        let row = value.map(|value| stored_row::decode(&value)).transpose();
        row.map_err(|why| fault::unreadable(&format!("the pending row {id}"), why))
    }
}
