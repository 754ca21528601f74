//! Restarting an endpoint within one process.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use futures_executor::block_on;
use longhaul_core::address::Address;
use longhaul_core::clock::Timestamp;
use longhaul_core::envelope::Envelope;
use longhaul_core::headers::Headers;
use longhaul_core::ids::MessageId;
use longhaul_core::store::{Durability, PendingChange, PendingKind, PendingRow, Persistence, UnitOfWork};
use longhaul_core::transport::Destination;
use longhaul_memory::Memory;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const LEASE: Duration = Duration::from_secs(60);

#[test]
fn when_an_endpoint_stops_its_claims_end_with_it() -> Result<(), Box<dyn Error>> {
    block_on(async {
        let memory = Memory::new();
        let sales = Address::new("sales")?;
        let store = memory.open(&sales).await?;
        let pending = vec![PendingChange::Add(Box::new(row()?))];
        store
            .commit(UnitOfWork {
                pending,
                ..UnitOfWork::default()
            })
            .await?;
        assert_eq!(store.claim_due(NOW, LEASE, 10).await?.rows.len(), 1);

        let beside = memory.open(&sales).await?;
        assert_eq!(beside.claim_due(NOW, LEASE, 10).await?.rows, []);
        drop(store);
        assert_eq!(beside.claim_due(NOW, LEASE, 10).await?.rows, [row()?]);
        Ok(())
    })
}

#[test]
fn when_it_pretends_to_be_durable_it_says_so_for_good() -> Result<(), Box<dyn Error>> {
    block_on(async {
        let memory = Memory::pretending_durable();
        let store = memory.clone().open(&Address::new("sales")?).await?;
        assert_eq!(store.durability(), Durability::Synced);
        assert!(!store.is_shared());
        let honest = Memory::default().open(&Address::new("sales")?).await?;
        assert_eq!(honest.durability(), Durability::Memory);
        Ok(())
    })
}

fn row() -> Result<PendingRow, Box<dyn Error>> {
    let id = MessageId::new("r-1")?;
    Ok(PendingRow {
        envelope: Envelope::new(id.clone(), Headers::new(), Bytes::new()),
        id,
        kind: PendingKind::Message,
        owner: None,
        name: String::new(),
        to: Destination::Queue(Address::new("billing")?),
        due: None,
        attention: NOW,
        token: 0,
        alarm_sent: false,
        parked: None,
    })
}
