//! Sagas through the participant that endpoints run: one module a subject, one test a situation.

#![expect(clippy::needless_pass_by_value, reason = "a saga is given its messages")]

mod compensation;
mod correlation;
mod definition;
mod evolve;
mod lifecycle;
mod operate;
mod plan;
mod random;
mod replies;
mod timeouts;
