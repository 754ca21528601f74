//! What a scenario checks.

use std::time::Duration;

use longhaul_core::envelope::Intent;
use longhaul_core::handler::HandlerError;
use longhaul_core::message::{Command, Event, Message};
use longhaul_core::stateful::Taken;
use longhaul_sagas::{Outcome, Saga, Status};

use super::Scenario;

/// Checks. Each panics with what was recorded where it finds something else.
impl<S: Saga> Scenario<S> {
    /// A command `C` was sent: the first that no earlier check of this step has named.
    #[track_caller]
    pub fn then_sent<C: Command>(&mut self, check: impl FnOnce(&C)) -> &mut Self {
        let command = self.name_next::<C>(Intent::Send, "sent");
        check(&command);
        self
    }

    /// An event `E` was published: the first that no earlier check of this step has named.
    #[track_caller]
    pub fn then_published<E: Event>(&mut self, check: impl FnOnce(&E)) -> &mut Self {
        let event = self.name_next::<E>(Intent::Publish, "published");
        check(&event);
        self
    }

    /// A reply `M` was sent: the first that no earlier check of this step has named.
    #[track_caller]
    pub fn then_replied<M: Message>(&mut self, check: impl FnOnce(&M)) -> &mut Self {
        let reply = self.name_next::<M>(Intent::Reply, "replied");
        check(&reply);
        self
    }

    /// Nothing was sent, published or replied beside what earlier checks of this step have named.
    #[track_caller]
    pub fn then_nothing_sent(&mut self) -> &mut Self {
        self.must_have_worked();
        let left = self.step.recorded.len() - self.step.named.len();
        assert!(
            left == 0,
            "{left} more than expected was sent, published or replied\n{}",
            self.story()
        );
        self
    }

    /// Exactly these commands were sent in this step, in this order, by wire name: `&[ChargeCard::NAME]`.
    #[track_caller]
    pub fn then_sent_exactly(&mut self, names: &[&str]) -> &mut Self {
        self.must_have_worked();
        let sent = self
            .step
            .recorded
            .iter()
            .filter(|sent| sent.intent == Intent::Send);
        let sent: Vec<&str> = sent.map(|sent| sent.type_name.as_ref()).collect();
        assert!(
            sent == names,
            "expected {names:?} to be sent, but {sent:?} were\n{}",
            self.story()
        );
        let all = self
            .step
            .recorded
            .iter()
            .enumerate()
            .filter(|(_, sent)| sent.intent == Intent::Send);
        let all: Vec<usize> = all.map(|(at, _)| at).collect();
        self.step.named.extend(all);
        self
    }

    /// A timeout that the saga asked for is pending, and due so long from now.
    #[track_caller]
    pub fn then_timeout_pending(&mut self, after: Duration, check: impl FnOnce(&S::Timeout)) -> &mut Self {
        self.must_have_worked();
        let due = self.now() + after;
        let own = self.own_timeouts();
        let rows = self.desk.timeouts().iter();
        let row = rows
            .into_iter()
            .find(|row| row.due == Some(due) && own.contains(&row.id.to_string()));
        let Some(row) = row else {
            panic!(
                "expected a timeout that is due in {after:?}, at {due}\n{}",
                self.story()
            );
        };
        match serde_json::from_slice(&row.envelope.body) {
            Ok(timeout) => check(&timeout),
            Err(fault) => panic!("failed to read the timeout {}: {fault}", row.name),
        }
        self
    }

    /// No timeout that the saga asked for is pending.
    #[track_caller]
    pub fn then_no_timeout_pending(&mut self) -> &mut Self {
        self.must_have_worked();
        assert!(
            self.own_timeouts().is_empty(),
            "expected no timeout to be pending\n{}",
            self.story()
        );
        self
    }

    /// The instance has that status.
    #[track_caller]
    pub fn then_status(&mut self, status: Status) -> &mut Self {
        self.must_have_worked();
        let found = self.look().map(|instance| instance.status);
        assert!(
            found == Some(status),
            "expected the instance to be {status}\n{}",
            self.story()
        );
        self
    }

