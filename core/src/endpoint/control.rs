//! Takes the messages of [`crate::control`], and remembers what they changed.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::control::{ChangeLimit, LetPass};
use crate::endpoint::EndpointError;
use crate::endpoint::gates::Gates;
use crate::endpoint::quarantine;
use crate::endpoint::settings;
use crate::endpoint::shared::Shared;
use crate::handler::{Context, ErrorClass, Handler, HandlerError, HandlerResult, Received};
use crate::ids::derived_message_id;
use crate::message::{Message, MessageKind};
use crate::recoverability::Limit;
use crate::stateful::{Accepts, Effects, StatefulHandler, Taken, Work};
use crate::store::{LoadRequest, RecordChange, RecordKey};

const COLLECTION: &str = "longhaul/limits";
const FORMAT: u32 = 1;

/// The stored form.
#[derive(Serialize, Deserialize)]
struct StoredLimit {
    format: u32,
    limit: Limit,
}

fn key(message: &str) -> RecordKey {
    RecordKey::new(COLLECTION, message)
}

/// Changes limits. To set the same again does no harm.
#[derive(Debug)]
pub(crate) struct LimitControl {
    pub(crate) gates: Arc<Gates>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Handler<ChangeLimit> for LimitControl {
    async fn handle(&self, change: ChangeLimit, _ctx: &mut Context) -> HandlerResult {
        let ChangeLimit { message, limit } = change;
        let Some(before) = self.gates.limit_of(&message) else {
            return Err(HandlerError::permanent(format!(
                "change the limit of {message:?}: the endpoint has none for it; give it one with `.limit::<…>(…)`"
            )));
        };
        if let Some(fault) = limit.fault() {
            return Err(HandlerError::permanent(format!(
                "change the limit of {message:?}: {fault}"
            )));
        }
        tracing::info!(message, ?before, after = ?limit, "changes a limit");
        let real = |time| settings::on(&*self.clock, time);
        self.gates.limit(&Arc::from(message), limit, real);
        Ok(())
    }
}

/// Writes changed limits down.
#[derive(Debug)]
pub(crate) struct LimitMemory;

impl StatefulHandler for LimitMemory {
    fn name(&self) -> &str {
        COLLECTION
    }

    fn accepts(&self) -> Vec<Accepts> {
        vec![Accepts {
            type_name: Cow::Borrowed(ChangeLimit::NAME),
            kind: MessageKind::Command,
        }]
    }

    fn keys(&self, received: &Received) -> HandlerResult<Vec<RecordKey>> {
        let change: ChangeLimit = received.decode()?;
        Ok(vec![key(&change.message)])
    }

    fn handle(&self, received: &Received, work: Work<'_>) -> HandlerResult<Effects> {
        let change: ChangeLimit = received.decode()?;
        let stored = StoredLimit {
            format: FORMAT,
            limit: change.limit,
        };
        let put = RecordChange::Put {
            key: key(&change.message),
            expected: work
                .records
                .first()
                .and_then(Option::as_ref)
                .map(|record| record.version),
            body: Bytes::from(serde_json::to_vec(&stored)?),
            expires: None,
        };
        Ok(Effects {
            outbound: work.outbound,
            records: vec![put],
            pending: Vec::new(),
            taken: Taken::Handled,
            became: Vec::new(),
        })
    }
}

/// Lets messages pass that wait in order. It is registered before there is an endpoint that it could do that in.
#[derive(Debug, Clone, Default)]
pub(crate) struct OrderControl {
    shared: Arc<OnceLock<Weak<Shared>>>,
}

impl OrderControl {
    /// Says which endpoint it belongs to. Only the first call counts.
    pub(crate) fn belongs_to(&self, shared: &Arc<Shared>) {
        self.shared.get_or_init(|| Arc::downgrade(shared));
    }
}

impl Handler<LetPass> for OrderControl {
    async fn handle(&self, LetPass { first }: LetPass, _ctx: &mut Context) -> HandlerResult {
        let shared = self.shared.get().and_then(Weak::upgrade);
        let Some((shared, store)) =
            shared.and_then(|shared| Some((Arc::clone(&shared), shared.store.clone()?)))
        else {
            return Err(HandlerError::permanent(
                "let messages pass that wait in order: this endpoint has no store",
            ));
        };
        // It commits by itself, and is idempotent: what passed before an interruption is not first any more.
        let passed = quarantine::let_pass(&shared, &*store, &first).await;
        let passed = passed.map_err(|error| HandlerError::from(error).with_class(ErrorClass::Transient))?;
        let sequences = passed.sequences;
        // It may be in the error queue, and that not be noted yet.
        if sequences == 0 && !passed.is_known {
            return Err(HandlerError::transient(format!(
                "let messages pass that wait behind {first}: that this one has failed is not known here, or not any more"
            )));
        }
        tracing::info!(%first, sequences, "lets messages pass that waited in order behind one that was discarded");
        Ok(())
    }
}

/// Brings limits back that were changed before the last stop.
pub(crate) async fn load(shared: &Shared, messages: &[&'static str]) -> Result<(), EndpointError> {
    let Some(store) = shared.store.as_deref().filter(|_| !messages.is_empty()) else {
        return Ok(());
    };
    let request = LoadRequest {
        inbox: derived_message_id(&[COLLECTION], 0),
        records: messages.iter().map(|message| key(message)).collect(),
        pending: None,
        now: shared.clock.now(),
    };
    let loaded = shared.load(store, &request).await;
    let loaded = loaded.map_err(|error| EndpointError::store(error.to_string()))?;
    for (message, record) in messages.iter().zip(loaded.records) {
        let Some(record) = record else { continue };
        let unreadable = |why: String| EndpointError::store(format!("read the limit of {message}: {why}"));
        let stored: StoredLimit =
            serde_json::from_slice(&record.body).map_err(|error| unreadable(error.to_string()))?;
        if stored.format > FORMAT {
            return Err(unreadable(String::from(
                "a newer version wrote it; start that version again",
            )));
        }
        let real = |time| settings::on(&*shared.clock, time);
        shared.gates.limit(&Arc::from(*message), stored.limit, real);
    }
    Ok(())
}
