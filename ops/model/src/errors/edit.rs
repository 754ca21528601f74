//! Editing: a failed message is replaced by a new one with another body.

use std::sync::Arc;

use bytes::Bytes;
use longhaul_core::address::Address;
use longhaul_core::admin::Found;
use longhaul_core::codec::{self, JsonCodec};
use longhaul_core::envelope::Envelope;
use longhaul_core::headers;
use longhaul_core::ids::MessageId;
use longhaul_core::transport::{Destination, Dispatch};
use longhaul_record::Record;
use serde::de::IgnoredAny;

use crate::errors::copying::{Copy, Pace, copy};
use crate::errors::error::{OpsError, OpsErrorKind};
use crate::errors::error_queue::ErrorQueue;
use crate::errors::failed::header;
use crate::errors::progress::Outcome;
use crate::errors::replay::Target;
use crate::errors::resend;
use crate::errors::walk::Walk;

/// How a failed message is to be replaced.
#[derive(Debug, Clone)]
pub struct Edit {
    /// Which message.
    pub id: String,
    /// The body of the new one: JSON, unless the message says that its body is something else.
    pub body: Bytes,
    /// Where the new one goes.
    pub target: Target,
    /// Whether to say what would be done, and do nothing.
    pub dry_run: bool,
}

/// A message that replaced another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// The id of the new message. It follows from the old id and the new body.
    pub id: MessageId,
    /// Where it was sent.
    pub to: Address,
}

impl ErrorQueue {
    /// Sends a new message with the headers of a failed one and another body; the failed one is its cause, and is taken out once
    /// the new one is confirmed. Done twice with the same body it is the same new message.
    ///
    /// Of the body it is checked that it is JSON, read as strictly as an endpoint does. Whether it is what its type wants, the
    /// endpoint says: ask it first with what [`ErrorQueue::edited`] tells.
    ///
    /// # Errors
    /// [`OpsErrorKind::Invalid`] where the body is no JSON or the message can never be sent; nothing was sent then. The others of
    /// [`OpsErrorKind`], among them what the broker says when it refuses the new message.
    pub async fn edit(&self, edit: &Edit) -> Result<Edited, OpsError> {
        let mut walk = Walk::begin(self).await?;
        let edited = self.edit_in(&mut walk, edit).await;
        walk.end(edited).await
    }

    /// The message that an edit would send, as one that failed: for a program with the endpoint's code, to rehearse it.
    ///
    /// # Errors
    /// As [`ErrorQueue::edit`].
    pub async fn edited(&self, edit: &Edit) -> Result<Record, OpsError> {
        let mut walk = Walk::begin(self).await?;
        let composed = match self.find(&mut walk, &edit.id).await {
            Ok(found) => self.compose(&found, edit),
            Err(error) => Err(error),
        };
        let (_, envelope) = walk.end(composed).await?;
        Ok(Record::of(&envelope.into()))
    }

    fn compose(&self, found: &Found, edit: &Edit) -> Result<(Address, Envelope), OpsError> {
        let invalid = |why: String| OpsError::new(OpsErrorKind::Invalid, why).during(&doing(edit));
        check(found, &edit.body).map_err(invalid)?;
        let to = edit.target.of(found).map_err(invalid)?;
        let envelope =
            resend::edited(&found.incoming, edit.body.clone(), self.clock.now()).map_err(invalid)?;
        Ok((to, envelope))
    }

    async fn edit_in(&self, walk: &mut Walk, edit: &Edit) -> Result<Edited, OpsError> {
        let found = self.find(walk, &edit.id).await?;
        let (to, envelope) = self.compose(&found, edit)?;
        let edited = Edited {
            id: envelope.id.clone(),
            to: to.clone(),
        };
        if edit.dry_run {
            return Ok(edited);
        }
        let dispatch = Dispatch {
            envelope,
            to: Destination::Queue(to),
            due: None,
        };
        let copies = vec![Copy {
            place: found.place,
            dispatch,
        }];
        let mut pace = Pace::new(Arc::clone(&self.clock), None);
        let mut outcome = Outcome::default();
        let refused = copy(
            &*self.transport,
            walk,
            copies,
            &mut pace,
            &mut outcome,
            &mut |_| {},
        )
        .await?;
        match refused {
            None => Ok(edited),
            Some(error) => Err(OpsError::from(error).during(&doing(edit))),
        }
    }
}

fn doing(edit: &Edit) -> String {
    format!("edit the message {:?}", edit.id)
}

/// A body that is no JSON is refused before anything is sent.
fn check(found: &Found, body: &[u8]) -> Result<(), String> {
    let content_type = header(&found.incoming, headers::CONTENT_TYPE).unwrap_or("application/json");
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    codec::decode::<IgnoredAny>(&JsonCodec::default(), body)
        .map(drop)
        .map_err(|error| format!("{error}; correct the body"))
}
