//! Steps that every message of an endpoint passes on its way in and out.

use std::time::Duration;

use crate::envelope::{Envelope, Incoming};
use crate::handler::HandlerResult;
use crate::stateful::Became;

/// A message that was handled, as [`PipelineStep::handled`] sees it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Handled<'a> {
    /// The endpoint.
    pub endpoint: &'a str,
    /// The wire name of its type.
    pub type_name: &'a str,
    /// From the beginning of the attempt that succeeded to its commit.
    pub handling: Duration,
    /// From when it was sent, or was due, to the commit; `None` where it does not say when it was sent.
    pub critical: Option<Duration>,
    /// What became of instances of participants with state by it.
    pub became: &'a [Became],
}

/// Looks at, checks or changes messages before they are handled and after they are recorded: signatures, tenants,
/// tracing, ordering keys. Object safe; steps run in the order in which they were added, on the way out in reverse.
///
/// A step is synchronous and repeatable: a retry passes it again, and must come out the same. It leaves the id as it is.
/// What is retried, and what goes to the error queue, is the message as it came, before any step.
///
/// ```
/// use longhaul_core::envelope::Envelope;
/// use longhaul_core::handler::{HandlerError, HandlerResult};
/// use longhaul_core::pipeline::PipelineStep;
///
/// #[derive(Debug)]
/// struct OnlyOurTenant;
///
/// impl PipelineStep for OnlyOurTenant {
///     fn name(&self) -> &str { "only our tenant" }
///     fn incoming(&self, envelope: &mut Envelope) -> HandlerResult {
///         match envelope.headers.get("tenant") {
///             Some("acme") => Ok(()),
///             other => Err(HandlerError::permanent(format!("handle a message of tenant {other:?}"))),
///         }
///     }
/// }
/// ```
pub trait PipelineStep: std::fmt::Debug + Send + Sync + 'static {
    /// What the step is called in logs.
    fn name(&self) -> &str;

    /// A message came in, and is about to be read and handled within `span`: the moment to give the span its parent. Not
    /// called where nobody watches spans of this level.
    fn begun(&self, incoming: &Incoming, span: &tracing::Span) {
        let _ = (incoming, span);
    }

    /// A message was handled: what it caused is committed. To be quick, and not to panic: it is only told.
    fn handled(&self, handled: Handled<'_>) {
        let _ = handled;
    }

    /// A message that came in and was read.
    ///
    /// # Errors
    /// Treated as if the handler had failed with it: retried where its class says so, then set aside. So is a panic.
    fn incoming(&self, envelope: &mut Envelope) -> HandlerResult {
        let _ = envelope;
        Ok(())
    }

    /// A message that is about to be committed and sent.
    ///
    /// # Errors
    /// Treated as if the handler had failed with it; so is a panic. A session reports it to who sends.
    fn outgoing(&self, envelope: &mut Envelope) -> HandlerResult {
        let _ = envelope;
        Ok(())
    }
}
