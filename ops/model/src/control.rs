//! What an operator tells running endpoints: messages to their queues.

use std::fmt;
use std::sync::Arc;

use longhaul_core::address::Address;
use longhaul_core::admin::QueueAdmin;
use longhaul_core::clock::{Clock, Timestamp};
use longhaul_core::control::LetPass;
use longhaul_core::envelope::{Envelope, Intent};
use longhaul_core::headers::{self, Headers};
use longhaul_core::ids::{MessageId, SystemRandomness, new_message_id};
use longhaul_core::message::Message;
use longhaul_core::transport::{Destination, Dispatch, Transport};
use longhaul_sagas::control::Operate;
use serde::Serialize;

use crate::errors::{OpsError, OpsErrorKind};

/// Tells the endpoints of one broker what to do. Each takes it only if it was built to, with `operable_saga` or `operable_order`; else
/// the message goes to its error queue.
pub struct Operator {
    transport: Arc<dyn Transport>,
    admin: Arc<dyn QueueAdmin>,
    clock: Arc<dyn Clock>,
}

impl Operator {
    /// On this broker; `transport` and `admin` are of the same one.
    pub fn new(transport: Arc<dyn Transport>, admin: Arc<dyn QueueAdmin>, clock: Arc<dyn Clock>) -> Self {
        Self {
            transport,
            admin,
            clock,
        }
    }

    /// Whether there is an endpoint of that name, or was: it has a queue.
    ///
    /// # Errors
    /// [`OpsErrorKind::NoSuchQueue`] where it has none, and the others of [`OpsErrorKind`].
    pub async fn check(&self, endpoint: &Address) -> Result<(), OpsError> {
        self.admin.depth(endpoint).await?;
        Ok(())
    }

    /// Tells `endpoint` what to do with an instance of the saga. Returns the id of the message, confirmed by the broker; the
    /// endpoint handles it when it runs.
    ///
    /// # Errors
    /// [`OpsErrorKind::Invalid`] where what is wanted makes no sense, and the others of [`OpsErrorKind`].
    pub async fn operate(
        &self,
        endpoint: &Address,
        saga: &str,
        operate: &Operate,
    ) -> Result<MessageId, OpsError> {
        if let Some(fault) = operate.fault() {
            let text = format!("{} of {saga} {:?}: {fault}", operate.action, operate.id);
            return Err(OpsError::new(OpsErrorKind::Invalid, text));
        }
        self.check(endpoint).await?;
        let command = command(&Operate::type_name(saga), operate, self.clock.now())?;
        let id = command.id.clone();
        send(&*self.transport, endpoint, command).await?;
        Ok(id)
    }

    /// Tells `endpoint` that a message does not come back which others wait behind in order. Returns the id of the message that
    /// says so.
    ///
    /// # Errors
    /// See [`OpsErrorKind`].
    pub async fn let_pass(&self, endpoint: &Address, first: MessageId) -> Result<MessageId, OpsError> {
        self.check(endpoint).await?;
        let command = let_pass(LetPass { first }, self.clock.now())?;
        let id = command.id.clone();
        send(&*self.transport, endpoint, command).await?;
        Ok(id)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "sending gives the message away")]
pub(crate) fn let_pass(let_pass: LetPass, now: Timestamp) -> Result<Envelope, OpsError> {
    command(LetPass::NAME, &let_pass, now)
}

fn command(type_name: &str, body: &impl Serialize, now: Timestamp) -> Result<Envelope, OpsError> {
    let body = serde_json::to_vec(body)
        .map_err(|error| OpsError::new(OpsErrorKind::Invalid, format!("write the message: {error}")))?;
    let id = new_message_id(now, &SystemRandomness);
    let headers = Headers::from_iter([
        (headers::INTENT, Intent::Send.as_str().to_owned()),
        (headers::TYPE, type_name.to_owned()),
        (headers::CONTENT_TYPE, String::from("application/json")),
        (headers::TIME_SENT, now.to_string()),
        (headers::CONVERSATION, id.to_string()),
    ]);
    Ok(Envelope::new(id, headers, body.into()))
}

/// Sends it; on return the broker has it.
pub(crate) async fn send(
    transport: &dyn Transport,
    endpoint: &Address,
    envelope: Envelope,
) -> Result<(), OpsError> {
    let dispatch = Dispatch {
        envelope,
        to: Destination::Queue(endpoint.clone()),
        due: None,
    };
    let sent = transport.dispatch(std::slice::from_ref(&dispatch)).await;
    for result in sent {
        result?;
    }
    Ok(())
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operator").finish_non_exhaustive()
    }
}
