//! A saga's table of contents: what starts it, what it handles, what happens in time.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use longhaul_core::handler::HandlerResult;
use longhaul_core::message::{Message, MessageKind};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::SagaContext;
use crate::evolve::Evolution;
use crate::history::{DEFAULT_EVENTS, MOST_EVENTS};
use crate::known::Known;
use crate::not_found::NotFoundContext;
use crate::policy::CompensationPolicy;
use crate::saga::{NoTimeout, Saga};
use crate::saga_id::{Correlation, SagaId};
use crate::table::{Entry, Table, typed};

type TimesOut<S> = fn(&mut S, <S as Saga>::Timeout, &mut SagaContext<S>) -> HandlerResult;
type Compensated<S> = fn(&mut S, &mut SagaContext<S>) -> HandlerResult;

/// A saga's table of contents, filled in by [`Saga::define`].
///
/// The functions are plain functions of the saga: what they need comes in the message, the state and the context.
/// Faults in the table (two functions for one message, no start) are reported when the endpoint is built, all together.
///
/// ```
/// # use longhaul_core::handler::HandlerResult;
/// # use longhaul_core::{Command, Event, Message};
/// # use longhaul_sagas::{Definition, NotFoundContext, NoTimeout, Outcome, Saga, SagaContext};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Event, Serialize, Deserialize)]
/// # #[message("sales.order_placed.v1")]
/// # struct OrderPlaced { order: u64 }
/// # #[derive(Command, Serialize, Deserialize)]
/// # #[message("sales.cancel_order.v1")]
/// # struct CancelOrder { order: u64 }
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[message("sales.order_not_cancelled.v1")]
/// # struct OrderNotCancelled { is_shipped: bool }
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[message("billing.card_charged.v1")]
/// # struct CardCharged;
/// # #[derive(Serialize, Deserialize)]
/// # struct Order;
/// impl Saga for Order {
///     const NAME: &'static str = "order";
///     type Id = u64;
///     type Timeout = NoTimeout;
///
///     fn define(saga: &mut Definition<Self>) {
///         saga.starts_on(|m: &OrderPlaced| m.order, Self::start);
///         saga.handles(|m: &CancelOrder| m.order, Self::on_cancel);
///         saga.not_found(Self::on_cancel_too_late);
///         saga.on_reply(Self::on_card_charged);
///     }
/// }
/// # impl Order {
/// #     fn start(_: OrderPlaced, _: &mut SagaContext<Self>) -> HandlerResult<Self> { Ok(Self) }
/// #     fn on_cancel(&mut self, _: CancelOrder, _: &mut SagaContext<Self>) -> HandlerResult { Ok(()) }
/// #     fn on_cancel_too_late(_: CancelOrder, _: &mut NotFoundContext<'_>) -> HandlerResult { Ok(()) }
/// #     fn on_card_charged(&mut self, _: CardCharged, _: &mut SagaContext<Self>) -> HandlerResult { Ok(()) }
/// # }
/// ```
pub struct Definition<S: Saga> {
    pub(crate) table: Table<S>,
    pub(crate) times_out: Option<TimesOut<S>>,
    pub(crate) compensated: Option<Compensated<S>>,
    pub(crate) policy: CompensationPolicy,
    /// The most events of an instance that are kept.
    pub(crate) history: usize,
    pub(crate) evolution: Evolution,
    pub(crate) keeps_order: bool,
    faults: Vec<String>,
}

impl<S: Saga> Definition<S> {
    pub(crate) fn of_saga() -> Self {
        let mut definition = Self {
            table: Table {
                entries: BTreeMap::new(),
            },
            times_out: None,
            compensated: None,
            policy: CompensationPolicy::default(),
            history: DEFAULT_EVENTS,
            evolution: Evolution::default(),
            keeps_order: false,
            faults: Vec::new(),
        };
        S::define(&mut definition);
        definition
    }

    /// `M` starts an instance where there is none, or where the last one is finished. `id` says which one.
    ///
    /// An instance that is there already takes the message through [`Definition::handles`], if that names the same
    /// type, and otherwise ignores it.
    pub fn starts_on<M: Message, I: Correlation<S::Id>>(
        &mut self,
        id: fn(&M) -> I,
        start: fn(M, &mut SagaContext<S>) -> HandlerResult<S>,
    ) {
        self.find_by(id);
        let slot = &mut self.entry::<M>().start;
        let taken = slot.is_some();
        *slot = Some(Box::new(move |message, ctx| start(typed(message)?, ctx)));
        self.once::<M>(taken, "starts_on");
    }

