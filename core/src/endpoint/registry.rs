//! Which participants take which message.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::envelope::Intent;
use crate::handler::{Context, Handler, HandlerResult, Received};
use crate::message::{Message, MessageKind};
use crate::outbound::Outbound;
use crate::stateful::{Became, Described, StatefulHandler};

/// A handler whose message type is no longer known to the compiler.
pub(crate) trait AnyHandler: Send + Sync {
    /// Decodes the message and handles it.
    fn handle(&self, received: Arc<Received>, outbound: Outbound) -> BoxFuture<'_, HandlerResult<Outbound>>;

    /// Decodes the message and says what handling it would send; `None`: there is no dry run.
    fn dry_run(
        &self,
        received: Arc<Received>,
        outbound: Outbound,
    ) -> BoxFuture<'_, Option<HandlerResult<Outbound>>>;
}

struct Typed<M, H>(H, std::marker::PhantomData<fn(M)>);

impl<M: Message, H: Handler<M>> AnyHandler for Typed<M, H> {
    fn handle(&self, received: Arc<Received>, outbound: Outbound) -> BoxFuture<'_, HandlerResult<Outbound>> {
        Box::pin(async move {
            let message: M = received.decode()?;
            let mut context = Context::new(received, outbound);
            self.0.handle(message, &mut context).await?;
            Ok(context.into_outbound())
        })
    }

    fn dry_run(
        &self,
        received: Arc<Received>,
        outbound: Outbound,
    ) -> BoxFuture<'_, Option<HandlerResult<Outbound>>> {
        Box::pin(async move {
            let message: M = match received.decode() {
                Ok(message) => message,
                Err(error) => return Some(Err(error)),
            };
            let mut context = Context::new(received, outbound);
            let ran = self.0.dry_run(message, &mut context).await?;
            Some(ran.map(|()| context.into_outbound()))
        })
    }
}

/// A handler as it was registered.
pub(crate) struct Registered {
    pub(crate) name: Arc<str>,
    pub(crate) idempotent: bool,
    /// What it calls outside.
    pub(crate) destination: Option<Arc<str>>,
    pub(crate) handler: Box<dyn AnyHandler>,
}

/// What takes one type of message.
pub(crate) struct Takers {
    /// The wire name of the type.
    pub(crate) name: Arc<str>,
    pub(crate) kind: Option<MessageKind>,
    pub(crate) handlers: Vec<Registered>,
    pub(crate) stateful: Vec<Arc<dyn StatefulHandler>>,
    /// What its handlers call outside, each once.
    pub(crate) destinations: Vec<Arc<str>>,
}

impl std::fmt::Debug for Takers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Takers")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Takers {
    /// Whether a message may be handled again long after it was forgotten.
    pub(crate) fn all_idempotent(&self) -> bool {
        self.stateful.is_empty() && self.handlers.iter().all(|handler| handler.idempotent)
    }

    /// Whether a message with this intent may be of this type.
    pub(crate) fn allows(&self, intent: Intent) -> bool {
        match intent {
            Intent::Send => self.kind != Some(MessageKind::Event) && self.kind != Some(MessageKind::Timeout),
            Intent::Publish => self.kind == Some(MessageKind::Event),
            Intent::Reply => self.kind != Some(MessageKind::Timeout),
            Intent::Timeout => self.kind == Some(MessageKind::Timeout),
        }
    }
}

/// Participants by wire name.
#[derive(Default)]
pub(crate) struct Registry {
    types: BTreeMap<String, Takers>,
    names: Vec<String>,
    pub(crate) faults: Vec<String>,
}

impl Registry {
    pub(crate) fn add_handler<M: Message>(&mut self, handler: impl Handler<M>, idempotent: bool) {
        let destination: Option<Arc<str>> = handler.depends_on().map(Arc::from);
        let takers = self.takers(M::NAME, M::KIND);
        if let Some(destination) = &destination
            && !takers.destinations.contains(destination)
        {
            takers.destinations.push(Arc::clone(destination));
        }
        let name = Arc::from(format!("{}#{}", M::NAME, takers.handlers.len()));
        let handler = Box::new(Typed(handler, std::marker::PhantomData));
        takers.handlers.push(Registered {
            name,
            idempotent,
            destination,
            handler,
        });
    }

    pub(crate) fn add_stateful(&mut self, participant: impl StatefulHandler) {
        let participant: Arc<dyn StatefulHandler> = Arc::new(participant);
        let name = participant.name().to_owned();
        if self.names.contains(&name) {
            self.faults.push(format!(
                "{name:?} is registered twice: register it once, or give one another name"
            ));
        }
        self.names.push(name);
        self.faults.extend(participant.faults());
        for accepts in participant.accepts() {
            self.takers(&accepts.type_name, accepts.kind)
                .stateful
                .push(Arc::clone(&participant));
        }
    }

    fn takers(&mut self, type_name: &str, kind: MessageKind) -> &mut Takers {
        let takers = self.types.entry(type_name.to_owned()).or_insert_with(|| Takers {
            name: Arc::from(type_name),
            kind: None,
            handlers: Vec::new(),
            stateful: Vec::new(),
            destinations: Vec::new(),
        });
        if takers.kind.is_some_and(|have| have != kind) {
            self.faults.push(format!(
                "two types have the wire name {type_name:?} but are of different kinds: give one of them another `#[message(…)]`"
            ));
        }
        takers.kind = Some(kind);
        takers
    }

    /// All that handlers call outside, each at least once.
    pub(crate) fn destinations(&self) -> impl Iterator<Item = &Arc<str>> {
        self.types.values().flat_map(|takers| &takers.destinations)
    }

    /// How its participants look, each once.
    pub(crate) fn described(&self) -> Vec<Described> {
        let participants = self.types.values().flat_map(|takers| &takers.stateful);
        let described = participants.filter_map(|participant| participant.described());
        let by_name: BTreeMap<_, _> = described.map(|one| (one.name.clone(), one)).collect();
        by_name.into_values().collect()
    }

    pub(crate) fn get(&self, type_name: &str) -> Option<&Takers> {
        self.types.get(type_name)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// The statuses that instances of participants with state may come to; some may be told more than once.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = Became> {
        let participants = self.types.values().flat_map(|takers| &takers.stateful);
        participants.flat_map(|participant| participant.statuses())
    }

    pub(crate) fn has_stateful(&self) -> bool {
        !self.names.is_empty()
    }

    pub(crate) fn not_idempotent(&self) -> Vec<&str> {
        let types = self.types.iter().filter(|(_, takers)| !takers.all_idempotent());
        types.map(|(name, _)| name.as_str()).collect()
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = &str> {
        let types = self
            .types
            .iter()
            .filter(|(_, takers)| takers.kind == Some(MessageKind::Event));
        types.map(|(name, _)| name.as_str())
    }

    pub(crate) fn handles_command(&self, type_name: &str) -> bool {
        self.types
            .get(type_name)
            .is_some_and(|takers| takers.kind == Some(MessageKind::Command))
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.types.keys()).finish()
    }
}
