//! Sagas through the participant that endpoints run: one module a subject, one test a situation.

#![expect(clippy::needless_pass_by_value, reason = "a saga is given its messages")]

mod correlation;
mod definition;
mod evolve;
mod lifecycle;
mod replies;
mod timeouts;
