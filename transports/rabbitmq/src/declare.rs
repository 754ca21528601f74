//! Makes a plan true on the broker, or checks that it is.

mod request;

use std::time::Duration;

use futures_util::future::join_all;
use lapin::{Channel, options::BasicQosOptions};
use longhaul_core::transport::{TransportError, TransportErrorKind};
use request::Object;
use tokio::time::Instant;

use crate::{
    fault::{Fault, FaultKind, within},
    link::Link,
    plan::{Binding, Exchange, Plan, Queue},
    timing::Timing,
};

/// How long the broker waits for a quorum queue that it asks how many messages and consumers it has. Where there is no answer in
/// that time, the broker says that there are none of either.
const ASKED: Duration = Duration::from_millis(250);

/// How many times a queue is asked that seems to be empty and has taken long to say so: one measurement of a busy broker says nothing.
const TIMES: u32 = 3;

/// How many messages and consumers a queue has, as the queue itself says.
pub(crate) async fn look(channel: &Channel, queue: &str, limit: Duration) -> Result<(u32, u32), Fault> {
    let deadline = Instant::now() + limit;
    let (mut took, mut way, mut times) = (Duration::MAX, Duration::MAX, 0);
    loop {
        let asked = Instant::now();
        let answer = request::passive_queue(channel, queue);
        let found = within(limit, "a look at a queue", answer).await?;
        took = took.min(asked.elapsed());
        if found != (0, 0) || took < ASKED {
            return Ok(found);
        }
        let asked = Instant::now();
        barrier(channel, limit).await?;
        way = way.min(asked.elapsed());
        times += 1;
        if times >= TIMES && is_answer(took, way) {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            return Err(Fault::timed_out("the queue's own answer to a look at it", limit));
        }
    }
}

/// Whether the queue itself has said that it is empty, to a question that took so long: by the time that the way to the broker and
/// back takes, far away as it may be.
fn is_answer(took: Duration, way: Duration) -> bool {
    took < ASKED || took.saturating_sub(way) < ASKED / 2
}

/// Waits until the broker has read what was sent over a channel before, and has passed on what came to it meanwhile.
pub(crate) async fn barrier(channel: &Channel, limit: Duration) -> Result<(), Fault> {
    // Harmless: it counts for consumers that begin afterwards, and each is preceded by another.
    let harmless = channel.basic_qos(1, BasicQosOptions { global: false });
    within(limit, "an answer", harmless).await
}

/// Declares over one connection. The broker closes the channel on every refusal, so channels come and go.
pub(crate) struct Declarer<'a> {
    link: &'a Link,
    timing: &'a Timing,
    channel: Option<Channel>,
}

impl<'a> Declarer<'a> {
    pub(crate) fn new(link: &'a Link, timing: &'a Timing) -> Self {
        Self {
            link,
            timing,
            channel: None,
        }
    }

    /// Creates what is missing. What exists with other arguments is an error that says how to migrate.
    pub(crate) async fn create(&mut self, plan: &Plan) -> Result<(), TransportError> {
        let exchanges: Vec<_> = plan.exchanges.iter().map(Object::Exchange).collect();
        self.declare_all(&exchanges).await?;
        let queues: Vec<_> = plan.queues.iter().map(Object::Queue).collect();
        self.declare_all(&queues).await?;
        let bindings: Vec<_> = plan.bindings.iter().map(Object::Binding).collect();
        self.declare_all(&bindings).await
    }

    /// Takes bindings away; those that are not there don't matter.
    pub(crate) async fn unbind(&mut self, bindings: &[Binding]) -> Result<(), TransportError> {
        for binding in bindings {
            let channel = self
                .channel()
                .await
                .map_err(|fault| fault.while_doing("open a channel"))?;
            match within(
                self.timing.answer,
                "unbinding",
                request::unbind(&channel, binding),
            )
            .await
            {
                Ok(()) => {}
                Err(fault) if fault.kind == FaultKind::NotFound => {}
                Err(fault) => return Err(fault.while_doing(&format!("unbind from `{}`", binding.source))),
            }
        }
        Ok(())
    }

