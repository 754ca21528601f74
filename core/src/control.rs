//! What an operator tells a running endpoint: messages like any other, that it takes only if it was built to.

use serde::{Deserialize, Serialize};

use crate::ids::MessageId;
use crate::message::{Command, Message, MessageKind};
use crate::recoverability::Limit;

/// Changes how much of one message type an endpoint handles, from now on.
///
/// The endpoint must allow it, with `EndpointBuilder::adjustable_limits`, and have a limit for the type; anything else goes to its
/// error queue. With a store the change is kept: it counts after a restart, too. Where several processes run the endpoint,
/// the one that takes the message changes at once, and the others when they start again.
///
/// ```
/// use longhaul_core::control::ChangeLimit;
/// use longhaul_core::recoverability::Limit;
/// use std::time::Duration;
///
/// let slower = ChangeLimit {
///     message: String::from("billing.charge_card.v1"),
///     limit: Limit::none().rate(10, Duration::from_secs(1)),
/// };
/// # drop(slower);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeLimit {
    /// The wire name of the messages.
    pub message: String,
    /// The limit from now on.
    pub limit: Limit,
}

// Not derived: a compiler that misses one of the user's messages must not propose these.
#[diagnostic::do_not_recommend]
impl Message for ChangeLimit {
    const NAME: &'static str = "longhaul.change_limit.v1";
    const KIND: MessageKind = MessageKind::Command;
}

#[diagnostic::do_not_recommend]
impl Command for ChangeLimit {}

/// Lets messages pass that wait in order behind one that does not come back, because it was discarded from the error queue.
///
/// The endpoint must allow it, with `EndpointBuilder::operable_order`; otherwise it goes to the error queue. A failed message
/// that nothing waits behind changes nothing, and neither does the same a second time. Of one that is not known to have failed, or
/// not any more, it is retried, since that may not be noted yet, and then fails.
///
/// ```
/// use longhaul_core::control::LetPass;
/// use longhaul_core::ids::MessageId;
///
/// let discarded = MessageId::new("0193fe2c-5f0a-7c11-9b62-2f7a3c3e8d10")?;
/// let on = LetPass { first: discarded };
/// # drop(on);
/// # Ok::<(), longhaul_core::ids::InvalidId>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LetPass {
    /// The message that was discarded.
    pub first: MessageId,
}

#[diagnostic::do_not_recommend]
impl Message for LetPass {
    const NAME: &'static str = "longhaul.let_pass.v1";
    const KIND: MessageKind = MessageKind::Command;
}

#[diagnostic::do_not_recommend]
impl Command for LetPass {}
