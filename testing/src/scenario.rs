//! Tests a saga as a story: given messages, when one comes, then this is sent and that is remembered.
//!
//! No async runtime, broker or store: a scenario drives the saga through the same participant that an endpoint runs, with
//! records in memory. State is written and read for every message, so what a test sees is what a store would hold. Every
//! message is handled twice and must come out the same both times, as it must when an endpoint retries.

mod desk;
mod story;
mod then;
mod when;

use std::collections::BTreeSet;
use std::time::Duration;

use longhaul_core::clock::Timestamp;
use longhaul_core::envelope::{Envelope, Intent};
use longhaul_core::handler::HandlerError;
use longhaul_core::headers::{self, Headers};
use longhaul_core::ids::derived_message_id;
use longhaul_core::message::{Message, MessageKind};
use longhaul_core::outbound::{Outbound, Outgoing};
use longhaul_core::stateful::{Effects, Taken};
use longhaul_core::store::Record;
use longhaul_sagas::{Instance, Saga, SagaId};

use self::desk::Desk;

/// A saga in a test, with a clock that stands still until it is told to advance.
///
/// What a `then_…` does not find makes it panic with everything that was recorded since the last message.
///
/// ```
/// use std::time::Duration;
/// use longhaul_core::handler::HandlerResult;
/// use longhaul_core::{Command, Event};
/// use longhaul_sagas::{Definition, Saga, SagaContext};
/// use longhaul_testing::scenario::Scenario;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[message("sales.order_placed.v1")]
/// struct OrderPlaced { order: u64 }
///
/// #[derive(Command, Serialize, Deserialize)]
/// #[message("sales.remind_customer.v1")]
/// struct RemindCustomer { order: u64 }
///
/// #[derive(Serialize, Deserialize)]
/// struct Reminder { order: u64 }
///
/// #[derive(Serialize, Deserialize)]
/// enum Deadline { Unpaid }
///
/// impl Saga for Reminder {
///     const NAME: &'static str = "reminder";
///     type Id = u64;
///     type Timeout = Deadline;
///
///     fn define(saga: &mut Definition<Self>) {
///         saga.starts_on(|m: &OrderPlaced| m.order, Self::start);
///         saga.times_out(Self::on_deadline);
///     }
/// }
///
/// impl Reminder {
///     fn start(placed: OrderPlaced, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
///         ctx.request_timeout(Duration::from_secs(86_400), Deadline::Unpaid);
///         Ok(Self { order: placed.order })
///     }
///
///     fn on_deadline(&mut self, _: Deadline, ctx: &mut SagaContext<Self>) -> HandlerResult {
///         ctx.send(RemindCustomer { order: self.order });
///         ctx.complete();
///         Ok(())
///     }
/// }
///
/// Scenario::<Reminder>::new()
///     .given(OrderPlaced { order: 7 })
///     .then_nothing_sent()
///     .advance(Duration::from_secs(86_400))
///     .then_sent::<RemindCustomer>(|reminder| assert_eq!(reminder.order, 7))
///     .then_nothing_sent()
///     .then_completed();
/// ```
#[derive(Debug)]
pub struct Scenario<S: Saga> {
    desk: Desk<S>,
    messages: u64,
    last: Option<Envelope>,
    /// The key of the instance that the last message was for.
    key: Option<String>,
    step: Step,
    /// Everything recorded so far, for answers to it.
    history: Vec<Outgoing>,
}

/// What came of the last message, or of the last stretch of time.
#[derive(Debug, Default)]
struct Step {
    what: String,
    recorded: Vec<Outgoing>,
    named: BTreeSet<usize>,
    taken: Option<Taken>,
    error: Option<HandlerError>,
    wrote: bool,
}

