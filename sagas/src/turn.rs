//! What handling one message has recorded so far, as plain data.

use std::borrow::Cow;

use bytes::Bytes;
use longhaul_core::clock::Timestamp;
use longhaul_core::envelope::Intent;
use longhaul_core::headers::Headers;
use longhaul_core::ids::MessageId;
use longhaul_core::outbound::{Outbound, Outgoing, TimeoutRequest};
use longhaul_core::reason::Reason;
use longhaul_core::store::{PendingChange, RecordKey};

use crate::correlation::{self, Identity};

/// Messages, timeouts and changes of timeouts of one handling.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) now: Timestamp,
    pub(crate) outbound: Outbound,
    pub(crate) fault: Option<(Reason, String)>,
    owner: RecordKey,
    timeout_type: String,
    /// Says in messages who sent them, so that answers come back.
    pub(crate) sender: Headers,
    /// Says in alarms whom they are for.
    target: Headers,
    drafts: Vec<Draft>,
    // Ids of timeouts derive from their position; this one only counts.
    counter: Outbound,
    changes: Vec<PendingChange>,
}

/// A timeout asked for in this turn: it may still be moved or taken back.
#[derive(Debug)]
struct Draft {
    request: TimeoutRequest,
    withdrawn: bool,
}

impl Turn {
    pub(crate) fn new(now: Timestamp, outbound: Outbound, identity: &Identity) -> Self {
        Self {
            now,
            fault: None,
            owner: identity.record_key(),
            timeout_type: correlation::timeout_type(&identity.saga),
            sender: identity.sender_headers(),
            target: identity.target_headers(),
            drafts: Vec::new(),
            counter: outbound.clone(),
            outbound,
            changes: Vec::new(),
        }
    }

    /// Makes the whole handling fail for good; the first fault stays.
    pub(crate) fn fail(&mut self, reason: Reason, text: impl Into<String>) {
        self.fault.get_or_insert_with(|| (reason, text.into()));
    }

    /// A command of the saga whose body was written before.
    pub(crate) fn send_encoded(&mut self, type_name: String, body: Bytes) -> &mut Outgoing {
        let sender = self.sender.clone();
        let outgoing = self
            .outbound
            .record_encoded(Cow::Owned(type_name), Intent::Send, body);
        outgoing.parts = sender;
        outgoing
    }

    /// Asks for a timeout.
    pub(crate) fn request_timeout(&mut self, name: String, body: Bytes, due: Timestamp) -> MessageId {
        let mut request = TimeoutRequest {
            id: self.counter.next_timeout_id(),
            owner: self.owner.clone(),
            name,
            type_name: Cow::Owned(self.timeout_type.clone()),
            body,
            due,
            headers: self.target.clone(),
        };
        request.id = self.counter.request_timeout(request.clone());
        let id = request.id.clone();
        self.drafts.push(Draft {
            request,
            withdrawn: false,
        });
        id
    }

    /// The names of the timeouts asked for and not taken back.
    pub(crate) fn timeouts_asked(&self) -> impl Iterator<Item = &str> {
        let kept = self.drafts.iter().filter(|draft| !draft.withdrawn);
        kept.map(|draft| draft.request.name.as_str())
    }

    /// Whether nothing becomes of a timeout and nothing is sent but replies: a question that was answered.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut messages = self.outbound.messages().iter();
        messages.all(|message| message.intent == Intent::Reply)
            && self.drafts.is_empty()
            && self.changes.is_empty()
    }

    /// Cancels a timeout, of this turn or of an earlier one.
    pub(crate) fn cancel_timeout(&mut self, id: &MessageId) {
        match self.drafts.iter_mut().find(|draft| draft.request.id == *id) {
            Some(draft) => draft.withdrawn = true,
            None => {
                self.changes
                    .retain(|change| !matches!(change, PendingChange::Move { id: moved, .. } if moved == id));
                self.changes.push(PendingChange::Cancel(id.clone()));
            }
        }
    }

    /// Gives a timeout, of this turn or of an earlier one, another time.
    pub(crate) fn move_timeout(&mut self, id: &MessageId, due: Timestamp) {
        if let Some(draft) = self.drafts.iter_mut().find(|draft| draft.request.id == *id) {
            draft.request.due = due;
            return;
        }
        self.changes
            .retain(|change| !matches!(change, PendingChange::Move { id: moved, .. } if moved == id));
        self.changes.push(PendingChange::Move {
            id: id.clone(),
            due,
            attention: self.now,
        });
    }

    /// What is to be sent and what becomes of timeouts.
    pub(crate) fn finish(mut self) -> (Outbound, Vec<PendingChange>) {
        for draft in self.drafts {
            let id = self.outbound.request_timeout(draft.request);
            if draft.withdrawn {
                self.outbound.withdraw_timeout(&id);
            }
        }
        if let Some((reason, text)) = self.fault {
            self.outbound.fail(reason, text);
        }
        (self.outbound, self.changes)
    }
}
