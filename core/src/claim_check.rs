//! The claim check (Hohpe and Woolf, *Enterprise Integration Patterns*): a body that is too large for the broker is kept
//! elsewhere, and the message carries its key.
//!
//! [`ClaimCheck`] goes around any transport, and any [`BodyStore`] keeps the bodies: a [`Directory`] that all processes
//! share, or a bucket. A body is kept before its message is sent, and read back before the message is handed out, so that
//! endpoints notice nothing. Nothing is removed when a message has been handled, since others may have a copy of it: what
//! keeps the bodies removes them by age, later than any message can come.
//!
//! ```
//! # use std::sync::Arc;
//! # use longhaul_core::{claim_check::{ClaimCheck, Directory}, transport::Transport};
//! # fn example<T: Transport>(broker: T, folder: &std::path::Path) -> std::io::Result<ClaimCheck<T>> {
//! let bodies = Directory::open(folder)?;
//! let broker = ClaimCheck::new(broker, bodies).over(64 * 1024);
//! # Ok(broker) }
//! ```

mod directory;
mod receiver;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::watch;
use uuid::Uuid;

use crate::address::Address;
use crate::clock::{Clock, SystemClock, within};
use crate::envelope::Incoming;
use crate::headers;
use crate::transport::{
    Accepted, Capabilities, Declare, Dispatch, Health, Receiver, ReceiverOptions, Report, Topology,
    Transport, TransportError, TransportErrorKind,
};

pub use directory::Directory;
use receiver::{Fetcher, Fetching, Room};

/// What the keys of bodies are derived in.
const NAMESPACE: Uuid = Uuid::from_u128(0x6c8f_1b7e_53d2_4a0c_9be4_2f5d_0a91_37c6);
/// How many bodies of one batch are kept at the same time.
const AT_ONCE: usize = 8;
/// For one body to be kept or read.
const CALL: Duration = Duration::from_secs(20);
/// The largest body unless it is set.
const MOST: usize = 16 * 1024 * 1024;
/// Bodies that were read and not settled, unless it is set.
const UNSETTLED: usize = 128 * 1024 * 1024;

/// Keeps bodies under keys. Object safe.
#[async_trait]
pub trait BodyStore: fmt::Debug + Send + Sync + 'static {
    /// Keeps a body. It is durable on return. Idempotent: the same key always has the same body, and keeping it again
    /// makes it young again.
    ///
    /// # Errors
    /// It may or may not be kept; the same call may be made again.
    async fn put(&self, key: &BodyKey, body: &Bytes) -> Result<(), BodyError>;

    /// Reads a body back. `bytes` is how long it is: what is longer need not be read to its end.
    ///
    /// # Errors
    /// [`BodyErrorKind::Missing`] only where there is none for certain.
    async fn get(&self, key: &BodyKey, bytes: usize) -> Result<Bytes, BodyError>;
}

#[async_trait]
impl<T: BodyStore + ?Sized> BodyStore for Arc<T> {
    async fn put(&self, key: &BodyKey, body: &Bytes) -> Result<(), BodyError> {
        (**self).put(key, body).await
    }

    async fn get(&self, key: &BodyKey, bytes: usize) -> Result<Bytes, BodyError> {
        (**self).get(key, bytes).await
    }
}

/// Names a body by what is in it: letters, digits and `-` only.
///
/// ```
/// use longhaul_core::claim_check::BodyKey;
/// let key = BodyKey::of(b"a large body");
/// assert_eq!(BodyKey::parse(&key.to_string()), Some(key));
/// assert_eq!(BodyKey::parse("../../etc/passwd"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyKey(Uuid);

impl BodyKey {
    /// The key of a body.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        Self(Uuid::new_v5(&NAMESPACE, body))
    }

    /// Reads the text form, strictly.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let key = Self(Uuid::parse_str(text).ok()?);
        (key.to_string() == text).then_some(key)
    }
}

impl fmt::Display for BodyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.hyphenated())
    }
}

/// Why a body was not kept or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyError {
    kind: BodyErrorKind,
    text: String,
}

/// What kind of error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyErrorKind {
    /// There is no such body.
    Missing,
    /// Access was refused.
    Denied,
    /// It can't be reached, or failed: later it may work.
    Unavailable,
}

