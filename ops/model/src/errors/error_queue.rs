//! The error queue of a system, and looking at it.

use std::fmt;
use std::sync::Arc;

use longhaul_core::address::Address;
use longhaul_core::admin::{Found, QueueAdmin, QueueDepth};
use longhaul_core::claim_check::BodyStore;
use longhaul_core::clock::Clock;
use longhaul_core::transport::Transport;

use crate::errors::error::{OpsError, OpsErrorKind};
use crate::errors::failed::Failed;
use crate::errors::filter::Filter;
use crate::errors::groups::Groups;
use crate::errors::progress::{Outcome, Progress};
use crate::errors::walk::{PAGE, Walk};

/// The error queue of a system on one broker.
///
/// Looking at it hides nothing for longer than the look lasts, and takes nothing out. Each action is one pass over what was there
/// when it began.
pub struct ErrorQueue {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) admin: Arc<dyn QueueAdmin>,
    pub(crate) name: Address,
    pub(crate) clock: Arc<dyn Clock>,
    /// Where the claim check keeps bodies.
    pub(crate) bodies: Option<Arc<dyn BodyStore>>,
}

/// Which part of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// How many matching messages to pass over.
    pub skip: u64,
    /// The most messages to list; at most [`Page::MOST`].
    pub limit: usize,
}

impl Page {
    /// The most messages of one page.
    pub const MOST: usize = 10_000;
}

impl Default for Page {
    fn default() -> Self {
        Self { skip: 0, limit: 50 }
    }
}

/// A page of failed messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The messages, oldest first.
    pub messages: Vec<Failed>,
    /// Whether there are more that match.
    pub more: bool,
    /// How many messages the queue held.
    pub depth: u64,
}

impl ErrorQueue {
    /// The queue `name`; messages are sent through `transport`, which must be of the same broker as `admin`.
    pub fn new(
        transport: Arc<dyn Transport>,
        admin: Arc<dyn QueueAdmin>,
        name: Address,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            transport,
            admin,
            name,
            clock,
            bodies: None,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &Address {
        &self.name
    }

    /// How listings of this broker differ from a plain look; `None` where there is nothing to know.
    #[must_use]
    pub fn caution(&self) -> Option<&'static str> {
        self.admin.caution()
    }

    /// How many messages it holds.
    ///
    /// # Errors
    /// There is no such queue, or the broker can't be reached.
    pub async fn depth(&self) -> Result<QueueDepth, OpsError> {
        Ok(self.admin.depth(&self.name).await?)
    }

    /// Lists messages that match, oldest first.
    ///
    /// # Errors
    /// See [`OpsErrorKind`].
    pub async fn list(&self, filter: &Filter, page: Page) -> Result<Listing, OpsError> {
        let mut walk = Walk::begin(self).await?;
        let listed = self.list_in(&mut walk, filter, page).await;
        walk.end(listed).await
    }

    async fn list_in(&self, walk: &mut Walk, filter: &Filter, page: Page) -> Result<Listing, OpsError> {
        let (now, limit) = (self.clock.now(), page.limit.min(Page::MOST));
        let mut listing = Listing {
            depth: walk.expected(),
            ..Listing::default()
        };
        let mut to_skip = page.skip;
        // Without a filter no more is taken than is shown.
        let wanted = |listed: usize, to_skip: u64| match filter.is_empty() {
            true => usize::try_from(to_skip)
                .unwrap_or(PAGE)
                .saturating_add(limit - listed + 1),
            false => PAGE,
        };
        loop {
            let found = walk.page(wanted(listing.messages.len(), to_skip)).await?;
            if found.is_empty() {
                return Ok(listing);
            }
            for failed in found.iter().map(Failed::of) {
                if !filter.matches(&failed, now) {
                    continue;
                }
                if to_skip > 0 {
                    to_skip -= 1;
                } else if listing.messages.len() == limit {
                    listing.more = true;
                    return Ok(listing);
                } else {
                    listing.messages.push(failed);
                }
            }
        }
    }

    /// The first message with this id, as it lies there.
    ///
    /// # Errors
    /// [`OpsErrorKind::NoSuchMessage`] where there is none, and the others of [`OpsErrorKind`].
    pub async fn show(&self, id: &str) -> Result<Found, OpsError> {
        let mut walk = Walk::begin(self).await?;
        let found = self.find(&mut walk, id).await;
        walk.end(found).await
    }

    pub(crate) async fn find(&self, walk: &mut Walk, id: &str) -> Result<Found, OpsError> {
        loop {
            let page = walk.page(PAGE).await?;
            if page.is_empty() {
                let text = format!(
                    "find the message {id:?} in the queue {:?}: it is not there; it may have been replayed or discarded",
                    self.name
                );
                return Err(OpsError::new(OpsErrorKind::NoSuchMessage, text));
            }
            let is_it = |found: &Found| found.incoming.id.as_deref() == Some(id.as_bytes());
            if let Some(found) = page.into_iter().find(is_it) {
                return Ok(found);
            }
        }
    }

    /// Groups the messages that match by endpoint, type and error, in one pass; `told` hears how far it is.
    ///
    /// # Errors
    /// See [`OpsErrorKind`].
    pub async fn group(
        &self,
        filter: &Filter,
        told: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Groups, OpsError> {
        let mut walk = Walk::begin(self).await?;
        let grouped = self.group_in(&mut walk, filter, told).await;
        walk.end(grouped).await
    }

    async fn group_in(
        &self,
        walk: &mut Walk,
        filter: &Filter,
        told: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Groups, OpsError> {
        let now = self.clock.now();
        let (mut groups, mut outcome) = (Groups::default(), Outcome::default());
        loop {
            let page = walk.page(PAGE).await?;
            if page.is_empty() {
                return Ok(groups);
            }
            for failed in page.iter().map(Failed::of) {
                outcome.seen += 1;
                if filter.matches(&failed, now) {
                    groups.add(&failed);
                }
            }
            outcome.done = groups.messages;
            told(outcome.progress(walk.expected()));
        }
    }
}

pub(crate) fn count(messages: usize) -> u64 {
    u64::try_from(messages).unwrap_or(u64::MAX)
}

impl fmt::Debug for ErrorQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorQueue")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
