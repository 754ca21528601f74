//! The endpoint's one future: takes messages in, drives their handling, the dispatcher and the relay, and stops.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tracing::{Instrument, Span, field};

use crate::clock::within;
use crate::endpoint::arrival::{self, Arrival};
use crate::endpoint::begun::unmark_all;
use crate::endpoint::dispatcher::dispatch_all;
use crate::endpoint::failing::guarded;
use crate::endpoint::marks::flush_marks;
use crate::endpoint::probing::{mutated, pass};
use crate::endpoint::process::process;
use crate::endpoint::relay::{Overdue, relay};
use crate::endpoint::settings::{CLAIM, FAIR};
use crate::endpoint::shared::Shared;
use crate::endpoint::{EndpointError, EndpointErrorKind};
use crate::envelope::Incoming;
use crate::store::UnitOfWork;
use crate::transport::{Delivery, Receiver, TransportError};

/// Why the intake ended.
enum End {
    Asked,
    Failed(EndpointError),
}

/// Runs until `stop` resolves or something fails for good; then finishes what is being handled, within limits.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    receiver: Option<Box<dyn Receiver>>,
    stop: impl Future<Output = ()>,
) -> Result<(), EndpointError> {
    let (fire, mut fired) = mpsc::channel(CLAIM);
    // All three run for ever; together with the intake they are the endpoint's one future.
    let background = async { tokio::join!(dispatch_all(shared), flush_marks(shared), relay(shared, &fire)) };
    let foreground = async {
        let mut intake = Intake {
            shared,
            receiver,
            fired: &mut fired,
        };
        let end = intake.run(stop).await;
        unmark_all(shared).await;
        if let Some(receiver) = intake.receiver.take()
            && let Some(Err(error)) =
                within(&*shared.clock, shared.settings.call_limit, receiver.close()).await
        {
            tracing::warn!(%error, "could not give back what was taken; it comes back by itself");
        }
        match end {
            End::Asked => {
                pass!(shared, Before Finish);
                finish(shared).await;
                pass!(shared, After Finish);
                Ok(())
            }
            End::Failed(error) => Err(error),
        }
    };
    tokio::select! {
        biased;
        result = foreground => result,
        _ = background => Ok(()),
    }
}

struct Intake<'a> {
    shared: &'a Arc<Shared>,
    receiver: Option<Box<dyn Receiver>>,
    fired: &'a mut mpsc::Receiver<Overdue>,
}

impl Intake<'_> {
    async fn run(&mut self, stop: impl Future<Output = ()>) -> End {
        let shared = self.shared;
        let mut stop = pin!(stop);
        let mut fatal = pin!(shared.fatal.raised());
        let mut in_flight = FuturesUnordered::new();
        let mut suspicious: Option<Arrival> = None;
        let mut alone = false;
        // Messages that wait in line for their key leave their place to others: handling needs a permit, being taken does not.
        let most_taken = usize::from(shared.settings.prefetch).max(shared.settings.concurrency);
        let mut taken_in_a_row = 0;
        let end = loop {
            alone &= !in_flight.is_empty();
            if let Some(arrival) = suspicious.take_if(|_| in_flight.is_empty()) {
                in_flight.push(begin(shared, arrival));
                alone = true;
                shared.gates.hurry(false);
            }
            let room =
                suspicious.is_none() && !alone && in_flight.len() < most_taken && shared.gates.lets_in();
            // Messages that were there first come first; but a queue that is never empty must not keep timeouts from firing.
            if room && taken_in_a_row >= FAIR {
                taken_in_a_row = 0;
                // Dispatcher and relay have their turn even where no call ever waits.
                tokio::task::yield_now().await;
                if let Ok(row) = self.fired.try_recv() {
                    in_flight.push(begin(shared, overdue(&row)));
                    continue;
                }
            }
            let arrival = tokio::select! {
                biased;
                () = &mut stop => break End::Asked,
                error = &mut fatal => break End::Failed(error),
                Some(()) = in_flight.next(), if !in_flight.is_empty() => continue,
                taken = take(shared, &mut self.receiver), if room && self.receiver.is_some() => match taken {
                    Ok(delivery) => {
                        taken_in_a_row += 1;
                        arrival_of(shared, delivery)
                    }
                    Err(_) if mutated!(EndOfConsumerIgnored) => {
                        self.receiver = None;
                        continue;
                    }
                    Err(error) => break End::Failed(EndpointError::new(EndpointErrorKind::Transport, error.to_string())),
                },
                Some(row) = self.fired.recv(), if room => overdue(&row),
            };
            if arrival.alone {
                suspicious = Some(arrival);
                shared.gates.hurry(!in_flight.is_empty());
            } else {
                in_flight.push(begin(shared, arrival));
            }
        };
        shared.gates.close();
        if matches!(end, End::Asked) {
            let rest = async { while in_flight.next().await.is_some() {} };
            if within(&*shared.clock, shared.settings.stop_limit, rest)
                .await
                .is_none()
            {
                tracing::warn!(
                    "some messages were still being handled when the time to stop ran out; they come again"
                );
            }
        }
        end
    }
}