impl BodyError {
    /// An error with a text that reads after "failed to".
    pub fn new(kind: BodyErrorKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }

    /// What kind of error it is.
    #[must_use]
    pub const fn kind(&self) -> BodyErrorKind {
        self.kind
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for BodyError {}

/// A transport whose large bodies are kept elsewhere. All endpoints that send or get large bodies need it, with the same
/// store.
///
/// A body is kept elsewhere where the transport would refuse the message, or where it is [over](ClaimCheck::over) a
/// limit of its own. Where a body is gone when its message comes, the message goes to the error queue as `missing-body`;
/// where it only can't be read right now, the message is given back and comes again.
///
/// The endpoint has limits too: raise [`Limits::body_bytes`](crate::limits::Limits::body_bytes) on both sides, and see to
/// it that the sender's store takes rows of that size.
#[derive(Debug)]
pub struct ClaimCheck<T> {
    transport: T,
    over: usize,
    most: usize,
    fetcher: Fetcher,
}

impl<T: Transport> ClaimCheck<T> {
    /// Puts it around a transport.
    pub fn new(transport: T, bodies: impl BodyStore) -> Self {
        let over = transport.capabilities().max_body;
        Self {
            transport,
            over,
            most: MOST,
            fetcher: Fetcher {
                bodies: Arc::new(bodies),
                clock: Arc::new(SystemClock),
                room: Room::new(UNSETTLED),
            },
        }
    }

    /// Bodies over so many bytes are kept elsewhere; by default only those that the transport would refuse.
    #[must_use]
    pub fn over(mut self, bytes: usize) -> Self {
        self.over = bytes.min(self.transport.capabilities().max_body);
        self
    }

    /// The largest body, in bytes; 16 MiB by default.
    #[must_use]
    pub const fn most(mut self, bytes: usize) -> Self {
        self.most = bytes;
        self
    }

    /// How many bytes of bodies that were read may be unsettled before no more are read; 128 MiB by default. One body may
    /// always be.
    #[must_use]
    pub fn unsettled_bytes(mut self, bytes: usize) -> Self {
        self.fetcher.room = Room::new(bytes);
        self
    }

    /// Another clock than the system's.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.fetcher.clock = Arc::new(clock);
        self
    }

    /// The transport inside.
    pub const fn transport(&self) -> &T {
        &self.transport
    }

    fn is_large(&self, dispatch: &Dispatch) -> bool {
        let bytes = dispatch.envelope.body.len();
        bytes > 0 && (bytes > self.over || self.transport.check(dispatch).is_err())
    }

    /// The message as it travels, and the key of its body.
    fn light(dispatch: &Dispatch) -> (Dispatch, BodyKey) {
        let mut light = dispatch.clone();
        let body = std::mem::take(&mut light.envelope.body);
        let key = BodyKey::of(&body);
        let claim = Claim {
            key,
            bytes: body.len(),
        };
        light.envelope.headers.set(headers::BODY, claim.to_string());
        (light, key)
    }

    async fn keep(&self, dispatch: &Dispatch) -> Result<Dispatch, TransportError> {
        self.fits(dispatch)?;
        let (light, key) = Self::light(dispatch);
        let body = &dispatch.envelope.body;
        let kept = within(&*self.fetcher.clock, CALL, self.fetcher.bodies.put(&key, body)).await;
        let id = &dispatch.envelope.id;
        match kept {
            Some(Ok(())) => Ok(light),
            Some(Err(error)) => {
                let kind = match error.kind() {
                    BodyErrorKind::Denied => TransportErrorKind::Denied,
                    BodyErrorKind::Missing | BodyErrorKind::Unavailable => TransportErrorKind::Rejected,
                };
                let text = format!("send {id}, whose body has to be kept elsewhere: {error}");
                Err(TransportError::new(kind, text).with_source(error))
            }
            None => Err(TransportError::new(
                TransportErrorKind::Rejected,
                format!("send {id}: what keeps its body did not answer in time; try again later"),
            )),
        }
    }

    fn fits(&self, dispatch: &Dispatch) -> Result<(), TransportError> {
        let (bytes, most) = (dispatch.envelope.body.len(), self.most);
        if bytes <= most {
            return Ok(());
        }
        Err(TransportError::new(
            TransportErrorKind::Invalid,
            format!(
                "send {}: its body of {bytes} bytes is over the limit of {most}; raise ClaimCheck::most",
                dispatch.envelope.id
            ),
        ))
    }
}

/// What a message says of its body that is kept elsewhere: which one it is, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    key: BodyKey,
    bytes: usize,
}

