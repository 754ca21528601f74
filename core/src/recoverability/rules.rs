//! Which policy counts for which failure: rules per message type and per error, the first that fits.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::handler::{ErrorClass, HandlerError};
use crate::message::Message;
use crate::reason::Reason;
use crate::recoverability::{Decision, Failure, RetryPolicy};

type Class = Arc<dyn Fn(&HandlerError) -> Option<ErrorClass> + Send + Sync>;
type IsError = fn(&HandlerError) -> bool;

/// What becomes of failures that it fits: of one message type, one class, one reason or one error, or of several of these
/// at once.
///
/// ```
/// use longhaul_core::handler::ErrorClass;
/// use longhaul_core::recoverability::{RetryPolicy, Rule};
/// # #[derive(longhaul_core::Event, serde::Serialize, serde::Deserialize)]
/// # #[message("rates.rate_changed.v1")]
/// # struct RateChanged;
/// # #[derive(longhaul_core::Command, serde::Serialize, serde::Deserialize)]
/// # #[message("rates.quote.v1")]
/// # struct Quote;
/// use std::time::Duration;
///
/// // Somebody waits for a quote.
/// let quotes = Rule::retry(RetryPolicy::people()).message::<Quote>();
/// // A rate that is older than a minute is worth nothing.
/// let rates = Rule::discard().message::<RateChanged>().older_than(Duration::from_secs(60));
/// // A name that can't be resolved may take a while.
/// let names = Rule::retry(RetryPolicy { immediate: 0, ..RetryPolicy::machine() }).error::<std::net::AddrParseError>();
/// # drop((quotes, rates, names));
/// ```
#[derive(Clone)]
#[must_use = "a rule counts once it is given to `.recover(…)`"]
pub struct Rule {
    policy: RetryPolicy,
    discards: bool,
    message: Option<&'static str>,
    class: Option<ErrorClass>,
    reason: Option<Reason>,
    error: Option<IsError>,
    older_than: Option<Duration>,
}

impl Rule {
    /// Retried by `policy`; then the error queue.
    pub const fn retry(policy: RetryPolicy) -> Self {
        Self {
            policy,
            discards: false,
            message: None,
            class: None,
            reason: None,
            error: None,
            older_than: None,
        }
    }

    /// The error queue, at once.
    pub const fn error_queue() -> Self {
        Self::retry(RetryPolicy::none())
    }

    /// Forgotten at once: counted and logged, and nothing else. It must say of what.
    ///
    /// What can't be read is only discarded by a rule that names the class [`ErrorClass::Unreadable`] or the reason.
    pub const fn discard() -> Self {
        Self::error_queue().or_else_discard()
    }

    /// Forgotten instead of going to the error queue.
    pub const fn or_else_discard(mut self) -> Self {
        self.discards = true;
        self
    }

    /// Only failures of messages of type `M`.
    pub const fn message<M: Message>(mut self) -> Self {
        self.message = Some(M::NAME);
        self
    }

    /// Only errors of this class.
    pub const fn class(mut self, class: ErrorClass) -> Self {
        self.class = Some(class);
        self
    }

    /// Only failures for this reason.
    pub const fn reason(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Only errors that came of an `E`, by `?`: it is the error or one of its causes.
    pub const fn error<E: Error + 'static>(mut self) -> Self {
        self.error = Some(|error| error.cause::<E>().is_some());
        self
    }

    /// Only messages that were due or sent longer ago than this.
    pub const fn older_than(mut self, age: Duration) -> Self {
        self.older_than = Some(age);
        self
    }

    fn fits(&self, message: &str, error: &HandlerError, failure: &Failure) -> bool {
        self.message.is_none_or(|name| name == message)
            && self.class.is_none_or(|class| class == failure.class)
            && self.reason.is_none_or(|reason| reason == error.reason())
            && self.error.is_none_or(|is| is(error))
            && self.older_than.is_none_or(|age| failure.message_age > age)
            && (self.names_unreadable() || failure.class != ErrorClass::Unreadable || !self.discards)
    }

    fn names_unreadable(&self) -> bool {
        self.class == Some(ErrorClass::Unreadable) || self.reason.is_some()
    }

    fn fits_everything(&self) -> bool {
        self.message.is_none() && self.class.is_none() && self.reason.is_none() && self.error.is_none()
    }

    fn decide(&self, failure: &Failure, random: u64) -> Decision {
        match self.policy.decide(failure, random) {
            Decision::ErrorQueue if self.discards => Decision::Discard,
            decision => decision,
        }
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("policy", &self.policy)
            .field("discards", &self.discards)
            .field("message", &self.message)
            .field("class", &self.class)
            .field("reason", &self.reason)
            .field("error", &self.error.is_some())
            .field("older_than", &self.older_than)
            .finish()
    }
}

/// Rules in their order, and which errors are of which class. The first rule that fits counts.
#[derive(Clone, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    classes: Vec<Class>,
}

impl Rules {
    /// No rules: every failure goes by the endpoint's policy.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            rules: Vec::new(),
            classes: Vec::new(),
        }
    }

    /// Adds a rule behind the others.
    pub fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    /// Errors that came of an `E`, by `?`, are of the class that `class` says, and not unexpected. The first that fits
    /// counts; a class that the handler itself has chosen stays.
    pub fn classify<E: Error + 'static>(&mut self, class: impl Fn(&E) -> ErrorClass + Send + Sync + 'static) {
        self.classes
            .push(Arc::new(move |error| error.cause::<E>().map(&class)));
    }

    /// The class that an error has here.
    pub(crate) fn class_of(&self, error: &HandlerError) -> ErrorClass {
        let known = || self.classes.iter().find_map(|class| class(error));
        match error.class() {
            ErrorClass::Unexpected => known().unwrap_or(ErrorClass::Unexpected),
            chosen => chosen,
        }
    }

    /// The error with the class that it has here.
    pub(crate) fn classified(&self, error: HandlerError) -> HandlerError {
        let class = self.class_of(&error);
        error.with_class(class)
    }

    /// How long after its first failure a message can still be retried by any of the rules.
    pub(crate) fn horizon(&self) -> Duration {
        let horizons = self.rules.iter().map(|rule| rule.policy.horizon());
        horizons.max().unwrap_or_default()
    }

    /// What can't be meant, each with the line that mends it.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for rule in &self.rules {
            if rule.discards && rule.fits_everything() {
                faults.push(String::from(
                    "a rule discards whatever fails: say of what, with `.message::<…>()`, `.class(…)`, `.reason(…)` or `.error::<…>()`",
                ));
            }
        }
        faults
    }

    /// What to do after a failure to handle a message of the wire name `message`: by the first rule that fits, else by
    /// `policy`. Pure; `random` is any 64 random bits.
    #[must_use]
    pub fn decide(
        &self,
        policy: &RetryPolicy,
        message: &str,
        error: &HandlerError,
        failure: &Failure,
        random: u64,
    ) -> Decision {
        match self.first(message, error, failure) {
            Some(rule) => rule.decide(failure, random),
            None => policy.decide(failure, random),
        }
    }

    /// The policy that counts for a failure.
    pub(crate) fn policy(
        &self,
        policy: &RetryPolicy,
        message: &str,
        error: &HandlerError,
        failure: &Failure,
    ) -> RetryPolicy {
        self.first(message, error, failure)
            .map_or(*policy, |rule| rule.policy)
    }

    fn first(&self, message: &str, error: &HandlerError, failure: &Failure) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.fits(message, error, failure))
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("rules", &self.rules)
            .field("classes", &self.classes.len())
            .finish()
    }
}
