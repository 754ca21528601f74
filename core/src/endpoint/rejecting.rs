//! What happens to a message that could not be read as far as its handlers.

use crate::endpoint::arrival::Rejected;
use crate::endpoint::error_queue::{give_up, to_error_queue};
use crate::endpoint::failing;
use crate::endpoint::gate::{Gate, gate, killed, look_up};
use crate::endpoint::known::Known;
use crate::endpoint::probing::pass;
use crate::endpoint::process::{Ending, duplicate, stuck};
use crate::endpoint::quarantine::Quarantine;
use crate::endpoint::shared::Shared;
use crate::handler::ErrorClass;

/// Does what follows from a failure to read a message, the `failed`th in a row; `None`: read it again, now.
pub(crate) async fn reject(shared: &Shared, rejected: &Rejected, failed: u32) -> Option<Ending> {
    let (original, error) = (rejected.original(), &rejected.error);
    // What can't be read does not say what it is kept in order by.
    let nothing = Quarantine::default();
    let Some(store) = shared.store.as_deref() else {
        let known = Known::storeless(original.envelope);
        return failing::fail(shared, &original, &known, failed, error, &nothing).await;
    };
    let Some(ticket) = &rejected.ticket else {
        shared.counters.failures.one();
        let known = Known::default().and_failed(1);
        return Some(to_error_queue(shared, &original, &known, error, &nothing).await);
    };
    ticket.ready().await;
    pass!(shared, Before LookUpRejected);
    let found = look_up(shared, store, &original, Vec::new()).await;
    pass!(shared, After LookUpRejected);
    let (inbox, row) = match found {
        Ok((inbox, row, _)) => (inbox, row),
        Err(error) => return Some(stuck(shared, original.id(), &error)),
    };
    let original = original.with_row(row);
    let known = match gate(shared, &original, inbox) {
        Gate::Open(known) => known,
        // Also a copy of something handled long ago, damaged on the way.
        Gate::Duplicate => return Some(duplicate(shared, original.id())),
        Gate::Killer(known) => return Some(give_up(shared, &original, &known, &killed(), &nothing).await),
    };
    if known.state.is_none() && original.row.is_none() && error.class() == ErrorClass::Unreadable {
        // Of what nobody knows or can read, the inbox keeps nothing, however much of it is sent.
        shared.counters.failures.one();
        let known = known.and_failed(1);
        return Some(to_error_queue(shared, &original, &known, error, &nothing).await);
    }
    failing::fail(shared, &original, &known, failed, error, &nothing).await
}
