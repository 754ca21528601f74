//! Which instance a message is for: by the id in it, or by headers that came back with an answer.

use std::borrow::Cow;

use longhaul_core::envelope::Intent;
use longhaul_core::handler::{HandlerError, HandlerResult, Received};
use longhaul_core::headers::{self, Headers};
use longhaul_core::ids::MessageId;
use longhaul_core::reason::Reason;
use longhaul_core::store::RecordKey;

use crate::saga_id::check_key;

const COLLECTION_PREFIX: &str = "saga/";
const SAGA_TYPE: &str = "saga-type";
const SAGA_ID: &str = "saga-id";
const INCARNATION: &str = "saga-incarnation";

/// The wire name of the alarms of a saga.
pub(crate) fn timeout_type(saga: &str) -> String {
    format!("longhaul.timeout.{saga}")
}

/// The collection of the records of a saga.
pub(crate) fn collection(saga: &str) -> String {
    format!("{COLLECTION_PREFIX}{saga}")
}

/// The saga whose records the collection of that key holds.
pub(crate) fn saga_of(key: &RecordKey) -> Option<&str> {
    key.collection.strip_prefix(COLLECTION_PREFIX)
}

/// One life of one instance.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) saga: Cow<'static, str>,
    pub(crate) key: String,
    pub(crate) incarnation: MessageId,
}

impl Identity {
    pub(crate) fn record_key(&self) -> RecordKey {
        RecordKey::new(collection(&self.saga), &self.key)
    }

    /// What messages of the instance carry, and answers to them bring back.
    pub(crate) fn sender_headers(&self) -> Headers {
        self.headers(headers::ORIGINATOR_PREFIX)
    }

    /// What messages to the instance carry.
    pub(crate) fn target_headers(&self) -> Headers {
        self.headers(headers::TARGET_PREFIX)
    }

    fn headers(&self, prefix: &str) -> Headers {
        let parts = [
            (SAGA_TYPE, &*self.saga),
            (SAGA_ID, &self.key),
            (INCARNATION, self.incarnation.as_str()),
        ];
        parts
            .into_iter()
            .map(|(name, value)| (format!("{prefix}{name}"), value))
            .collect()
    }
}

/// The instance that headers name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named<'a> {
    /// None.
    Nothing,
    /// One of another type.
    Other,
    /// One of this type.
    Ours { key: &'a str, incarnation: &'a str },
}

/// The instance that the headers of a message name. Events name none, whatever stands in them.
pub(crate) fn named<'a>(received: &'a Received, saga: &str) -> HandlerResult<Named<'a>> {
    let header = |name: &str| {
        received
            .envelope
            .headers
            .get(&format!("{}{name}", headers::TARGET_PREFIX))
    };
    if received.intent == Intent::Publish {
        return Ok(Named::Nothing);
    }
    match (header(SAGA_TYPE), header(SAGA_ID), header(INCARNATION)) {
        (None, _, _) => Ok(Named::Nothing),
        (Some(other), _, _) if other != saga => Ok(Named::Other),
        (Some(_), Some(key), Some(incarnation)) => {
            // Whoever can write to the queue can write the header.
            check_key(key, saga, &received.type_name)?;
            Ok(Named::Ours { key, incarnation })
        }
        (Some(_), _, _) => {
            let text = format!(
                "find the instance of {saga} that a message names: its headers say no id and incarnation"
            );
            Err(HandlerError::unreadable(Reason::BadCorrelation, text))
        }
    }
}
