//! What an endpoint asks of the broker before it runs.

use crate::clock::within;
use crate::endpoint::manifest;
use crate::endpoint::probing::pass;
use crate::endpoint::shared::Shared;
use crate::endpoint::{EndpointError, EndpointErrorKind};
use crate::store::Store;
use crate::transport::{Declare, ReceiverOptions, Subscription, Topology};

/// Prepares the broker, and brings the subscriptions in line with the last start's.
pub(crate) async fn prepare(shared: &Shared) -> Result<(), EndpointError> {
    let wanted: Vec<Subscription> = shared
        .registry
        .events()
        .map(|event| Subscription {
            event: event.to_owned(),
            queue: shared.name.clone(),
        })
        .collect();
    let had = manifest::load(shared).await?;
    let retired: Vec<Subscription> = had
        .subscriptions
        .iter()
        .filter(|had| !wanted.contains(had))
        .cloned()
        .collect();
    let consumes = !shared.registry.is_empty();
    let topology = Topology {
        queues: if consumes {
            vec![shared.name.clone()]
        } else {
            Vec::new()
        },
        error_queues: if consumes {
            vec![shared.error_queue.clone()]
        } else {
            Vec::new()
        },
        subscriptions: wanted.clone(),
        retired: retired.clone(),
        delays: true,
    };
    let prepare = shared.transport.prepare(&topology, shared.settings.declare);
    // Declaring a whole topology is many calls.
    let limit = shared.settings.call_limit * 4;
    pass!(shared, Before Prepare);
    let prepared = within(&*shared.clock, limit, prepare).await;
    pass!(shared, After Prepare);
    let prepared = prepared.ok_or_else(|| {
        EndpointError::new(
            EndpointErrorKind::Transport,
            "prepare the broker: it did not answer in time",
        )
    })?;
    prepared.map_err(|error| EndpointError::new(EndpointErrorKind::Transport, error.to_string()))?;
    let is_declared = shared.settings.declare == Declare::Declare;
    for gone in &retired {
        let (event, queue) = (&gone.event, &gone.queue);
        if is_declared {
            tracing::info!(%event, "no longer subscribed to");
        } else {
            tracing::warn!(
                %event, %queue,
                "the queue is still subscribed to an event that nothing handles: remove the subscription, or start once with `Declare::Declare`"
            );
        }
    }
    // What nobody has removed must not be forgotten.
    let kept = if is_declared { Vec::new() } else { retired };
    let bound = wanted.into_iter().chain(kept).collect();
    manifest::save(shared, had, bound).await
}

/// How the endpoint consumes its queue: alone, where its store belongs to one process.
pub(crate) fn receiver_options(shared: &Shared) -> ReceiverOptions {
    let exclusive = shared
        .store
        .as_deref()
        .is_some_and(|store: &dyn Store| !store.is_shared());
    ReceiverOptions {
        prefetch: shared.settings.prefetch,
        exclusive,
    }
}

/// What this machine is called.
pub(crate) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok());
    name.map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| String::from("unknown"))
}
