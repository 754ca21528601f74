//! A linear process written as a list: steps one after the other, each with its answer, its undo and its deadline.
//!
//! An itinerary is nothing but a saga underneath: [`Journey`] is that saga.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use longhaul_core::handler::HandlerResult;
use longhaul_core::headers;
use longhaul_core::ids::MessageId;
use longhaul_core::message::{Command, Message};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::context::SagaContext;
use crate::definition::Definition;
use crate::saga::Saga;
use crate::saga_id::SagaId;
use crate::sending::{Sending, Step};
use crate::timeout::TimeoutId;

/// A process whose steps follow one another: the next is sent when the one before is answered. When one is refused, or not
/// answered in time, those before it are undone, in reverse order.
///
/// The type holds what the steps need and learn. Run it with `.saga::<Journey<BookTrip>>()`.
///
/// ```
/// use std::time::Duration;
/// use longhaul_core::{Command, Message};
/// use longhaul_sagas::{Itinerary, Steps};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Command, Serialize, Deserialize)]
/// #[message("trips.book_trip.v1")]
/// struct BookTrip { trip: u64 }
///
/// #[derive(Command, Serialize, Deserialize)]
/// #[message("flights.book_flight.v1")]
/// struct BookFlight { trip: u64 }
///
/// #[derive(Command, Serialize, Deserialize)]
/// #[message("flights.cancel_flight.v1")]
/// struct CancelFlight { trip: u64 }
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[message("flights.flight_booked.v1")]
/// struct FlightBooked { seat: String }
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[message("flights.flight_full.v1")]
/// struct FlightFull;
///
/// #[derive(Serialize, Deserialize)]
/// struct Trip { trip: u64, seat: String }
///
/// impl Itinerary for Trip {
///     const NAME: &'static str = "trip";
///     type Id = u64;
///     type Start = BookTrip;
///
///     fn id(start: &BookTrip) -> u64 { start.trip }
///
///     fn begin(start: BookTrip) -> Self { Self { trip: start.trip, seat: String::new() } }
///
///     fn steps(steps: &mut Steps<Self>) {
///         steps.step("flight", |trip: &Self| BookFlight { trip: trip.trip })
///             .undo_with(|trip| CancelFlight { trip: trip.trip })
///             .done_by(|trip, booked: FlightBooked| trip.seat = booked.seat)
///             .refused_by::<FlightFull>()
///             .within(Duration::from_secs(60));
///     }
/// }
/// ```
pub trait Itinerary: Serialize + DeserializeOwned + Send + Sync + Sized + 'static {
    /// See [`Saga::NAME`].
    const NAME: &'static str;
    /// What names one instance.
    type Id: SagaId;
    /// The message that starts it.
    type Start: Message;

    /// Which instance a message starts.
    fn id(start: &Self::Start) -> Self::Id;

    /// What is known at the beginning.
    fn begin(start: Self::Start) -> Self;

    /// The list. A step that is added, taken out or moved is a new version for instances on their way: give a changed list
    /// another [`Itinerary::NAME`] and let the old one run out.
    fn steps(steps: &mut Steps<Self>);

    /// The last step is done.
    ///
    /// # Errors
    /// As for any function of a saga.
    fn arrived(&mut self, ctx: &mut SagaContext<Journey<Self>>) -> HandlerResult {
        let _ = ctx;
        Ok(())
    }

    /// A step failed, and those before it are undone. [`SagaContext::compensation_reason`] says why.
    ///
    /// # Errors
    /// As for any function of a saga.
    fn turned_back(&mut self, ctx: &mut SagaContext<Journey<Self>>) -> HandlerResult {
        let _ = ctx;
        Ok(())
    }
}

/// The saga that runs an itinerary.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Journey<I: Itinerary> {
    data: I,
    /// The step that is on its way.
    step: usize,
    /// Its command.
    request: Option<MessageId>,
    deadline: Option<TimeoutId>,
}

/// The timeouts of a [`Journey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepDeadline {
    /// The step with this number was not answered in time.
    StepOverdue(usize),
}

impl<I: Itinerary> Saga for Journey<I> {
    const NAME: &'static str = I::NAME;
    type Id = I::Id;
    type Timeout = StepDeadline;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(I::id, |start, ctx| {
            let mut journey = Self {
                data: I::begin(start),
                step: 0,
                request: None,
                deadline: None,
            };
            journey.go_on(ctx)?;
            Ok(journey)
        });
        saga.times_out(Self::overdue);
        saga.compensated(|journey, ctx| journey.data.turned_back(ctx));
        let mut names = Vec::new();
        for step in Steps::<I>::list() {
            for (name, take) in step.answers {
                if !names.contains(&name) {
                    names.push(name);
                    take(saga);
                }
            }
        }
    }
}

impl<I: Itinerary> Journey<I> {
    /// What the itinerary knows.
    pub const fn data(&self) -> &I {
        &self.data
    }

    /// Sends steps until one must be waited for.
    fn go_on(&mut self, ctx: &mut SagaContext<Self>) -> HandlerResult {
        for step in Steps::<I>::list().into_iter().skip(self.step) {
            self.request = Some((step.send)(&self.data, ctx, &step));
            let Some(_) = step.done_by else {
                self.step += 1;
                continue;
            };
            let number = self.step;
            let ask = |limit| ctx.request_timeout(limit, StepDeadline::StepOverdue(number));
            self.deadline = step.within.map(ask);
            return Ok(());
        }
        self.request = None;
        self.data.arrived(ctx)?;
        ctx.complete();
        Ok(())
    }

