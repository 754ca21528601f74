//! Bodies of failed messages that the claim check keeps elsewhere.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use longhaul_core::admin::Found;
use longhaul_core::claim_check::{BodyStore, Claim};
use longhaul_core::clock::within;
use longhaul_core::envelope::Incoming;
use longhaul_core::headers;

use crate::errors::error::{OpsError, OpsErrorKind};
use crate::errors::error_queue::ErrorQueue;

/// For one body to be read or kept.
const CALL: Duration = Duration::from_secs(20);

impl ErrorQueue {
    /// Bodies that are kept elsewhere are read from this store: they are shown and exported, and a replay makes sure that they are
    /// still there, and makes them young again.
    #[must_use]
    pub fn with_bodies(mut self, bodies: impl BodyStore) -> Self {
        self.bodies = Some(Arc::new(bodies));
        self
    }

    /// The body of a message, from wherever it is kept.
    ///
    /// # Errors
    /// It is kept elsewhere, and there is no store to read it from ([`OpsErrorKind::BodyElsewhere`]); or it is gone, or can't be read.
    pub async fn body(&self, found: &Found) -> Result<Bytes, OpsError> {
        let Some(claim) = Claim::of(&found.incoming) else {
            return Ok(found.incoming.body.clone());
        };
        let Some(bodies) = &self.bodies else {
            let text = format!(
                "read the body {} of {} bytes: it is kept elsewhere; name the place with --claim-check",
                claim.key(),
                claim.bytes()
            );
            return Err(OpsError::new(OpsErrorKind::BodyElsewhere, text));
        };
        let fetched = self.fetch(&**bodies, claim).await;
        fetched.map_err(|why| OpsError::new(OpsErrorKind::File, why))
    }

    /// The message with its body, where it is kept elsewhere and can be read here; the second says whether it stayed elsewhere.
    pub(crate) async fn whole(&self, incoming: &Incoming) -> Result<(Incoming, bool), String> {
        let mut whole = incoming.clone();
        let Some(claim) = Claim::of(incoming) else {
            return Ok((whole, false));
        };
        let Some(bodies) = &self.bodies else {
            return Ok((whole, true));
        };
        whole.body = self.fetch(&**bodies, claim).await?;
        whole.headers.retain(|(name, _)| name != headers::BODY);
        Ok((whole, false))
    }

    /// Makes sure that the body of a message that is sent again is there, and will be for as long as one that is new.
    pub(crate) async fn keep_young(&self, incoming: &Incoming) -> Result<(), String> {
        let (Some(claim), Some(bodies)) = (Claim::of(incoming), &self.bodies) else {
            return Ok(());
        };
        let body = self.fetch(&**bodies, claim).await?;
        let key = claim.key();
        match within(&*self.clock, CALL, bodies.put(&key, &body)).await {
            Some(kept) => kept.map_err(|error| error.to_string()),
            None => Err(format!("keep the body {key}: there was no answer in time")),
        }
    }

    async fn fetch(&self, bodies: &dyn BodyStore, claim: Claim) -> Result<Bytes, String> {
        let key = claim.key();
        match within(&*self.clock, CALL, bodies.get(&key, claim.bytes())).await {
            Some(Ok(body)) if claim.is_of(&body) => Ok(body),
            Some(Ok(_)) => Err(format!(
                "read the body {key}: what is there is not the body that was kept"
            )),
            Some(Err(error)) => Err(error.to_string()),
            None => Err(format!("read the body {key}: there was no answer in time")),
        }
    }
}
