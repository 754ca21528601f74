//! Longhaul: sagas over message brokers, with exactly-once effects.
//!
//! Write a saga as a plain Rust type, run it as an endpoint, and get durable state, an inbox and an outbox, timeouts up
//! to 8.5 years and beyond, compensation, retries and an error queue. With nothing installed it runs on an embedded
//! broker and [sled](https://docs.rs/sled); on RabbitMQ or Amazon SQS it runs unchanged (features
//! `rabbitmq` and `sqs`).
//!
//! Begin with [`prelude`], [`endpoint::Endpoint`] and [`sagas`]. The guide is in `docs/guide`, and every file in
//! `examples` is a short tour.
//!
//! ```
//! use longhaul::prelude::*;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Command, Serialize, Deserialize)]
//! #[message("greeter.greet.v1")]
//! struct Greet { name: String }
//!
//! struct Greeter;
//!
//! impl Handler<Greet> for Greeter {
//!     async fn handle(&self, greet: Greet, _ctx: &mut Context) -> HandlerResult {
//!         println!("Hello, {}!", greet.name);
//!         Ok(())
//!     }
//! }
//!
//! # #[cfg(feature = "embedded")]
//! # async fn run() -> Result<(), longhaul::Error> {
//! Endpoint::builder("greeter")
//!     .transport(LocalBroker::in_memory(std::sync::Arc::new(SystemClock)))
//!     .persistence(Memory::new())
//!     .handler::<Greet>(Greeter)
//!     .run_until(longhaul::stop_signal())
//!     .await
//! # }
//! ```
//!
//! # Features
//!
//! - `embedded` (default): the embedded broker, the sled store, the memory store.
//! - `rabbitmq`: endpoints on RabbitMQ.
//! - `sqs`: endpoints on Amazon SQS.
//! - `host`: an endpoint as a process: settings from a file and the environment, health over HTTP, graceful stop.
//! - `prometheus` and `otlp`: metrics, and traces, of such a process.
//! - `s3`: with `sqs`, bodies that are too large for it in a bucket of S3.
//! - `testing`: scenarios for sagas, the simulation of whole systems, virtual time, and the contract suites for transports
//!   and stores. It belongs into `dev-dependencies`: it lets the simulation end processes within the runtime.

pub use longhaul_core::{
    Command, Event, Message, address, admin, claim_check, clock, codec, control, endpoint, envelope, handler,
    headers, ids, limits, message, outbound, outside, pipeline, reason, recoverability, stateful, store,
    transport,
};
pub use longhaul_core::{endpoint::EndpointError as Error, signals::stop_signal};
pub use longhaul_sagas as sagas;

#[cfg(feature = "embedded")]
pub use longhaul_embedded as embedded;
#[cfg(feature = "host")]
pub use longhaul_host as host;
#[cfg(feature = "embedded")]
pub use longhaul_local as local;
#[cfg(feature = "embedded")]
pub use longhaul_memory as memory;
#[cfg(feature = "rabbitmq")]
pub use longhaul_rabbitmq as rabbitmq;
#[cfg(feature = "embedded")]
pub use longhaul_sled as sled;
#[cfg(all(feature = "embedded", unix))]
pub use longhaul_socket as socket;
#[cfg(feature = "sqs")]
pub use longhaul_sqs as sqs;

#[cfg(feature = "testing")]
pub mod testing {
    //! What tests need: [`scenario`] for one saga, [`Simulation`] for a whole system, the contract suites for adapters
    //! ([`transport_suite`], [`store_suite`], and [`admin_suite`] for what operators do with queues).

    pub use longhaul_simulation::{
        Call, Committed, CrashPoint, Effects, Explored, Failure, FaultKind, Faults, Holds, InvalidSchedule,
        Moment, Outside, Personality, PointCount, Schedule, Sent, Simulation, Summary, Unreachable, Workload,
        World,
    };
    pub use longhaul_testing::{
        admin_contract_suite, admin_suite, scenario, store_contract_suite, store_suite,
        transport_contract_suite, transport_suite, virtual_time,
    };
}

pub mod prelude {
    //! What most endpoints need: `use longhaul::prelude::*;`.

    pub use longhaul_core::clock::{Clock, SystemClock, Timestamp};
    pub use longhaul_core::endpoint::{Endpoint, Session};
    pub use longhaul_core::handler::{Context, Handler, HandlerError, HandlerResult};
    pub use longhaul_core::ids::MessageId;
    pub use longhaul_core::message::{Command, Event, Message};
    pub use longhaul_core::recoverability::RetryPolicy;
    pub use longhaul_core::{Command, Event, Message};
    pub use longhaul_sagas::{
        CompensationPolicy, Definition, Itinerary, Journey, NoTimeout, Saga, SagaContext, SagaEndpoint,
        SagaId, Steps,
    };

    #[cfg(feature = "embedded")]
    pub use longhaul_embedded::Database;
    #[cfg(feature = "embedded")]
    pub use longhaul_local::LocalBroker;
    #[cfg(feature = "embedded")]
    pub use longhaul_memory::Memory;
    #[cfg(feature = "rabbitmq")]
    pub use longhaul_rabbitmq::RabbitMq;
    #[cfg(feature = "embedded")]
    pub use longhaul_sled::Sled;
    #[cfg(feature = "sqs")]
    pub use longhaul_sqs::Sqs;
}

#[cfg(all(doctest, feature = "embedded"))]
mod documents {
    //! The code in the README and the guide compiles.

    #[doc = include_str!("../README.md")]
    struct Readme;

    #[doc = include_str!("../docs/guide/first-steps.md")]
    struct FirstSteps;

    #[doc = include_str!("../docs/guide/sagas.md")]
    struct Sagas;

    #[cfg(feature = "host")]
    #[doc = include_str!("../docs/guide/host.md")]
    struct Host;
    #[doc = include_str!("../docs/guide/failures.md")]
    struct Failures;

    #[doc = include_str!("../docs/guide/operating.md")]
    struct Operating;

    #[doc = include_str!("../docs/guide/outside-world.md")]
    struct OutsideWorld;

    #[cfg(feature = "rabbitmq")]
    #[doc = include_str!("../docs/guide/rabbitmq.md")]
    struct OnRabbitMq;

    #[cfg(feature = "sqs")]
    #[doc = include_str!("../docs/guide/sqs.md")]
    struct OnSqs;

    #[cfg(feature = "testing")]
    #[doc = include_str!("../docs/guide/testing.md")]
    struct Testing;
}
