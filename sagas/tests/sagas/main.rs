//! Sagas through the participant that endpoints run: one module a subject, one test a situation.

#![expect(clippy::needless_pass_by_value, reason = "a saga is given its messages")]
#![expect(clippy::expect_used, reason = "a test that can't go on says so")]

mod answers;
mod compensation;
mod correlation;
mod definition;
mod description;
mod evolve;
mod history;
mod itinerary;
mod lifecycle;
mod operate;
mod plan;
mod random;
mod replies;
mod replies_without_address;
mod several;
mod stored;
mod timeouts;
mod while_compensating;