    /// The instance is finished, as wished.
    #[track_caller]
    pub fn then_completed(&mut self) -> &mut Self {
        self.then_ended(Outcome::Completed)
    }

    /// The instance is finished, and what it had done is undone.
    #[track_caller]
    pub fn then_compensated(&mut self) -> &mut Self {
        self.then_ended(Outcome::Compensated)
    }

    #[track_caller]
    fn then_ended(&mut self, outcome: Outcome) -> &mut Self {
        self.must_have_worked();
        let found = self.look().and_then(|instance| instance.outcome);
        assert!(
            found == Some(outcome),
            "expected the instance to have ended: {outcome:?}\n{}",
            self.story()
        );
        assert!(
            self.own_timeouts().is_empty(),
            "a finished instance has no timeouts\n{}",
            self.story()
        );
        self
    }

    /// There is no instance, not even a finished one.
    #[track_caller]
    pub fn then_no_instance(&mut self) -> &mut Self {
        self.must_have_worked();
        assert!(self.record().is_none(), "expected no instance\n{}", self.story());
        self
    }

    /// The instance is not finished, and this is its state.
    #[track_caller]
    pub fn then_state(&mut self, check: impl FnOnce(&S)) -> &mut Self {
        self.must_have_worked();
        let Some(state) = self.look().and_then(|instance| instance.state) else {
            panic!("expected an instance that is not finished\n{}", self.story());
        };
        match serde_json::from_str(&state) {
            Ok(state) => check(&state),
            Err(fault) => panic!("failed to read the state: {fault}\n{}", self.story()),
        }
        self
    }

    /// Nothing was written, nothing sent.
    #[track_caller]
    pub fn then_nothing_changed(&mut self) -> &mut Self {
        self.must_have_worked();
        assert!(
            !self.step.wrote,
            "expected nothing to be written\n{}",
            self.story()
        );
        self.then_nothing_sent()
    }

    /// The saga knew the message to be late, and forgot it.
    #[track_caller]
    pub fn then_ignored(&mut self) -> &mut Self {
        self.must_have_worked();
        let ignored = matches!(self.step.taken, Some(Taken::Ignored(_)));
        assert!(ignored, "expected the message to be ignored\n{}", self.story());
        self.then_nothing_changed()
    }

    /// There is no instance that the message could be for: an endpoint puts it off.
    #[track_caller]
    pub fn then_absent(&mut self) -> &mut Self {
        self.must_have_worked();
        let absent = self.step.taken == Some(Taken::Absent);
        assert!(absent, "expected no instance for the message\n{}", self.story());
        self.then_nothing_changed()
    }

    /// Handling the message failed with this error, and nothing came of it.
    #[track_caller]
    pub fn then_failed(&mut self, check: impl FnOnce(&HandlerError)) -> &mut Self {
        let Some(error) = self.step.error.take() else {
            panic!("expected handling the message to fail\n{}", self.story());
        };
        check(&error);
        self.then_nothing_changed()
    }

    fn own_timeouts(&self) -> Vec<String> {
        let timeouts = self.look().map_or_else(Vec::new, |instance| instance.timeouts);
        timeouts
            .iter()
            .filter(|timeout| timeout.own)
            .map(|timeout| timeout.id.to_string())
            .collect()
    }

    /// The first of that type and intent that was not named yet.
    #[track_caller]
    fn name_next<M: Message>(&mut self, intent: Intent, verb: &str) -> M {
        self.must_have_worked();
        let recorded = self.step.recorded.iter().enumerate();
        let mut fitting = recorded.filter(|(at, sent)| {
            sent.intent == intent && sent.type_name == M::NAME && !self.step.named.contains(at)
        });
        let Some((at, sent)) = fitting.next() else {
            panic!("expected {} to be {verb}\n{}", M::NAME, self.story());
        };
        let message = match serde_json::from_slice(&sent.body) {
            Ok(message) => message,
            Err(fault) => panic!("failed to read the {} that was {verb}: {fault}", M::NAME),
        };
        self.step.named.insert(at);
        message
    }
}