impl<S: Saga> Default for Scenario<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Saga> Scenario<S> {
    /// A scenario without an instance, at 2026-01-01T00:00:00Z.
    ///
    /// # Panics
    /// The saga's definition has faults.
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        Self::starting_at(Timestamp::from_micros(1_767_225_600_000_000))
    }

    /// A scenario without an instance, at that time.
    ///
    /// # Panics
    /// The saga's definition has faults.
    #[must_use]
    #[track_caller]
    pub fn starting_at(now: Timestamp) -> Self {
        Self {
            desk: Desk::new(now),
            messages: 0,
            last: None,
            key: None,
            step: Step::default(),
            history: Vec::new(),
        }
    }

    /// Time passes, and timeouts that fall due fire in their order.
    ///
    /// # Panics
    /// Handling one fails.
    #[track_caller]
    pub fn advance(&mut self, duration: Duration) -> &mut Self {
        self.must_have_worked();
        let until = self.desk.now() + duration;
        self.step = Step {
            what: format!("{duration:?} passed"),
            ..Step::default()
        };
        while let Some(row) = self.desk.next_due(until) {
            self.step.what.push_str(&format!(", {} fired", row.name));
            let handled = self.desk.fire(&row);
            self.take(handled);
            self.must_have_worked();
        }
        self.desk.advance_to(until);
        self
    }

    /// A record that is stored already: one that an earlier release wrote, say. It takes the place of another.
    pub fn given_record(&mut self, record: Record) -> &mut Self {
        self.key = Some(record.key.id.to_string());
        self.desk.store(record);
        self
    }

    /// An operator changes the instance, with a function of [`longhaul_sagas::operate`].
    ///
    /// # Panics
    /// There is no instance, or the function refuses.
    #[track_caller]
    pub fn operate<E: std::error::Error>(
        &mut self,
        action: impl FnOnce(&Record, Outbound, Timestamp) -> Result<Effects, E>,
    ) -> &mut Self {
        self.must_have_worked();
        self.step = Step {
            what: "an operator acted".to_owned(),
            ..Step::default()
        };
        let Some(record) = self.record().cloned() else {
            panic!("there is no instance to change\n{}", self.story());
        };
        match action(&record, self.outbound(), self.now()) {
            Ok(effects) => {
                let result = self.desk.operate(effects);
                self.take(desk::Handled { key: None, result });
            }
            Err(fault) => panic!("failed to {fault}\n{}", self.story()),
        }
        self
    }

    /// An empty record of what is sent, as operators' functions take it.
    #[must_use]
    pub fn outbound(&self) -> Outbound {
        self.desk
            .outbound(derived_message_id(&["scenario", "operator"], self.messages))
    }

    /// Looks at the instance with this id from here on.
    pub fn instance(&mut self, id: &S::Id) -> &mut Self {
        self.key = Some(id.to_key().into_owned());
        self
    }

    /// A new version of the saga, under the same name, takes over what is stored; nothing is left here.
    #[must_use]
    #[track_caller]
    pub fn deploy<New: Saga>(&mut self) -> Scenario<New> {
        Scenario {
            desk: self.desk.deploy(),
            messages: self.messages,
            last: self.last.take(),
            key: self.key.take(),
            step: Step::default(),
            history: std::mem::take(&mut self.history),
        }
    }

    /// The time now.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.desk.now()
    }

    /// What was sent, published and replied since the last message came, or while the last stretch of time passed.
    #[must_use]
    pub fn recorded(&self) -> &[Outgoing] {
        &self.step.recorded
    }

    /// The record of the instance, as a store would hold it.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        self.desk.record(self.key.as_deref()?)
    }

    /// The instance, read from its record.
    ///
    /// # Panics
    /// The record can't be read.
    #[must_use]
    #[track_caller]
    pub fn look(&self) -> Option<Instance> {
        self.record().map(|record| match Instance::read(record) {
            Ok(instance) => instance,
            Err(fault) => panic!("failed to {fault}"),
        })
    }

    #[track_caller]
    fn deliver(&mut self, envelope: Envelope, last_chance: bool) -> &mut Self {
        self.must_have_worked();
        let type_name = envelope.headers.get(headers::TYPE).unwrap_or_default();
        self.step = Step {
            what: format!("{type_name} came"),
            ..Step::default()
        };
        self.last = Some(envelope.clone());
        let handled = self.desk.deliver(envelope, last_chance);
        self.take(handled);
        self
    }

    fn take(&mut self, handled: desk::Handled) {
        if let Some(key) = handled.key {
            self.key = Some(key);
        }
        match handled.result {
            Ok(done) => {
                self.step.wrote |= done.wrote;
                self.step.taken = Some(done.taken);
                self.history.extend(done.sent.iter().cloned());
                self.step.recorded.extend(done.sent);
            }
            Err(error) => self.step.error = Some(error),
        }
    }

    fn envelope<M: Message>(&mut self, message: &M, headers: Headers) -> Envelope {
        let intent = match M::KIND {
            MessageKind::Command => Intent::Send,
            MessageKind::Event => Intent::Publish,
            _ => Intent::Reply,
        };
        self.envelope_of(message, intent, headers)
    }

    fn envelope_of<M: Message>(&mut self, message: &M, intent: Intent, headers: Headers) -> Envelope {
        self.messages += 1;
        self.desk.envelope(self.messages, message, intent, headers)
    }
}

impl<S: Saga> Drop for Scenario<S> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.must_have_worked();
        }
    }
}
