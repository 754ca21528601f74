//! What a saga does with which message: the definition, with the types of messages no longer known to the compiler.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;

use longhaul_core::handler::{HandlerError, HandlerResult, Received};
use longhaul_core::message::{Message, MessageKind};
use longhaul_core::reason::Reason;

use crate::context::SagaContext;
use crate::not_found::NotFoundContext;
use crate::saga::Saga;
use crate::saga_id::checked_key;

/// A decoded message.
pub(crate) type Decoded = Box<dyn Any>;

type KeyOf = Box<dyn Fn(&dyn Any) -> Option<String> + Send + Sync>;
type Start<S> = Box<dyn Fn(Decoded, &mut SagaContext<S>) -> HandlerResult<S> + Send + Sync>;
type Handle<S> = Box<dyn Fn(&mut S, Decoded, &mut SagaContext<S>) -> HandlerResult + Send + Sync>;
type NotFound = Box<dyn Fn(Decoded, &mut NotFoundContext<'_>) -> HandlerResult + Send + Sync>;

/// All entries of a saga, by wire name.
pub(crate) struct Table<S: Saga> {
    pub(crate) entries: BTreeMap<&'static str, Entry<S>>,
}

/// What a saga does with messages of one type.
pub(crate) struct Entry<S: Saga> {
    pub(crate) name: &'static str,
    pub(crate) kind: MessageKind,
    pub(crate) rust_type: TypeId,
    decode: fn(&Received) -> HandlerResult<Decoded>,
    pub(crate) keys: Vec<KeyOf>,
    pub(crate) start: Option<Start<S>>,
    pub(crate) handle: Option<Handle<S>>,
    pub(crate) while_compensating: Option<Handle<S>>,
    pub(crate) not_found: Option<NotFound>,
    /// Taken as the answer to steps.
    pub(crate) is_answer: bool,
}

impl<S: Saga> Entry<S> {
    pub(crate) fn new<M: Message>() -> Self {
        Self {
            name: M::NAME,
            kind: M::KIND,
            rust_type: TypeId::of::<M>(),
            decode: |received| Ok(Box::new(received.decode::<M>()?)),
            keys: Vec::new(),
            start: None,
            handle: None,
            while_compensating: None,
            not_found: None,
            is_answer: false,
        }
    }

    pub(crate) fn decode(&self, received: &Received) -> HandlerResult<Decoded> {
        (self.decode)(received)
    }

    /// The key that the closures find in a message; `None` where the saga has no closure for the type.
    pub(crate) fn key(&self, message: &dyn Any) -> HandlerResult<Option<String>> {
        let mut found = self.keys.iter().map(|key| key(message));
        let Some(first) = found.next() else {
            return Ok(None);
        };
        if found.any(|other| other != first) {
            let text = format!(
                "find the instance of {} for {}: its closures for that type find different ids; use one for all",
                S::NAME,
                self.name
            );
            return Err(HandlerError::permanent(text).with_reason(Reason::BadCorrelation));
        }
        checked_key(first, S::NAME, self.name).map(Some)
    }
}

/// The message, as the type that the entry was made for.
pub(crate) fn typed<M: Message>(message: Decoded) -> HandlerResult<M> {
    message.downcast().map(|message| *message).map_err(|_| {
        HandlerError::permanent(format!(
            "handle {}: two types have that wire name; give one of them another",
            M::NAME
        ))
    })
}
