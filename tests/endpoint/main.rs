//! The endpoint's guarantees on the embedded broker and the memory store, on virtual time.

mod hostile;
mod inbox;
mod outbox;
mod retries;
mod setup;
mod timeouts;
mod world;
