//! Refines a command that a saga sends, and names its undo.

use std::time::Duration;

use longhaul_core::address::Address;
use longhaul_core::clock::Timestamp;
use longhaul_core::codec::Codec;
use longhaul_core::ids::MessageId;
use longhaul_core::message::{Command, Message};
use longhaul_core::outbound::Outgoing;
use longhaul_core::reason::Reason;

use crate::known::Known;
use crate::ledger::{Ledger, MAX_STEPS};
use crate::status::StepState;
use crate::stored::{StoredBody, StoredStep, StoredUndo};

/// A command that was recorded, to be refined. It is sent, refined or not.
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
/// # impl Saga for Order {
/// #     const NAME: &'static str = "order";
/// #     type Id = u64;
/// #     type Timeout = NoTimeout;
/// #     fn define(_: &mut Definition<Self>) {}
/// # }
/// # fn example(ctx: &mut SagaContext<Order>) {
/// use std::time::Duration;
///
/// ctx.send(CancelOrder { order: 7 }).after(Duration::from_secs(60)).header("tenant", "acme");
/// # }
/// ```
#[derive(Debug)]
pub struct Sending<'a> {
    pub(crate) outgoing: &'a mut Outgoing,
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) codec: &'a dyn Codec,
    pub(crate) fault: &'a mut Option<(Reason, String)>,
    pub(crate) known: &'a Known,
    pub(crate) now: Timestamp,
    /// The instance is finished: nothing can be undone any more.
    pub(crate) closed: bool,
}

impl<'a> Sending<'a> {
    /// The id that the command has.
    #[must_use]
    pub const fn id(&self) -> &MessageId {
        &self.outgoing.id
    }

    /// To this queue, whatever the routes say.
    pub fn to(self, queue: Address) -> Self {
        self.outgoing.to(queue);
        self
    }

    /// To arrive so long after now.
    pub fn after(self, duration: Duration) -> Self {
        self.outgoing.after(duration);
        self
    }

    /// To arrive at that time.
    pub fn at(self, time: Timestamp) -> Self {
        self.outgoing.at(time);
        self
    }

    /// With a header; a name that begins with `longhaul.` makes the handling fail.
    pub fn header(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.outgoing.header(name, value);
        self
    }

    /// Makes the command a step, which `undo` undoes if the saga compensates.
    ///
    /// Without [`Step::done_by`] the step counts as done when sent, and its undo must be harmless where nothing happened.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the undo is given away, like the command"
    )]
    pub fn undo_with<C: Command>(self, undo: C) -> Step<'a> {
        let fault = self.fault;
        if self.closed {
            fail(
                fault,
                format!(
                    "send {} with an undo: the saga is finished; send it without",
                    self.outgoing.type_name
                ),
            );
        }
        if self.ledger.steps.len() >= MAX_STEPS {
            fail(
                fault,
                format!(
                    "send {}: the saga has {MAX_STEPS} steps to undo already",
                    self.outgoing.type_name
                ),
            );
        }
        let body = self.codec.encode(&undo).unwrap_or_else(|error| {
            fault.get_or_insert_with(|| (Reason::Unsendable, format!("write the undo {}: {error}", C::NAME)));
            bytes::Bytes::new()
        });
        let delay = self.outgoing.delay.map(|delay| delay.due(self.now));
        let step = StoredStep {
            request: self.outgoing.id.clone(),
            type_name: self.outgoing.type_name.clone().into_owned(),
            sent: delay.map_or(self.now, |due| due.max(self.now)),
            done_by: None,
            answer_within_ms: None,
            undo: StoredUndo {
                type_name: C::NAME.to_owned(),
                body: StoredBody::new(&body),
                to: None,
                undone_by: None,
            },
            state: StepState::Done,
            attempts: 0,
            undo_request: None,
            unanswered: false,
            note: None,
        };
        let steps = &mut self.ledger.steps;
        steps.push(step);
        let at = steps.len() - 1;
        Step {
            step: &mut steps[at],
            fault,
            known: self.known,
        }
    }
}

/// A step that was recorded, to be refined: see the example of [`SagaContext`](crate::SagaContext).
#[derive(Debug)]
pub struct Step<'a> {
    step: &'a mut StoredStep,
    fault: &'a mut Option<(Reason, String)>,
    known: &'a Known,
}

impl Step<'_> {
    /// The step is done when `R` answers it, refused when another reply does, and pending until then.
    ///
    /// An event that finds the saga through its closure answers it too: the step whose handling caused it, else the oldest
    /// one pending that waits for that event.
    pub fn done_by<R: Message>(mut self) -> Self {
        self.check::<R>();
        self.step.done_by = Some(R::NAME.to_owned());
        self.step.state = StepState::Pending;
        self
    }

    /// The undo is awaited: it has worked when `R` answers it, and failed when another reply does.
    ///
    /// Without this it is sent, and nobody waits for it.
    pub fn undone_by<R: Message>(mut self) -> Self {
        self.check::<R>();
        self.step.undo.undone_by = Some(R::NAME.to_owned());
        self
    }

    /// How long a compensation waits for the answer to this step, instead of the saga's
    /// [`answer_within`](crate::CompensationPolicy::answer_within).
    pub fn answered_within(self, limit: Duration) -> Self {
        self.step.answer_within_ms = Some(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// The undo goes to this queue, whatever the routes say.
    pub fn undo_to(self, queue: Address) -> Self {
        self.step.undo.to = Some(queue);
        self
    }

    /// An answer that the saga does not take would never arrive.
    fn check<R: Message>(&mut self) {
        if !self.known.types.contains(R::NAME) {
            let (saga, reply) = (self.known.saga, std::any::type_name::<R>());
            let reply = reply.rsplit("::").next().unwrap_or(reply);
            fail(
                self.fault,
                format!(
                    "wait for {}: the saga {saga} does not take it; add `saga.expects::<{reply}>()` to its `define`, \
                     or `saga.on_reply(…)` where it has code for it",
                    R::NAME
                ),
            );
        }
    }
}

fn fail(fault: &mut Option<(Reason, String)>, text: String) {
    fault.get_or_insert((Reason::HandlerFailed, text));
}
