//! What comes in a scenario.

use longhaul_core::envelope::Intent;
use longhaul_core::headers::{self, Headers};
use longhaul_core::message::{Command, Message};
use longhaul_core::outbound::Outgoing;
use longhaul_sagas::Saga;

use super::Scenario;

/// Messages that come. What they lead to is checked with `then_…`.
#[expect(clippy::needless_pass_by_value, reason = "a test gives its messages away")]
impl<S: Saga> Scenario<S> {
    /// A message that came before what is tested.
    ///
    /// # Panics
    /// Handling it fails.
    #[track_caller]
    pub fn given<M: Message>(&mut self, message: M) -> &mut Self {
        self.when(message);
        self.must_have_worked();
        self
    }

    /// A message comes: a command or an event as such, and any other as a reply that names no instance.
    #[track_caller]
    pub fn when<M: Message>(&mut self, message: M) -> &mut Self {
        let envelope = self.envelope(&message, Headers::new());
        self.deliver(envelope, false)
    }

    /// A message comes with headers beside the usual ones.
    #[track_caller]
    pub fn when_with<M: Message>(&mut self, message: M, headers: Headers) -> &mut Self {
        let envelope = self.envelope(&message, headers);
        self.deliver(envelope, false)
    }

    /// A message comes again after it was put off for the last time, because its instance did not exist.
    #[track_caller]
    pub fn when_for_the_last_time<M: Message>(&mut self, message: M) -> &mut Self {
        let envelope = self.envelope(&message, Headers::new());
        self.deliver(envelope, true)
    }

    /// The answer comes to the last command `C` that was sent: `scenario.when_reply::<ChargeCard>(CardCharged { … })`.
    ///
    /// # Panics
    /// No `C` was sent.
    #[track_caller]
    pub fn when_reply<C: Command>(&mut self, reply: impl Message) -> &mut Self {
        let sent = self.history.iter().rev().find(|sent| sent.type_name == C::NAME);
        let Some(sent) = sent.cloned() else {
            panic!(
                "there is nothing to reply to: no {} was sent\n{}",
                C::NAME,
                self.story()
            );
        };
        self.when_reply_to(&sent, reply)
    }

    /// The answer comes to the `n`-th command `C` that was sent, counted from 1.
    ///
    /// # Panics
    /// Fewer were sent.
    #[track_caller]
    pub fn when_reply_to_nth<C: Command>(&mut self, n: usize, reply: impl Message) -> &mut Self {
        let mut sent = self.history.iter().filter(|sent| sent.type_name == C::NAME);
        let Some(sent) = n.checked_sub(1).and_then(|n| sent.nth(n)).cloned() else {
            panic!(
                "there is nothing to reply to: fewer than {n} {} were sent\n{}",
                C::NAME,
                self.story()
            );
        };
        self.when_reply_to(&sent, reply)
    }

    /// The answer comes to that message, which was [`recorded`](Self::recorded).
    #[track_caller]
    pub fn when_reply_to(&mut self, sent: &Outgoing, reply: impl Message) -> &mut Self {
        let envelope = self.envelope_of(&reply, Intent::Reply, answer_headers(sent));
        self.deliver(envelope, false)
    }

    /// A message comes that was sent while the last command `C` was handled: an event that it led to, say.
    ///
    /// # Panics
    /// No `C` was sent.
    #[track_caller]
    pub fn when_caused_by<C: Command>(&mut self, message: impl Message) -> &mut Self {
        let sent = self.history.iter().rev().find(|sent| sent.type_name == C::NAME);
        let Some(sent) = sent else {
            panic!(
                "nothing can be caused by it: no {} was sent\n{}",
                C::NAME,
                self.story()
            );
        };
        let caused: Headers = [(headers::CAUSATION, sent.id.as_str())].into_iter().collect();
        let envelope = self.envelope(&message, caused);
        self.deliver(envelope, false)
    }

    /// The last message is delivered once more: the same one, which the endpoint knows by its id.
    #[track_caller]
    pub fn when_again(&mut self) -> &mut Self {
        let Some(envelope) = self.last.clone() else {
            panic!("no message came that could come again");
        };
        self.deliver(envelope, false)
    }
}

/// What a reply to a message carries back.
fn answer_headers(sent: &Outgoing) -> Headers {
    let mut answer: Headers = [
        (headers::CORRELATION, sent.id.as_str()),
        (headers::CAUSATION, sent.id.as_str()),
    ]
    .into_iter()
    .collect();
    for (name, value) in sent.parts.iter() {
        if let Some(part) = name.strip_prefix(headers::ORIGINATOR_PREFIX) {
            answer.set(format!("{}{part}", headers::TARGET_PREFIX), value);
        }
    }
    answer
}
