//! Places the orders, each under an id of its own: whatever is not known to have been accepted is placed again.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use longhaul::prelude::*;

use crate::kill::accounts::OUTCOME_BYTES;
use crate::kill::folder::Folder;
use crate::kill::messages::PlaceOrder;
use crate::kill::orders;
use crate::kill::process::ProcessOptions;

/// How many orders may be on their way at once, so that the run lasts as long as there is something to kill.
const ON_THEIR_WAY: u64 = 400;
/// How many are placed side by side.
const SIDE_BY_SIDE: usize = 32;
const LOOK: Duration = Duration::from_millis(5);
const PAUSE: Duration = Duration::from_millis(200);

/// Places all orders that are not noted as placed, once the run has begun. Returns when all are.
pub(crate) async fn place(
    session: &Session,
    folder: &Folder,
    options: &ProcessOptions,
) -> anyhow::Result<()> {
    while !folder.begun().exists() {
        tokio::time::sleep(LOOK).await;
    }
    let placed = placed(folder)?;
    let notes = folder.notes(&folder.placed())?;
    let left = (1..=options.orders).filter(|order| !placed.contains(order));
    let placing = stream::iter(left).for_each_concurrent(SIDE_BY_SIDE, |order| {
        let notes = &notes;
        async move {
            // Orders that were given a place but not an answer count as on their way.
            while order > outcomes(folder) + ON_THEIR_WAY {
                tokio::time::sleep(LOOK).await;
            }
            while let Err(error) = place_one(session, &options.tag, order).await {
                eprintln!("the order {order} could not be placed, trying again: {error:#}");
                tokio::time::sleep(PAUSE).await;
            }
            if let Err(error) = notes.write(&format!("{order}")) {
                eprintln!("the order {order} could not be noted: {error}");
            }
        }
    });
    placing.await;
    Ok(())
}

async fn place_one(session: &Session, tag: &str, order: u64) -> anyhow::Result<()> {
    let mut batch = session.begin_as(MessageId::new(format!("{tag}place-{order}"))?);
    batch.send(PlaceOrder {
        order,
        cents: orders::cents(order),
    });
    Ok(batch.commit().await?)
}

/// The orders known to be placed.
pub(crate) fn placed(folder: &Folder) -> anyhow::Result<BTreeSet<u64>> {
    let text = match fs::read_to_string(folder.placed()) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        text => text?,
    };
    Ok(text.lines().map(str::parse).collect::<Result<_, _>>()?)
}

/// How many outcomes were seen, repetitions included.
fn outcomes(folder: &Folder) -> u64 {
    fs::metadata(folder.outcomes()).map_or(0, |file| file.len() / OUTCOME_BYTES)
}
