//! The world outside the endpoints: third parties whose effects are counted, each time they happen.

use std::fmt;
use std::future::pending;

use longhaul_core::clock::{Clock, Timestamp};

use crate::hub::{HOP, Incarnation, World};
use crate::plan::{Fault, Site};
use crate::trace::What;

/// Something that a third party did.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Call {
    /// What it did: `charge`.
    pub what: String,
    /// For what: the order, the customer.
    pub about: String,
    /// How much.
    pub amount: i64,
    /// The idempotency key that came with it, if it honours one.
    pub key: Option<String>,
    /// When, in the world's time, which begins with the year 2026.
    pub at: Timestamp,
}

/// A third party did not do what it was asked, or did not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreachable;

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed to reach the third party: it did not answer; it may or may not have done it")
    }
}

impl std::error::Error for Unreachable {}

/// Third parties, as handlers reach them: declared effects, which fail like real ones.
///
/// ```
/// # use longhaul_core::handler::{Context, Handler, HandlerResult};
/// # use longhaul_core::Command;
/// # use longhaul_simulation::Outside;
/// # #[derive(Command, serde::Serialize, serde::Deserialize)]
/// # #[message("billing.charge_card.v1")]
/// # struct ChargeCard { order: u64, cents: i64 }
/// struct Billing { outside: Outside }
///
/// impl Handler<ChargeCard> for Billing {
///     async fn handle(&self, charge: ChargeCard, ctx: &mut Context) -> HandlerResult {
///         let order = charge.order.to_string();
///         self.outside.once("charge", &order, charge.cents, ctx.idempotency_key()).await?;
///         Ok(())
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Outside(pub(crate) Incarnation);

impl Outside {
    /// Takes so long, and does nothing.
    pub async fn wait(&self, time: std::time::Duration) {
        self.0.pass(time).await;
    }

    /// Has `what` done about `about`. A third party that knows no idempotency keys: it does it each time that it is asked.
    ///
    /// # Errors
    /// [`Unreachable`], whether or not it was done.
    pub async fn each(&self, what: &str, about: &str, amount: i64) -> Result<(), Unreachable> {
        self.call(what, about, amount, None).await
    }

    /// Has `what` done about `about`, unless it was done under this idempotency key before.
    ///
    /// # Errors
    /// [`Unreachable`], whether or not it was done.
    pub async fn once(
        &self,
        what: &str,
        about: &str,
        amount: i64,
        key: impl Into<String>,
    ) -> Result<(), Unreachable> {
        self.call(what, about, amount, Some(key.into())).await
    }

    /// What was done about `about` so far, as far as the third party says.
    ///
    /// # Errors
    /// [`Unreachable`].
    pub async fn done(&self, what: &str, about: &str) -> Result<Vec<Call>, Unreachable> {
        self.0.pass(HOP).await;
        let fault = self.0.act(|world| world.chooser.ask(Site::Outside)).await;
        self.suffer(fault).await?;
        let about = |world: &mut World| {
            let calls = world.calls.iter();
            calls
                .filter(|call| call.what == what && call.about == about)
                .cloned()
                .collect()
        };
        Ok(self.0.act(about).await)
    }

    async fn call(
        &self,
        what: &str,
        about: &str,
        amount: i64,
        key: Option<String>,
    ) -> Result<(), Unreachable> {
        let call = Call {
            what: what.to_owned(),
            about: about.to_owned(),
            amount,
            key,
            at: self.0.hub.clock.now() + HOP,
        };
        self.0.pass(HOP).await;
        let fault = self
            .0
            .act(|world| {
                let fault = world.chooser.ask(Site::Outside);
                let is_done = match fault {
                    Some(Fault::Refused) => false,
                    Some(Fault::Unknown { done } | Fault::Silence { done } | Fault::Panic { done }) => done,
                    _ => true,
                };
                if is_done {
                    self.put(world, call);
                }
                fault
            })
            .await;
        self.suffer(fault).await
    }

    fn put(&self, world: &mut World, call: Call) {
        let known =
            |before: &Call| before.key.is_some() && (&before.what, &before.key) == (&call.what, &call.key);
        if !world.calls.iter().any(known) {
            world.calls.push(call.clone());
            self.0.note(world, What::Called(call));
        }
    }

    async fn suffer(&self, fault: Option<Fault>) -> Result<(), Unreachable> {
        match fault {
            Some(Fault::Refused | Fault::Unknown { .. }) => {
                self.0.pass(HOP).await;
                Err(Unreachable)
            }
            Some(Fault::Silence { .. }) => pending().await,
            Some(Fault::Panic { .. }) => {
                self.0.pass(HOP).await;
                // Without the message that a panic prints: it is meant.
                std::panic::resume_unwind(Box::new("the answer can't be read"))
            }
            Some(Fault::Late(later)) => {
                self.0.pass(later).await;
                Ok(())
            }
            _ => {
                self.0.pass(HOP).await;
                Ok(())
            }
        }
    }
}
