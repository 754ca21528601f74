//! Tells what was recorded, for the message of a test that failed.

use longhaul_core::envelope::Intent;
use longhaul_core::outbound::{Delay, Outgoing};
use longhaul_sagas::Saga;

use super::Scenario;

impl<S: Saga> Scenario<S> {
    /// What came, what was recorded, and how the instance stands.
    pub(super) fn story(&self) -> String {
        let mut story = format!("saga {:?} at {}: {}", S::NAME, self.now(), self.step.what);
        if let Some(error) = &self.step.error {
            story.push_str(&format!("\n  it failed to {error:?}"));
        }
        if let Some(taken) = self.step.taken {
            story.push_str(&format!("\n  it was {taken:?}"));
        }
        if self.step.recorded.is_empty() {
            story.push_str("\n  nothing was sent, published or replied");
        }
        for (at, sent) in self.step.recorded.iter().enumerate() {
            let mark = if self.step.named.contains(&at) { "✓" } else { " " };
            story.push_str(&format!("\n{mark} {}", line(sent)));
        }
        match self.record() {
            None => story.push_str("\n  there is no instance"),
            Some(_) => self.tell_instance(&mut story),
        }
        story
    }

    fn tell_instance(&self, story: &mut String) {
        let Some(instance) = self.look() else { return };
        let finished = if instance.finished.is_some() {
            ", finished"
        } else {
            ""
        };
        let key = self.key.as_deref().unwrap_or_default();
        story.push_str(&format!(
            "\n  the instance {key:?} is {}{finished}",
            instance.status
        ));
        if let Some(state) = &instance.state {
            story.push_str(&format!(": {state}"));
        }
        for step in &instance.steps {
            story.push_str(&format!("\n    step {} is {:?}", step.type_name, step.state));
        }
        for timeout in &instance.timeouts {
            story.push_str(&format!(
                "\n    timeout {} is due at {}",
                timeout.name, timeout.due
            ));
        }
    }

    /// What must not be overlooked: a message that nobody expected to fail.
    #[track_caller]
    pub(super) fn must_have_worked(&self) {
        assert!(
            self.step.error.is_none(),
            "handling a message failed\n{}",
            self.story()
        );
    }
}

fn line(sent: &Outgoing) -> String {
    let verb = match sent.intent {
        Intent::Send => "sent",
        Intent::Publish => "published",
        Intent::Reply => "replied",
        Intent::Timeout => "timed",
    };
    let mut line = format!(
        "{verb} {} {}",
        sent.type_name,
        String::from_utf8_lossy(&sent.body)
    );
    if let Some(queue) = &sent.to {
        line.push_str(&format!(" to {queue}"));
    }
    match sent.delay {
        Some(Delay::After(duration)) => {
            line.push_str(&format!(" after {duration:?}"));
        }
        Some(Delay::At(time)) => {
            line.push_str(&format!(" at {time}"));
        }
        None => {}
    }
    line
}