/// An overdue timeout as if the broker had brought its alarm.
fn overdue(row: &Overdue) -> Arrival {
    Arrival {
        incoming: Incoming::from(row.outgoing()),
        settlement: None,
        alone: false,
    }
}

/// Reads the message now, so that messages for one key keep the order in which they came; handles it later.
fn begin(shared: &Arc<Shared>, arrival: Arrival) -> impl Future<Output = ()> {
    let span = span(shared, &arrival);
    let read = span.in_scope(|| arrival::read(shared, &arrival.incoming, arrival.alone));
    if let Ok(ready) = &read {
        span.record("id", ready.id().as_str());
        span.record("type", ready.received.type_name.as_str());
    }
    process(shared, arrival, read).instrument(span)
}

/// What everything about one message is told in. The fields with dots are those that OpenTelemetry's bridge reads; a step
/// may give it a name.
fn span(shared: &Shared, arrival: &Arrival) -> Span {
    let span = tracing::info_span!(
        "message",
        otel.kind = "consumer",
        otel.name = field::Empty,
        endpoint = %shared.name,
        id = field::Empty,
        r#type = field::Empty,
    );
    if !span.is_disabled() {
        for step in &shared.steps {
            let begun = guarded("the step", || {
                step.begun(&arrival.incoming, &span);
                Ok(())
            });
            if let Err(error) = begun {
                // What only watches must not cost a message.
                tracing::warn!(step = step.name(), %error, "a step failed at the beginning of a message");
            }
        }
    }
    span
}

async fn take(shared: &Shared, receiver: &mut Option<Box<dyn Receiver>>) -> Result<Delivery, TransportError> {
    // A backlog of unsent messages stops the intake before it grows without bound.
    let limit = shared.settings.backlog;
    shared
        .queue
        .backlog_below(limit, &*shared.clock, shared.waits.lease)
        .await;
    match receiver {
        Some(receiver) => receiver.receive().await,
        None => std::future::pending().await,
    }
}

fn arrival_of(shared: &Shared, delivery: Delivery) -> Arrival {
    // Without a store, the broker's count is all there is, and neighbours of a killer count up with it: be patient.
    let patience = if shared.store.is_some() { 1 } else { 4 };
    // What this process gave back itself has not ended it.
    let ours = shared.given_back.count(delivery.incoming.id.as_deref());
    let redeliveries = delivery.redeliveries.saturating_sub(ours);
    let alone = redeliveries >= shared.settings.suspicious_redeliveries.saturating_mul(patience);
    let (incoming, settlement) = delivery.into_parts();
    Arrival {
        incoming,
        settlement: Some(settlement),
        alone,
    }
}

/// Sends what was committed and writes down what was sent, as far as the time to stop allows.
async fn finish(shared: &Shared) {
    let rest = async {
        shared.queue.moving_below(1).await;
        let Some(store) = shared.store.as_deref() else {
            return;
        };
        while !shared.marks.is_empty() {
            if shared.commit(store, UnitOfWork::default()).await.is_err() {
                return;
            }
        }
    };
    if within(&*shared.clock, shared.settings.stop_limit, rest)
        .await
        .is_none()
    {
        tracing::warn!(
            "some messages were still unsent when the time to stop ran out; they are sent at the next start"
        );
    }
}