    /// The instance that `id` says handles `M`.
    pub fn handles<M: Message, I: Correlation<S::Id>>(
        &mut self,
        id: fn(&M) -> I,
        handle: fn(&mut S, M, &mut SagaContext<S>) -> HandlerResult,
    ) {
        self.find_by(id);
        self.handle(handle);
    }

    /// The instance that sent the request handles `M`, the reply to it: headers name it.
    pub fn on_reply<M: Message>(&mut self, handle: fn(&mut S, M, &mut SagaContext<S>) -> HandlerResult) {
        self.entry::<M>().is_answer = true;
        self.handle(handle);
    }

    /// Takes replies `M` as answers to steps and to undos, without code of the saga's own.
    pub fn expects<M: Message>(&mut self) {
        self.entry::<M>().is_answer = true;
    }

    /// What to do with `M` while the instance undoes what it did. Without this it counts as a message for a finished one.
    pub fn while_compensating<M: Message, I: Correlation<S::Id>>(
        &mut self,
        id: fn(&M) -> I,
        handle: fn(&mut S, M, &mut SagaContext<S>) -> HandlerResult,
    ) {
        self.find_by(id);
        let slot = &mut self.entry::<M>().while_compensating;
        let taken = slot.is_some();
        *slot = Some(Box::new(move |saga, message, ctx| {
            handle(saga, typed(message)?, ctx)
        }));
        self.once::<M>(taken, "while_compensating");
    }

