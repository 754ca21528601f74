//! What a message says about itself: names and values beside its body.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Every header of ours begins with this; user code can't set one that does.
pub const RESERVED_PREFIX: &str = "longhaul.";

/// [`crate::envelope::Intent`] of the message.
pub const INTENT: &str = "longhaul.intent";
/// The wire name of the type; up to eight, separated by commas, most specific first.
pub const TYPE: &str = "longhaul.type";
/// The media type of the body.
pub const CONTENT_TYPE: &str = "longhaul.content-type";
/// When the message was sent.
pub const TIME_SENT: &str = "longhaul.time-sent";
/// When the message is to be handled, if later than when it was sent.
pub const DUE: &str = "longhaul.due";
/// The id that all messages share which follow from one first message.
pub const CONVERSATION: &str = "longhaul.conversation";
/// The id of the message whose handling sent this one.
pub const CAUSATION: &str = "longhaul.causation";
/// The id of the message that this one answers.
pub const CORRELATION: &str = "longhaul.correlation";
/// Where replies go.
pub const REPLY_TO: &str = "longhaul.reply-to";
/// The endpoint that sent the message.
pub const ORIGINATING_ENDPOINT: &str = "longhaul.originating-endpoint";
/// Headers with this prefix name the part of the sender that asked; a reply carries them back under [`TARGET_PREFIX`].
pub const ORIGINATOR_PREFIX: &str = "longhaul.originator.";
/// Headers with this prefix name the part of the receiver that is meant.
pub const TARGET_PREFIX: &str = "longhaul.target.";
/// How the names of those parts end that say which life of the others is meant.
pub const PART_LIFE: &str = "incarnation";
/// Which deliberate copy of a message this is: must match the inbox.
pub const GENERATION: &str = "longhaul.generation";
/// Set by a replay from the error queue; the attempts start anew. Its value says which failure is replayed, so that a broker
/// that drops copies takes the replay of another failure for another message.
pub const REPLAY: &str = "longhaul.replay";
/// Attempts made so far, for endpoints without a store.
pub const ATTEMPTS: &str = "longhaul.attempts";
/// When the message failed first, for endpoints without a store.
pub const FIRST_FAILURE: &str = "longhaul.first-failure";
/// How many of the copies before this one were made because nothing took the message yet, and not because it failed.
pub const PUT_OFF: &str = "longhaul.put-off";
/// How many of the copies before this one were made because a breaker or a limit held it up, and not because it failed.
pub const DEFERRED: &str = "longhaul.deferred";
/// What a message is kept in order by, behind one that failed: set by a pipeline step, on the way out or in.
pub const ORDERING_KEY: &str = "longhaul.ordering-key";
/// The id of the pending row that an alarm belongs to.
pub const TIMEOUT_ID: &str = "longhaul.timeout-id";
/// The token that the row must still have.
pub const TIMEOUT_TOKEN: &str = "longhaul.timeout-token";
/// Where the body is that was too large to travel with its message; see [`crate::claim_check`].
pub const BODY: &str = "longhaul.body";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// W3C trace context, vendors' part.
pub const TRACESTATE: &str = "tracestate";

/// Headers that describe why a message is in the error queue begin with this.
pub const ERROR_PREFIX: &str = "longhaul.error.";
/// Machine-readable [`crate::reason::Reason`].
pub const ERROR_REASON: &str = "longhaul.error.reason";
/// The error's text.
pub const ERROR_TEXT: &str = "longhaul.error.text";
/// The texts of the error's causes, outermost first, one a line.
pub const ERROR_CHAIN: &str = "longhaul.error.chain";
/// The error's class.
pub const ERROR_CLASS: &str = "longhaul.error.class";
/// The endpoint that gave up.
pub const ERROR_ENDPOINT: &str = "longhaul.error.endpoint";
/// The queue that the message came from, to which a replay sends it.
pub const ERROR_SOURCE: &str = "longhaul.error.source-queue";
/// How often it was tried.
pub const ERROR_ATTEMPTS: &str = "longhaul.error.attempts";
/// When it failed first.
pub const ERROR_FIRST: &str = "longhaul.error.first-failure";
/// When it failed last.
pub const ERROR_LAST: &str = "longhaul.error.last-failure";
/// What later messages are kept in order by, and wait behind this one for: one a line, for people.
pub const ERROR_ORDER: &str = "longhaul.error.order";
/// The machine that gave up.
pub const ERROR_HOST: &str = "longhaul.error.host";

/// What the runtime adds to a message that was sent within its limits: retries, timeouts, the error queue and replays.
/// These don't count towards [`crate::limits::Limits::headers`].
pub(crate) const ADDED: [&str; 21] = [
    BODY,
    GENERATION,
    REPLAY,
    ATTEMPTS,
    FIRST_FAILURE,
    PUT_OFF,
    DEFERRED,
    TIMEOUT_ID,
    TIMEOUT_TOKEN,
    DUE,
    ERROR_REASON,
    ERROR_TEXT,
    ERROR_CHAIN,
    ERROR_CLASS,
    ERROR_ENDPOINT,
    ERROR_SOURCE,
    ERROR_ATTEMPTS,
    ERROR_FIRST,
    ERROR_LAST,
    ERROR_ORDER,
    ERROR_HOST,
];

/// Names and values, sorted by name; each name once.
///
/// ```
/// use longhaul_core::headers::Headers;
/// let mut headers = Headers::new();
/// headers.set("tenant", "acme");
/// assert_eq!(headers.get("tenant"), Some("acme"));
/// ```
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headers(Vec<(Cow<'static, str>, String)>);

impl Headers {
    /// No headers.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(have, _)| have.as_ref().cmp(name))
    }

    /// The value under `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        // They are few, and most differ in length: quicker than a search by order, which compares their common beginnings.
        let mut all = self.0.iter();
        all.find(|(have, _)| have.as_ref() == name)
            .map(|(_, value)| value.as_str())
    }

    /// Sets a value, in place of an earlier one.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        let name = name.into();
        match self.position(&name) {
            Ok(at) => self.0[at].1 = value.into(),
            Err(at) => self.0.insert(at, (name, value.into())),
        }
    }

    /// Takes a value out.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        self.position(name).ok().map(|at| self.0.remove(at).1)
    }

    /// Keeps only the headers for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.0.retain(|(name, _)| keep(name));
    }

    /// All headers, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_str()))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<N: Into<Cow<'static, str>>, V: Into<String>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut headers = Self::new();
        for (name, value) in pairs {
            headers.set(name, value);
        }
        headers
    }
}
