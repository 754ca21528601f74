//! One failed message, as its headers tell it.

use longhaul_core::admin::Found;
use longhaul_core::claim_check::Claim;
use longhaul_core::clock::Timestamp;
use longhaul_core::envelope::Incoming;
use longhaul_core::headers;
use serde::Serialize;

/// The parts of headers that name what a message is for, or who asked.
const SAGA_TYPE: &str = "saga-type";
const SAGA_ID: &str = "saga-id";

/// One failed message without its body: what its headers say, read as far as they can be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// The message's id; `None` where it has none that is text.
    pub id: Option<String>,
    /// The wire name of its type, the most specific one; empty where it has none.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Why it was set aside, as a word for programs.
    pub reason: Option<String>,
    /// The class of the error.
    pub class: Option<String>,
    /// What the error said.
    pub text: Option<String>,
    /// What its causes said, outermost first.
    pub chain: Vec<String>,
    /// The endpoint that gave up.
    pub endpoint: Option<String>,
    /// The queue that it came from.
    pub source_queue: Option<String>,
    /// The machine that gave up.
    pub host: Option<String>,
    /// How often it was tried.
    pub attempts: Option<u64>,
    /// When it was sent.
    pub sent: Option<Timestamp>,
    /// When it failed first.
    pub first_failure: Option<Timestamp>,
    /// When it failed last.
    pub last_failure: Option<Timestamp>,
    /// The conversation that it is part of.
    pub conversation: Option<String>,
    /// The message that caused it.
    pub causation: Option<String>,
    /// The sagas that it is for, or that asked for it.
    pub sagas: Vec<PartOf>,
    /// What later messages are kept in order by, and wait behind it for.
    pub order: Vec<String>,
    /// How many bytes its body has.
    pub body_bytes: usize,
    /// The key of its body, where that is kept elsewhere.
    pub body_key: Option<String>,
}

/// A saga that a message belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartOf {
    /// The saga's name.
    pub saga: String,
    /// Which instance, where that is said.
    pub id: Option<String>,
}

impl Failed {
    /// Reads what a pass shows.
    #[must_use]
    pub fn of(found: &Found) -> Self {
        Self::of_incoming(&found.incoming)
    }

    /// Reads a message as it lies there. Values that are not text count as absent.
    #[must_use]
    pub fn of_incoming(incoming: &Incoming) -> Self {
        let text = |name: &str| header(incoming, name).map(str::to_owned);
        let time = |name: &str| header(incoming, name).and_then(|text| Timestamp::parse(text).ok());
        let claim = Claim::of(incoming);
        let types = header(incoming, headers::TYPE).unwrap_or_default();
        let chain = header(incoming, headers::ERROR_CHAIN).unwrap_or_default();
        Self {
            id: incoming
                .id
                .as_deref()
                .and_then(|id| std::str::from_utf8(id).ok())
                .map(str::to_owned),
            type_name: types.split(',').next().unwrap_or_default().trim().to_owned(),
            reason: text(headers::ERROR_REASON),
            class: text(headers::ERROR_CLASS),
            text: text(headers::ERROR_TEXT),
            chain: chain.lines().map(str::to_owned).collect(),
            endpoint: text(headers::ERROR_ENDPOINT),
            source_queue: text(headers::ERROR_SOURCE),
            host: text(headers::ERROR_HOST),
            attempts: header(incoming, headers::ERROR_ATTEMPTS).and_then(|text| text.parse().ok()),
            sent: time(headers::TIME_SENT),
            first_failure: time(headers::ERROR_FIRST),
            last_failure: time(headers::ERROR_LAST),
            conversation: text(headers::CONVERSATION),
            causation: text(headers::CAUSATION),
            sagas: [headers::TARGET_PREFIX, headers::ORIGINATOR_PREFIX]
                .into_iter()
                .filter_map(|prefix| part_of(incoming, prefix))
                .collect(),
            order: text(headers::ERROR_ORDER)
                .iter()
                .flat_map(|order| order.lines())
                .map(str::to_owned)
                .collect(),
            body_bytes: claim.map_or(incoming.body.len(), |claim| claim.bytes()),
            body_key: claim.map(|claim| claim.key().to_string()),
        }
    }
}

/// A header's value, where it is text.
pub(crate) fn header<'a>(incoming: &'a Incoming, name: &str) -> Option<&'a str> {
    let (_, value) = incoming.headers.iter().find(|(have, _)| have == name)?;
    std::str::from_utf8(value).ok()
}

fn part_of(incoming: &Incoming, prefix: &str) -> Option<PartOf> {
    Some(PartOf {
        saga: header(incoming, &format!("{prefix}{SAGA_TYPE}"))?.to_owned(),
        id: header(incoming, &format!("{prefix}{SAGA_ID}")).map(str::to_owned),
    })
}