    /// Checks exchanges and queues, creating nothing, and lists all that is wrong together. Returns what can't be
    /// checked: arguments are compared by declaring again, for which the user may have no right.
    ///
    /// Bindings can't be read over AMQP.
    pub(crate) async fn verify(&mut self, plan: &Plan) -> Result<Vec<String>, TransportError> {
        let (mut problems, mut unverified) = (Vec::new(), Vec::new());
        let exchanges = plan.exchanges.iter().map(Object::Exchange);
        for object in exchanges.chain(plan.queues.iter().map(Object::Queue)) {
            match self.verify_one(object).await {
                Ok(true) => {}
                Ok(false) => unverified.push(format!("arguments of {}", object.name())),
                Err(fault) if fault.is_lasting() => {
                    problems.push(format!("{}: {}", object.name(), fault.text));
                }
                Err(fault) => return Err(fault.while_doing(&format!("check {}", object.name()))),
            }
        }
        if problems.is_empty() {
            return Ok(unverified);
        }
        let list = problems.join("; ");
        Err(TransportError::new(
            TransportErrorKind::Topology,
            format!("find everything as it should be: {list}. Create what is missing with Declare::Declare"),
        ))
    }

    /// Whether it exists as it should: `false` where its arguments can't be compared.
    async fn verify_one(&mut self, object: Object<'_>) -> Result<bool, Fault> {
        let channel = self.channel().await?;
        within(self.timing.answer, "a check", object.look(&channel)).await?;
        match within(self.timing.answer, "a check", object.declare(&channel)).await {
            Err(fault) if fault.kind == FaultKind::Denied => Ok(false),
            compared => compared.map(|()| true),
        }
    }

    /// How many messages and consumers a queue has.
    pub(crate) async fn look_at(&mut self, queue: &str) -> Result<(u32, u32), Fault> {
        let channel = self.channel().await?;
        look(&channel, queue, self.timing.answer).await
    }

    /// Whether a queue that is there has these arguments; an error where the broker does not let us compare.
    pub(crate) async fn compare(&mut self, queue: &Queue) -> Result<(), Fault> {
        let channel = self.channel().await?;
        let declared = Object::Queue(queue).declare(&channel);
        within(self.timing.answer, "a check", declared).await
    }

    /// Creates one exchange, or checks that it is there.
    pub(crate) async fn exchange(&mut self, exchange: &Exchange, create: bool) -> Result<(), Fault> {
        let channel = self.channel().await?;
        if create {
            within(
                self.timing.answer,
                "declaring an exchange",
                Object::Exchange(exchange).declare(&channel),
            )
            .await
        } else {
            within(
                self.timing.answer,
                "a look at an exchange",
                request::passive_exchange(&channel, exchange),
            )
            .await
        }
    }

    /// Makes one binding.
    pub(crate) async fn binding(&mut self, binding: &Binding) -> Result<(), Fault> {
        let channel = self.channel().await?;
        within(
            self.timing.answer,
            "binding",
            Object::Binding(binding).declare(&channel),
        )
        .await
    }

    /// A channel that works: the broker closes one with every refusal.
    async fn channel(&mut self) -> Result<Channel, Fault> {
        let channel = match self.channel.take() {
            Some(channel) if channel.status().connected() => channel,
            _ => self.link.channel().await?,
        };
        self.channel = Some(channel.clone());
        Ok(channel)
    }

    /// Sends all requests, then waits for all answers: one round trip instead of one each.
    async fn declare_all(&mut self, objects: &[Object<'_>]) -> Result<(), TransportError> {
        let channel = self
            .channel()
            .await
            .map_err(|fault| fault.while_doing("open a channel"))?;
        let limit = self.timing.answer;
        let requests = objects
            .iter()
            .map(|object| within(limit, "a declaration", object.declare(&channel)));
        let answers = join_all(requests).await;
        let faults = || {
            objects
                .iter()
                .zip(&answers)
                .filter_map(|(object, answer)| Some((object, answer.as_ref().err()?)))
        };
        // One refusal closes the channel and fails the others too: name the one that was refused.
        match faults()
            .find(|(_, fault)| fault.kind != FaultKind::Lost)
            .or_else(|| faults().next())
        {
            Some((object, fault)) => Err(fault.while_doing(&format!("declare {}", object.name()))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_the_broker_gave_up_asking_a_queue_that_is_no_answer_however_far_away_the_broker_is() {
        let milliseconds = Duration::from_millis;
        for (took, way, is_one) in [
            (1, 1, true),
            (249, 0, true),
            (250, 0, false),
            (251, 1, false),
            (400, 399, true),
            (300, 290, true),
            (550, 300, false),
            (550, 350, false),
        ] {
            assert_eq!(
                is_answer(milliseconds(took), milliseconds(way)),
                is_one,
                "{took} {way}"
            );
        }
    }
}
