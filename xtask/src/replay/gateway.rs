//! What the endpoint does, and what it has done.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longhaul::address::Address;
use longhaul::envelope::Envelope;
use longhaul::headers::Headers;
use longhaul::ids::MessageId;
use longhaul::prelude::*;
use longhaul::rabbitmq::RabbitMq;
use longhaul::transport::{Destination, Dispatch, Transport};
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[message("billing.charge_card.v1")]
pub(crate) struct ChargeCard {
    order: u64,
}

/// Refuses everything until it is told to accept.
#[derive(Debug)]
pub(crate) struct Gateway {
    accepts: AtomicBool,
    attempts: AtomicU64,
    /// What was done, in order, without unique keys.
    ledger: Mutex<Vec<u64>>,
}

/// What the ledger says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verdict {
    /// How often a message was handled, the refusals included.
    pub(crate) attempts: u64,
    pub(crate) done: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
}

impl Gateway {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            accepts: AtomicBool::new(false),
            attempts: AtomicU64::new(0),
            ledger: Mutex::default(),
        })
    }

    pub(crate) fn accept(&self) {
        self.accepts.store(true, Ordering::SeqCst);
    }

    pub(crate) fn has(&self, order: u64) -> bool {
        self.ledger().contains(&order)
    }

    /// Of orders below `messages`: those that are not there once.
    pub(crate) fn verdict(&self, messages: u64) -> Verdict {
        let mut times: BTreeMap<u64, u64> = BTreeMap::new();
        for order in self.ledger().iter().filter(|order| **order < messages) {
            *times.entry(*order).or_default() += 1;
        }
        let count = |orders: usize| u64::try_from(orders).unwrap_or(u64::MAX);
        let done = count(times.len());
        Verdict {
            attempts: self.attempts.load(Ordering::SeqCst),
            done,
            lost: messages - done,
            doubled: count(times.values().filter(|times| **times > 1).count()),
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Vec<u64>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handler of the endpoint.
pub(crate) struct Charging(pub(crate) Arc<Gateway>);

impl Handler<ChargeCard> for Charging {
    async fn handle(&self, charge: ChargeCard, _: &mut Context) -> HandlerResult {
        self.0.attempts.fetch_add(1, Ordering::SeqCst);
        if self.0.accepts.load(Ordering::SeqCst) {
            self.0.ledger().push(charge.order);
            return Ok(());
        }
        let order = charge.order;
        Err(match order % 3 {
            0 => HandlerError::permanent(format!("charge order {order}: the bank is closed")),
            1 => HandlerError::permanent(format!("charge order {order}: the card is unknown")),
            _ => HandlerError::permanent(format!("charge order {order}: over the limit")),
        })
    }
}

/// Sends the orders `0..messages`.
pub(crate) async fn fill(rabbit: &RabbitMq, to: &Address, messages: u64) -> anyhow::Result<()> {
    for first in (0..messages).step_by(1_000) {
        send(rabbit, to, first..messages.min(first + 1_000)).await?;
    }
    Ok(())
}

pub(crate) async fn send(
    rabbit: &RabbitMq,
    to: &Address,
    orders: std::ops::Range<u64>,
) -> anyhow::Result<()> {
    let dispatch = |order: u64| {
        let headers = Headers::from_iter([
            ("longhaul.type", "billing.charge_card.v1".to_owned()),
            ("longhaul.intent", "send".to_owned()),
            ("longhaul.content-type", "application/json".to_owned()),
            ("longhaul.time-sent", SystemClock.now().to_string()),
            ("longhaul.conversation", format!("order-{order}")),
        ]);
        let id = MessageId::new(format!("charge-{order}"))?;
        anyhow::Ok(Dispatch {
            envelope: Envelope::new(id, headers, format!("{{\"order\":{order}}}").into()),
            to: Destination::Queue(to.clone()),
            due: None,
        })
    };
    let batch = orders.map(dispatch).collect::<anyhow::Result<Vec<_>>>()?;
    for result in rabbit.dispatch(&batch).await {
        result?;
    }
    Ok(())
}
