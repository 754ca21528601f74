//! The system under test: its endpoints, as a user declares them.

use std::fmt;
use std::sync::Arc;

use longhaul_core::endpoint::EndpointBuilder;

use crate::outside::Outside;

type Deploy = Arc<dyn Fn(EndpointBuilder, &Outside) -> EndpointBuilder + Send + Sync>;

/// The endpoints of a simulated system.
///
/// Each is given as the function that puts it together: it is called anew whenever the process starts. Name, broker,
/// store, clock and randomness are there already; what is added is what the production code adds.
#[derive(Clone, Default)]
pub struct World {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) client_is_stored: bool,
    pub(crate) requests_at_once: bool,
    pub(crate) operator: Operator,
}

/// What an operator does about messages that have failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Operator {
    /// Nothing, but replay what an older version of the code could not read.
    #[default]
    Idle,
    /// Replays each once, when faults are over.
    Replays,
    /// Discards each, and lets pass what waits in order behind it.
    Discards,
}

/// One endpoint.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) name: String,
    pub(crate) is_stored: bool,
    pub(crate) instances: u8,
    /// One for each version of the code, the first first; a restart goes on to the next.
    pub(crate) versions: Vec<Deploy>,
}

impl Endpoint {
    /// The number of the newest version.
    pub(crate) const fn newest(&self) -> usize {
        self.versions.len() - 1
    }
}

impl World {
    /// An endpoint with a store.
    #[must_use]
    pub fn endpoint(
        self,
        name: &str,
        deploy: impl Fn(EndpointBuilder, &Outside) -> EndpointBuilder + Send + Sync + 'static,
    ) -> Self {
        self.with(name, true, Arc::new(deploy))
    }

    /// An endpoint without a store: handlers only, all of them idempotent.
    #[must_use]
    pub fn storeless(
        self,
        name: &str,
        deploy: impl Fn(EndpointBuilder, &Outside) -> EndpointBuilder + Send + Sync + 'static,
    ) -> Self {
        self.with(name, false, Arc::new(deploy))
    }

    /// Whoever makes the requests has a store, and may end at any step like the others.
    #[must_use]
    pub const fn stored_client(mut self) -> Self {
        self.client_is_stored = true;
        self
    }

    /// Requests begin at once. Else they wait until every endpoint has been up once, as in a system that is deployed: an
    /// endpoint that has never been up has subscribed to nothing, and misses what is published.
    #[must_use]
    pub const fn requests_at_once(mut self) -> Self {
        self.requests_at_once = true;
        self
    }

    /// The last endpoint runs as so many processes, which share its queue and its store.
    #[must_use]
    pub fn instances(mut self, count: u8) -> Self {
        if let Some(last) = self.endpoints.last_mut() {
            last.instances = count.max(1);
        }
        self
    }

    /// The next version of the last endpoint: a process that starts again may start with it, or with the one before.
    ///
    /// When faults are over the newest runs everywhere, and an operator replays once what was set aside because the older
    /// one could not read what the newer one had stored.
    #[must_use]
    pub fn then(
        mut self,
        deploy: impl Fn(EndpointBuilder, &Outside) -> EndpointBuilder + Send + Sync + 'static,
    ) -> Self {
        if let Some(last) = self.endpoints.last_mut() {
            last.versions.push(Arc::new(deploy));
        }
        self
    }

    /// When faults are over and the newest versions run, an operator replays once whatever is in the error queue.
    #[must_use]
    pub const fn replayed(mut self) -> Self {
        self.operator = Operator::Replays;
        self
    }

    /// Whenever everything is at rest an operator discards whatever is in the error queue, and has its endpoint let pass what waits
    /// in order behind it: with [`LetPass`](longhaul_core::control::LetPass), which the endpoint must take.
    #[must_use]
    pub const fn discarded(mut self) -> Self {
        self.operator = Operator::Discards;
        self
    }

    fn with(mut self, name: &str, is_stored: bool, deploy: Deploy) -> Self {
        self.endpoints.push(Endpoint {
            name: name.to_owned(),
            is_stored,
            instances: 1,
            versions: vec![deploy],
        });
        self
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.endpoints.iter().map(|endpoint| &endpoint.name))
            .finish()
    }
}
