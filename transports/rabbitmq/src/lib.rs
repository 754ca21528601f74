//! Longhaul on RabbitMQ: quorum queues, publisher confirms, delays up to 8.5 years.

mod ack_window;
mod backoff;
mod builder;
mod declare;
mod delay;
mod fault;
mod guard;
mod health;
mod link;
mod names;
pub mod plan;
mod properties;
mod publish;
mod rabbit;
mod receive;
mod tap;
mod timing;
mod tls;
mod uri;
mod wire;

pub use builder::RabbitMqBuilder;
pub use delay::{DelayError, DelayRoute, DelayTopology};
pub use publish::Refusing;
pub use rabbit::RabbitMq;
pub use timing::Timing;
pub use uri::{BrokerUri, UriError};
