//! Longhaul on RabbitMQ: quorum queues, publisher confirms, delays up to 8.5 years on an unmodified broker.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use longhaul_rabbitmq::RabbitMq;
//!
//! let transport = RabbitMq::builder("amqps://sales@broker-1.example/prod")
//!     .or_at("amqps://sales@broker-2.example/prod")
//!     .connection_name("sales")
//!     .connect()
//!     .await?;
//! # Ok(()) }
//! ```
//!
//! # What it makes on the broker
//!
//! Everything is durable, and every queue is a quorum queue. With the prefix `longhaul`:
//!
//! | object | what for |
//! |---|---|
//! | queue `<endpoint>` | an endpoint's input; messages are sent to it by its name |
//! | queue `<error queue>` | what failed |
//! | exchange `longhaul.event.<type>` | an event; its subscribers' queues are bound to it |
//! | exchange and queue `longhaul.dead-letter` | what the broker takes out of an input queue; nothing should ever be there |
//! | exchanges and queues `longhaul.delay-level-NN`, `longhaul.delay-delivery` | [delays](DelayTopology), shared by all endpoints |
//! | exchange and queue `longhaul.delay-undeliverable` | delayed messages whose queue was gone when they fell due; [send them again](RabbitMq::redeliver_undeliverable) when it is back |
//!
//! What waits can be [looked through](RabbitMq::look_through_delays) and moved; each delayed message says when it is due, in a header
//! (`x-longhaul-due`) that is taken off on receipt.
//!
//! [`plan`] holds all of it as data. Input and error queues have a delivery limit that is never reached: from RabbitMQ
//! 4.0 on the default is 20, and a process that crashes uses it up for messages that it had only taken ahead.
//!
//! Arguments of a queue can't be changed in place. Where one exists with others, preparing fails and says so: stop its
//! consumers, move its messages to another queue (a shovel does it), delete it, and start again.
//!
//! # What it promises
//!
//! - A message counts as sent when the broker has confirmed that very message. Messages go out in windows; returned
//!   ones are told apart by their ids. What is not confirmed in time is reported as unknown.
//! - Acknowledgements reach only the channel that delivered the message. They go out in ranges, without waiting.
//! - A consumer that ends, for whatever reason, is made again, for as long as it takes, with pauses from 0.2 to 5 s.
//! - One connection publishes and another consumes: when the broker is short of memory or disk space, it stops whoever
//!   publishes, and acknowledgements go on.
//! - Every wait for the broker has a [limit](Timing). A connection that does not answer is cut, not closed.
//! - Malformed messages of other programs are handed over; they never end the connection.
//!
//! # What to know when running it
//!
//! - **Logs.** `lapin`, the client underneath, logs returned messages with their bodies at `WARN`, the login at `TRACE`,
//!   and an error for every connection that is given up, which this crate reports too. Turn its target off:
//!   `RUST_LOG=info,lapin=off`.
//! - **Rights.** Declaring needs the right to configure; without it, prepare with `Declare::Assume` and let somebody
//!   else create what [`plan`] lists. Sending delayed messages binds their queue, once per connection; without that
//!   right it relies on the binding that the queue's owner has made.
//! - **Time limits of the broker.** It closes the channel of a message that is not acknowledged within 30 minutes
//!   (`consumer_timeout`); the message comes again.
//! - **Large messages.** The broker limits how many messages are taken ahead, not their size. Above
//!   [a limit in bytes](RabbitMqBuilder::unsettled_bytes) nothing more is read until some are settled.
//! - **One process per queue** (an embedded store) is checked when a receiver starts. RabbitMQ does not keep a later
//!   consumer from a quorum queue.

mod ack_window;
mod admin;
mod backoff;
mod builder;
mod declare;
mod delay;
mod fault;
mod guard;
mod health;
mod link;
mod names;
mod operate;
pub mod plan;
mod properties;
mod publish;
mod rabbit;
mod receive;
mod tap;
mod timing;
mod tls;
mod undeliverable;
mod uri;
mod wire;

pub use builder::RabbitMqBuilder;
pub use delay::{DelayError, DelayRoute, DelayTopology};
pub use publish::Refusing;
pub use rabbit::RabbitMq;
pub use timing::Timing;
pub use undeliverable::Redelivered;
pub use uri::{BrokerUri, UriError};