    /// What to do with `M` when its instance is finished, or did not appear in time.
    ///
    /// Without this a message for a finished instance is counted and forgotten, and one for an instance that did not
    /// appear goes to the error queue.
    pub fn not_found<M: Message>(&mut self, handle: fn(M, &mut NotFoundContext<'_>) -> HandlerResult) {
        let slot = &mut self.entry::<M>().not_found;
        let taken = slot.is_some();
        *slot = Some(Box::new(move |message, ctx| handle(typed(message)?, ctx)));
        self.once::<M>(taken, "not_found");
    }

    /// What to do when a timeout fires; also while compensating.
    pub fn times_out(&mut self, handle: fn(&mut S, S::Timeout, &mut SagaContext<S>) -> HandlerResult) {
        if self.times_out.replace(handle).is_some() {
            self.faults
                .push(format!("the saga {} says `times_out` twice: keep one", S::NAME));
        }
    }

    /// What to do when everything is undone, as the last thing: publish that the order is cancelled, say.
    pub fn compensated(&mut self, handle: fn(&mut S, &mut SagaContext<S>) -> HandlerResult) {
        if self.compensated.replace(handle).is_some() {
            self.faults
                .push(format!("the saga {} says `compensated` twice: keep one", S::NAME));
        }
    }

    /// How long compensation waits and how often it tries.
    pub const fn compensation(&mut self, policy: CompensationPolicy) {
        self.policy = policy;
    }

    /// How many events of each instance are kept with it, for [`Instance::history`](crate::Instance::history): the first, and the
    /// last ones. 32 if it is not said, at most 1000; 0 keeps none. Each takes some 150 bytes of the record, which is read and
    /// written with every message.
    pub fn history(&mut self, events: usize) {
        if events > MOST_EVENTS {
            self.faults.push(format!(
                "the saga {} keeps a history of {events} events: at most {MOST_EVENTS} are kept",
                S::NAME
            ));
        }
        self.history = events.min(MOST_EVENTS);
    }

    /// When a message for an instance goes to the error queue, later ones for that instance wait behind it, in order, and
    /// timeouts with them; those for other instances go on. A replay lets them follow.
    pub const fn keep_order(&mut self) {
        self.keeps_order = true;
    }

    /// Turns state of version `from` into state of the version after it.
    ///
    /// The steps make a chain, without a gap, from version 1 to [`Saga::VERSION`]: each takes what the one before gave.
    ///
    /// ```
    /// # use longhaul_core::handler::HandlerResult;
    /// # use longhaul_core::Event;
    /// # use longhaul_sagas::{Definition, NoTimeout, Saga, SagaContext};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Event, Serialize, Deserialize)]
    /// # #[message("sales.order_placed.v1")]
    /// # struct OrderPlaced { order: u64 }
    /// #[derive(Serialize, Deserialize)]
    /// struct OrderV1 { order: u64 }
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Order { order: u64, express: bool }
    ///
    /// impl Saga for Order {
    ///     const NAME: &'static str = "order";
    ///     const VERSION: u32 = 2;
    ///     type Id = u64;
    ///     type Timeout = NoTimeout;
    ///
    ///     fn define(saga: &mut Definition<Self>) {
    ///         saga.starts_on(|m: &OrderPlaced| m.order, Self::start);
    ///         saga.evolve(1, |old: OrderV1| Self { order: old.order, express: false });
    ///     }
    /// }
    /// # impl Order {
    /// #     fn start(m: OrderPlaced, _: &mut SagaContext<Self>) -> HandlerResult<Self> {
    /// #         Ok(Self { order: m.order, express: true })
    /// #     }
    /// # }
    /// ```
    pub fn evolve<Old: DeserializeOwned + 'static, New: Serialize + 'static>(
        &mut self,
        from: u32,
        step: fn(Old) -> New,
    ) {
        if !self.evolution.add(from, step) {
            self.faults.push(format!(
                "the saga {} says `evolve({from}, …)` twice: keep one",
                S::NAME
            ));
        }
    }

    fn handle<M: Message>(&mut self, handle: fn(&mut S, M, &mut SagaContext<S>) -> HandlerResult) {
        let slot = &mut self.entry::<M>().handle;
        let taken = slot.is_some();
        *slot = Some(Box::new(move |saga, message, ctx| {
            handle(saga, typed(message)?, ctx)
        }));
        self.once::<M>(taken, "handles` or `on_reply");
    }

    fn find_by<M: Message, I: Correlation<S::Id>>(&mut self, id: fn(&M) -> I) {
        self.entry::<M>().keys.push(Box::new(move |message: &dyn Any| {
            let id = message.downcast_ref().map(id)?.into_id()?;
            Some(id.to_key().into_owned())
        }));
    }

    fn entry<M: Message>(&mut self) -> &mut Entry<S> {
        let entry = self.table.entries.entry(M::NAME).or_insert_with(Entry::new::<M>);
        if entry.rust_type != TypeId::of::<M>() {
            self.faults.push(format!(
                "two types of the saga {} have the wire name {:?}: give one of them another `#[message(…)]`",
                S::NAME,
                M::NAME
            ));
        }
        entry
    }

    fn once<M: Message>(&mut self, taken: bool, verb: &str) {
        if taken {
            self.faults.push(format!(
                "the saga {} says `{verb}` twice for {}: keep one",
                S::NAME,
                M::NAME
            ));
        }
    }

    pub(crate) fn known(&self) -> Known {
        let types: BTreeSet<&'static str> = self.table.entries.keys().copied().collect();
        Known { saga: S::NAME, types }
    }

    /// Everything that is wrong with it, each with what mends it.
    pub(crate) fn faults(&self) -> Vec<String> {
        let name = S::NAME;
        let mut faults = self.faults.clone();
        let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if name.is_empty() || name.len() > 100 || !name.chars().all(is_fine) {
            faults.push(format!(
                "the saga name {name:?} can't be used: `NAME` is 1 to 100 ASCII letters, digits, `.`, `-` and `_`"
            ));
        }
        if !self.table.entries.values().any(|entry| entry.start.is_some()) {
            faults.push(format!(
                "nothing starts the saga {name}: add `saga.starts_on(|m: &…| m.…, Self::start)`"
            ));
        }
        for entry in self.table.entries.values() {
            let takes = entry.start.is_some() || entry.handle.is_some() || entry.while_compensating.is_some();
            if entry.not_found.is_some() && !takes && !entry.is_answer {
                faults.push(format!(
                    "the saga {name} says `not_found` for {0}, which it does not take: add `saga.handles(…)` for {0}",
                    entry.name
                ));
            }
        }
        for entry in self.table.entries.values() {
            // An event is published to all, and says of nobody's answer whose it is.
            if entry.kind == MessageKind::Event && entry.is_answer && entry.keys.is_empty() {
                faults.push(format!(
                    "the saga {name} takes the event {0} as a reply, but an event names no instance: \
                     add `saga.handles(|m: &…| m.…, Self::…)` for {0}, or make it a message that is replied",
                    entry.name
                ));
            }
        }
        if self.times_out.is_none() && TypeId::of::<S::Timeout>() != TypeId::of::<NoTimeout>() {
            faults.push(format!(
                "the saga {name} has timeouts but nothing that takes them: add `saga.times_out(Self::…)`, \
                 or say `type Timeout = NoTimeout`"
            ));
        }
        if self.policy.undo_attempts == 0 {
            faults.push(format!(
                "the saga {name} never sends an undo: set `undo_attempts` to 1 or more"
            ));
        }
        faults.extend(self.evolution.faults::<S>());
        faults
    }
}

impl<S: Saga> fmt::Debug for Definition<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Definition")
            .field("saga", &S::NAME)
            .field("messages", &self.table.entries.keys())
            .finish_non_exhaustive()
    }
}
