//! Operating a running system: read models and actions over the seams of `longhaul-core`.
//!
//! [`errors`] lists, groups, replays, edits, discards, exports and imports what is in an error queue. All of it streams: a page
//! of messages is in memory at a time, and never the queue. [`doctor`] says whether everything is as it should
//! be, [`stored`] what an endpoint has stored; [`control`] tells running endpoints what to do, [`outbox`] sends what
//! one left unsent, and [`delays`] moves what waits for its time.
//!
//! What it deliberately does not do: name a broker or a store, print, or ask anybody anything. A command or a page for
//! operators does that.

pub mod control;
pub mod delays;
pub mod doctor;
pub mod errors;
pub mod outbox;
pub mod queues;
pub mod stored;