    fn answered<R: Message>(&mut self, reply: R, ctx: &mut SagaContext<Self>) -> HandlerResult {
        let answers = ctx.header(headers::CORRELATION);
        if answers.is_none() || answers != self.request.as_ref().map(MessageId::as_str) {
            return Ok(());
        }
        let Some(step) = Steps::<I>::list().into_iter().nth(self.step) else {
            return Ok(());
        };
        if let Some(deadline) = self.deadline.take() {
            ctx.cancel_timeout(&deadline);
        }
        self.request = None;
        let learn = step.done_by.filter(|(name, _)| *name == R::NAME);
        let Some((_, learn)) = learn else {
            ctx.compensate(format!("{}: {}", step.name, R::NAME));
            return Ok(());
        };
        if let Ok(learn) = learn.downcast::<fn(&mut I, R)>() {
            learn(&mut self.data, reply);
        }
        self.step += 1;
        self.go_on(ctx)
    }

    fn overdue(&mut self, deadline: StepDeadline, ctx: &mut SagaContext<Self>) -> HandlerResult {
        let StepDeadline::StepOverdue(number) = deadline;
        if number == self.step && self.request.is_some() && !ctx.is_compensating() {
            let step = Steps::<I>::list().into_iter().nth(number);
            ctx.compensate(format!(
                "{}: not answered in time",
                step.map_or("step", |step| step.name)
            ));
        }
        Ok(())
    }
}

/// The steps of an itinerary, in order.
pub struct Steps<I: Itinerary> {
    steps: Vec<ItineraryStep<I>>,
}

type SendStep<I> = Box<dyn Fn(&I, &mut SagaContext<Journey<I>>, &ItineraryStep<I>) -> MessageId>;
type Undo<I> = Box<dyn for<'a> Fn(&I, Sending<'a>) -> Step<'a>>;
type Take<I> = fn(&mut Definition<Journey<I>>);

/// One step of an itinerary.
pub struct ItineraryStep<I: Itinerary> {
    name: &'static str,
    send: SendStep<I>,
    undo: Option<Undo<I>>,
    /// The reply that says it is done, and what is learnt from it.
    done_by: Option<(&'static str, Box<dyn Any>)>,
    wait_for_done: Option<for<'a> fn(Step<'a>) -> Step<'a>>,
    wait_for_undone: Option<for<'a> fn(Step<'a>) -> Step<'a>>,
    within: Option<Duration>,
    answers: Vec<(&'static str, Take<I>)>,
}

impl<I: Itinerary> Steps<I> {
    fn list() -> Vec<ItineraryStep<I>> {
        let mut steps = Self { steps: Vec::new() };
        I::steps(&mut steps);
        steps.steps
    }

    /// The next step: `action` makes its command. Without [`ItineraryStep::done_by`] it is done when sent.
    pub fn step<C: Command>(&mut self, name: &'static str, action: fn(&I) -> C) -> &mut ItineraryStep<I> {
        let at = self.steps.len();
        self.steps.push(ItineraryStep {
            name,
            send: Box::new(move |data, ctx, step| {
                let sending = ctx.send(action(data));
                let id = sending.id().clone();
                step.name_undo(data, sending);
                id
            }),
            undo: None,
            done_by: None,
            wait_for_done: None,
            wait_for_undone: None,
            within: None,
            answers: Vec::new(),
        });
        &mut self.steps[at]
    }
}

impl<I: Itinerary> ItineraryStep<I> {
    /// What undoes the step, made when the step is sent.
    pub fn undo_with<C: Command>(&mut self, undo: fn(&I) -> C) -> &mut Self {
        self.undo = Some(Box::new(move |data, sending| sending.undo_with(undo(data))));
        self
    }

    /// The step is done when `R` answers it; `learn` takes what is needed from the reply.
    pub fn done_by<R: Message>(&mut self, learn: fn(&mut I, R)) -> &mut Self {
        self.done_by = Some((R::NAME, Box::new(learn)));
        self.wait_for_done = Some(|step| step.done_by::<R>());
        self.answers
            .push((R::NAME, |saga| saga.on_reply(Journey::answered::<R>)));
        self
    }

    /// The step is refused when `R` answers it.
    pub fn refused_by<R: Message>(&mut self) -> &mut Self {
        self.answers
            .push((R::NAME, |saga| saga.on_reply(Journey::answered::<R>)));
        self
    }

    /// The undo is awaited: it has worked when `R` answers it.
    pub fn undone_by<R: Message>(&mut self) -> &mut Self {
        self.wait_for_undone = Some(|step| step.undone_by::<R>());
        self.answers
            .push((R::NAME, |saga| saga.on_reply(Journey::answered::<R>)));
        self
    }

    /// How long to wait for the answer before turning back.
    pub const fn within(&mut self, limit: Duration) -> &mut Self {
        self.within = Some(limit);
        self
    }

    fn name_undo(&self, data: &I, sending: Sending<'_>) {
        let Some(undo) = &self.undo else { return };
        let mut step = undo(data, sending);
        for wait in [self.wait_for_done, self.wait_for_undone].into_iter().flatten() {
            step = wait(step);
        }
    }
}

impl<I: Itinerary> fmt::Debug for Steps<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.steps).finish()
    }
}

impl<I: Itinerary> fmt::Debug for ItineraryStep<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ItineraryStep")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
