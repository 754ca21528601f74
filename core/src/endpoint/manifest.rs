//! What the last start subscribed to, so that a type no longer handled is unbound.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::endpoint::EndpointError;
use crate::endpoint::probing::pass;
use crate::endpoint::shared::Shared;
use crate::ids::derived_message_id;
use crate::store::{LoadRequest, RecordChange, RecordKey, StoreErrorKind, UnitOfWork};
use crate::transport::Subscription;

/// The subscriptions as they are stored, and the version of the record.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    pub(crate) subscriptions: Vec<Subscription>,
    version: Option<u64>,
}

/// The stored form.
#[derive(Serialize, Deserialize)]
struct StoredManifest {
    format: u32,
    subscriptions: Vec<Subscription>,
}

const FORMAT: u32 = 1;

fn key() -> RecordKey {
    RecordKey::new("longhaul/manifest", "subscriptions")
}

pub(crate) async fn load(shared: &Shared) -> Result<Manifest, EndpointError> {
    let Some(store) = shared.store.as_deref() else {
        return Ok(Manifest::default());
    };
    let request = LoadRequest {
        inbox: derived_message_id(&["longhaul/manifest"], 0),
        records: vec![key()],
        pending: None,
        now: shared.clock.now(),
    };
    let loaded = shared
        .load(store, &request)
        .await
        .map_err(|error| EndpointError::store(error.to_string()))?;
    let Some(record) = loaded.records.into_iter().next().flatten() else {
        return Ok(Manifest::default());
    };
    let stored: StoredManifest = serde_json::from_slice(&record.body)
        .map_err(|error| EndpointError::store(format!("read the manifest of subscriptions: {error}")))?;
    if stored.format > FORMAT {
        return Err(EndpointError::store(
            "read the manifest of subscriptions: a newer version wrote it; start that version again",
        ));
    }
    Ok(Manifest {
        subscriptions: stored.subscriptions,
        version: Some(record.version),
    })
}

pub(crate) async fn save(
    shared: &Shared,
    had: Manifest,
    wanted: Vec<Subscription>,
) -> Result<(), EndpointError> {
    let Some(store) = shared.store.as_deref() else {
        return Ok(());
    };
    if had.version.is_some() && had.subscriptions == wanted {
        return Ok(());
    }
    let stored = StoredManifest {
        format: FORMAT,
        subscriptions: wanted,
    };
    pass!(shared, Before SaveManifest);
    let body = serde_json::to_vec(&stored)
        .map_err(|error| EndpointError::store(format!("write the manifest of subscriptions: {error}")))?;
    let put = RecordChange::Put {
        key: key(),
        expected: had.version,
        body: Bytes::from(body),
        expires: None,
    };
    let saved = shared
        .commit(
            store,
            UnitOfWork {
                records: vec![put],
                ..UnitOfWork::default()
            },
        )
        .await;
    pass!(shared, After SaveManifest);
    match saved {
        Ok(()) => Ok(()),
        // Another process of this endpoint starts at the same moment and writes the same.
        Err(error) if error.kind() == StoreErrorKind::Conflict => Ok(()),
        Err(error) => Err(EndpointError::store(error.to_string())),
    }
}