impl Claim {
    /// The claim of a message without a body. One that has both is as it is, and can't be read.
    #[must_use]
    pub fn of(incoming: &Incoming) -> Option<Self> {
        if !incoming.body.is_empty() {
            return None;
        }
        let mut claims = incoming.headers.iter().filter(|(name, _)| name == headers::BODY);
        let (_, value) = claims.next()?;
        claims.next().is_none().then_some(())?;
        Self::parse(std::str::from_utf8(value).ok()?)
    }

    /// Which body.
    #[must_use]
    pub const fn key(&self) -> BodyKey {
        self.key
    }

    /// How long it is, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether this is the body that is meant.
    #[must_use]
    pub fn is_of(&self, body: &[u8]) -> bool {
        body.len() == self.bytes && BodyKey::of(body) == self.key
    }

    fn parse(text: &str) -> Option<Self> {
        let (key, bytes) = text.split_once(' ')?;
        Some(Self {
            key: BodyKey::parse(key)?,
            bytes: bytes.parse().ok()?,
        })
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.bytes)
    }
}

#[async_trait]
impl<T: Transport> Transport for ClaimCheck<T> {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_body: self.most,
            ..self.transport.capabilities()
        }
    }

    fn check(&self, dispatch: &Dispatch) -> Result<(), TransportError> {
        if self.is_large(dispatch) {
            self.fits(dispatch)?;
            return self.transport.check(&Self::light(dispatch).0);
        }
        self.transport.check(dispatch)
    }

    async fn prepare(&self, topology: &Topology, mode: Declare) -> Result<Report, TransportError> {
        self.transport.prepare(topology, mode).await
    }

    async fn receiver(
        &self,
        source: &Address,
        options: ReceiverOptions,
    ) -> Result<Box<dyn Receiver>, TransportError> {
        let receiver = self.transport.receiver(source, options).await?;
        Ok(Box::new(Fetching::new(receiver, self.fetcher.clone())))
    }

    async fn dispatch(&self, batch: &[Dispatch]) -> Vec<Result<Accepted, TransportError>> {
        if !batch.iter().any(|dispatch| self.is_large(dispatch)) {
            return self.transport.dispatch(batch).await;
        }
        let kept: Vec<_> = batch
            .iter()
            .map(|dispatch| async move {
                if self.is_large(dispatch) {
                    self.keep(dispatch).await
                } else {
                    Ok(dispatch.clone())
                }
            })
            .collect();
        let kept: Vec<Result<Dispatch, TransportError>> =
            stream::iter(kept).buffered(AT_ONCE).collect().await;
        let ready: Vec<Dispatch> = kept
            .iter()
            .filter_map(|kept| kept.as_ref().ok())
            .cloned()
            .collect();
        let mut sent = self.transport.dispatch(&ready).await.into_iter();
        let unknown = || {
            TransportError::new(
                TransportErrorKind::Unknown,
                "send: no outcome was reported; send it again",
            )
        };
        kept.into_iter()
            .map(|kept| kept.and_then(|_| sent.next().unwrap_or_else(|| Err(unknown()))))
            .collect()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.transport.health()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_claim_is_not_of_the_strict_form_it_is_none() {
        let claim = Claim {
            key: BodyKey::of(b"x"),
            bytes: 1,
        };
        assert_eq!(Claim::parse(&claim.to_string()), Some(claim));
        for wrong in [
            "",
            "x 1",
            "6C8F1B7E-53D2-4A0C-9BE4-2F5D0A9137C6 1",
            "6c8f1b7e53d24a0c9be42f5d0a9137c6 1",
            "6c8f1b7e-53d2-4a0c-9be4-2f5d0a9137c6 -1",
            "6c8f1b7e-53d2-4a0c-9be4-2f5d0a9137c6",
            "../6c8f1b7e-53d2-4a0c-9be4-2f5d0a9137c6 1",
        ] {
            assert_eq!(Claim::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn when_the_seam_is_used_as_an_object_it_compiles() {
        const fn _object_safe(_: &dyn BodyStore) {}
    }
}
