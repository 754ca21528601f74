//! What is asked of the system from outside.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use longhaul_core::address::{Address, InvalidAddress};
use longhaul_core::endpoint::Batch;
use longhaul_core::ids::MessageId;
use longhaul_core::message::{Command, Event, Message};

/// Requests, each at its time after the beginning.
///
/// ```
/// # use longhaul_core::Command;
/// # use longhaul_simulation::Workload;
/// # use std::time::Duration;
/// # #[derive(Command, serde::Serialize, serde::Deserialize)]
/// # #[message("sales.place_order.v1")]
/// # struct PlaceOrder { order: u64 }
/// let orders = (1..=100).map(|order| PlaceOrder { order });
/// let workload = Workload::new().send_each("sales", orders).after(Duration::from_secs(60));
/// ```
#[derive(Clone, Default)]
pub struct Workload {
    pub(crate) requests: Vec<Request>,
    next_at: Duration,
}

type Fill = Arc<dyn Fn(&mut Batch) -> MessageId + Send + Sync>;

/// One request.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) at: Duration,
    pub(crate) what: &'static str,
    pub(crate) fill: Fill,
}

impl Workload {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends a command to an endpoint.
    ///
    /// # Panics
    /// `to` is no name of a queue, or the command can't be written as JSON.
    #[must_use]
    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "as a session takes it")]
    pub fn send<C: Command>(mut self, to: &str, command: C) -> Self {
        let (to, again) = (address(to), repeatable(&command));
        self.push(C::NAME, move |batch| {
            let outgoing = batch.send::<C>(again());
            outgoing.to(to.clone());
            outgoing.id.clone()
        });
        self
    }

    /// Sends commands to an endpoint, a millisecond apart.
    ///
    /// # Panics
    /// As [`Workload::send`].
    #[must_use]
    #[track_caller]
    pub fn send_each<C: Command>(self, to: &str, commands: impl IntoIterator<Item = C>) -> Self {
        commands.into_iter().fold(self, |workload, command| {
            workload.send(to, command).after(Duration::from_millis(1))
        })
    }

    /// Publishes an event.
    ///
    /// # Panics
    /// It can't be written as JSON.
    #[must_use]
    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "as a session takes it")]
    pub fn publish<E: Event>(mut self, event: E) -> Self {
        let again = repeatable(&event);
        self.push(E::NAME, move |batch| batch.publish::<E>(again()).id.clone());
        self
    }

    /// What follows is asked so much later.
    #[must_use]
    pub const fn after(mut self, pause: Duration) -> Self {
        self.next_at = self.next_at.saturating_add(pause);
        self
    }

    /// How many requests there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether nothing is asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    fn push(&mut self, what: &'static str, fill: impl Fn(&mut Batch) -> MessageId + Send + Sync + 'static) {
        self.requests.push(Request {
            at: self.next_at,
            what,
            fill: Arc::new(fill),
        });
    }
}

/// Makes the same message as often as it is asked for: a schedule asks whenever it runs, and messages need not be `Clone`.
#[track_caller]
fn repeatable<M: Message>(message: &M) -> impl Fn() -> M + Send + Sync + use<M> {
    let json = match serde_json::to_vec(message) {
        Ok(json) => json,
        Err(fault) => panic!("failed to write {}: {fault}", M::NAME),
    };
    move || match serde_json::from_slice(&json) {
        Ok(message) => message,
        Err(fault) => panic!("failed to read {} as it was written: {fault}", M::NAME),
    }
}

#[track_caller]
fn address(name: &str) -> Address {
    let address: Result<Address, InvalidAddress> = Address::new(name);
    match address {
        Ok(address) => address,
        Err(fault) => panic!("failed to {fault}"),
    }
}

impl fmt::Debug for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.requests.iter().map(|request| (request.at, request.what)))
            .finish()
    }
}
