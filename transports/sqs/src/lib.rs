//! Longhaul on Amazon SQS: standard queues, FIFO queues where order matters, events over SNS, delays.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use longhaul_sqs::Sqs;
//!
//! let transport = Sqs::builder().region("eu-west-1").prefix("prod-").connect().await?;
//! # Ok(()) }
//! ```
//!
//! Credentials come from where the SDK looks for them: the environment, a profile, the container, the machine. Profiles
//! that sign in through a browser (`sso`) are not compiled in.
//!
//! # What it makes at AWS
//!
//! | object | what for |
//! |---|---|
//! | queue `<prefix><endpoint>` | an endpoint's input |
//! | queue `<prefix><endpoint>-delay.fifo` | only with [`SqsBuilder::long_delays`]: what senders without a store delay for long |
//! | queue `<prefix><endpoint>.fifo` | only with [`SqsBuilder::ordered`]: an endpoint's input, in place of the first |
//! | queue `<prefix><endpoint>_inlet` | beside it: delayed messages and events, which the endpoint moves on |
//! | queue `<prefix><error queue>` | what failed; messages stay for 14 days, the longest that SQS has |
//! | topic `<prefix><event>` | an event; the queues of its subscribers get it as it is (raw delivery) |
//! | a statement `LonghaulEvents` in the policy of a subscribing queue | lets topics of the prefix send to it |
//! | a tag `longhaul-consumer` on a queue | while an endpoint whose store belongs to one process consumes it |
//!
//! [`Sqs::plan`] lists it before it is made, with the least rights that it takes. A name has at most 80 characters at
//! SQS. Letters, digits and `-` stay, a dot becomes two underscores, anything else `_` and two hexadecimal digits per
//! byte: `sales.order_placed` is `sales__order_5fplaced`. Nothing is cut, so no two endpoints share a queue.
//!
//! A queue that is there is taken as it is, unless it would lose messages: one with a redrive policy, and an error
//! queue that forgets sooner than in 14 days, are refused.
//!
//! # What it promises
//!
//! - A message counts as sent when SQS has confirmed that very entry. What is throttled is sent again after a pause; what
//!   may have been taken is reported as unknown and never sent again by this crate. A message may come twice all the same,
//!   as always with SQS: the id is in an attribute, and the inbox knows it.
//! - A poll that has begun is never given up for a stop: a receiver that closes waits for it, up to 20 s, and releases
//!   what it brings.
//! - A message is invisible to others while it is handled: its lease is renewed at half of it. Where that fails for good,
//!   handling stops before somebody else can have the message.
//! - Acknowledged means that SQS has deleted the message.
//! - Every wait has a [limit](Timing). The SDK's own retries are off.
//!
//! # What to know when running it
//!
//! - **Order.** Standard queues have none. Sagas don't need it; handlers that do have [FIFO queues](#order).
//! - **Delays.** SQS keeps a message for at most 900 s. An endpoint with a store is not limited by that: the rest waits there,
//!   as one row, and costs one request in the end. Senders without a store are refused longer delays, unless both they and
//!   the endpoint have [`SqsBuilder::long_delays`]: then messages go round in a FIFO queue, 900 s each [lap](laps), with the
//!   time when they are due, and come at most a second late. **The limit:** what goes round is lost when the endpoint
//!   does not run for 14 days, since SQS keeps nothing for longer. Each start says so in the log.
//! - **Size.** A body of up to 720 KiB can be sent, an event of 256 KiB with its headers; what is larger is refused before it is
//!   committed. With the feature `s3`, larger bodies are kept in a bucket ([`Sqs`]`::bodies`) by the
//!   [claim check](longhaul_core::claim_check).
//! - **One process per queue** (an embedded store) is checked with a tag. After a process was killed, the next one waits
//!   for up to 24 s until the tag has run out ([`Timing::tag`]).
//! - **Cost.** Under load a message takes about a third of a request: a tenth to send, a tenth to receive, a tenth to
//!   delete. An idle queue is polled three times a minute, one for long delays too. [`Sqs::requests`] counts.
//!
//! # Order
//!
//! With [`SqsBuilder::ordered`] the input queues of the named endpoints are FIFO queues. All programs of a system name the same
//! ones, as they have the same prefix.
//!
//! Order is kept within a [group](longhaul_core::ordering::group). A message's group is the ordering key that a pipeline step has
//! set; else the saga instance that it is for (replies, timeouts); else the saga instance that it comes from; else its own id, so
//! that it is alone. Of one group, one message after the other is handed out, in all processes together. One that is given back,
//! or whose lease is lost, is followed by none: those that SQS had handed out behind it are given back unhandled, and come after
//! it. Sends to one group from one transport go out one after the other, and behind one that failed nothing of its group is sent
//! in that batch.
//!
//! What order does not hold:
//!
//! - A message that is *retried later*, or delayed, joins its group again when it is due, behind what came meanwhile. Immediate retries
//!   keep the order, and so does the error queue with `saga.keep_order()` or an ordering key.
//! - What a sender sends again, after a crash or because SQS could not be reached, may come after what it has sent since.
//! - Events of a topic, and delayed messages, go through the inlet: a FIFO queue takes neither from a standard topic nor with a
//!   delay. They have the order in which they leave it. With [`SqsBuilder::subscribers`] the publisher sends its events to the FIFO
//!   queues itself, in order.
//!
//! **Copies.** A FIFO queue drops what it has had within five minutes under the same deduplication id. That is made of the message id
//! and all headers ([`copy`](longhaul_core::ordering::copy)): a message that is sent again, since nobody knew whether it arrived, is
//! dropped; a retry, a replay from the error queue and a timeout that was moved are not.
//!
//! **Throughput.** SQS takes 300 requests a second for a FIFO queue, of each kind, 3,000 messages in full batches. Queues that are made
//! here are in high-throughput mode, where that holds per partition: a group has up to 300 requests a second, all groups together
//! thousands, by region up to 70,000. A request holds one message of a group at most, and a group's next message is handled when the
//! one before is done. FIFO requests cost a quarter more ($0.50 a million in most regions), and a message through the inlet three
//! tenths of a request more.
//!
//! **Names.** With its inlet a name has at most 74 characters, prefix included, and does not end with `-delay`.
//!
//! **Moving to order.** An endpoint does not start in order while its standard queue is there, nor for the first time while messages are
//! left in its queue for long delays: they would stay there. Stop the senders, let the endpoint empty both, delete them, and start all of
//! them with the endpoint named. SQS can't turn one into the other. Going back is the same: with messages in `NAME.fifo` or `NAME_inlet`
//! the first start without order is refused.
//!
//! # Messages of other programs
//!
//! A message with an attribute `type` is read as one of that type. Its id is that of SQS or in the attribute `id`, its
//! intent is `send` unless an attribute `intent` says `publish`, its content type `application/json` unless an attribute
//! `content-type` says otherwise; other attributes that are text become headers. A notification of SNS without raw delivery
//! is unwrapped if what is in it is ours or names its type so. Anything else is handed out as it is: the endpoint can't
//! read it and moves it to the error queue unchanged.
//!
//! # Where the emulators differ
//!
//! The tests run on two emulators: MiniStack 1.5.33 and fauxqs 2.4.1. What was seen of them, where it is not what AWS documents:
//!
//! | | MiniStack | fauxqs | AWS |
//! |---|---|---|---|
//! | delays over 900 s | taken | taken | refused |
//! | invisibility over 12 h | taken | refused | refused |
//! | more than 10 attributes, empty ones | taken | taken | refused |
//! | attributes count towards 1 MiB | no | yes | yes |
//! | dots and more than 80 characters in the name of a queue | taken | taken | refused |
//! | a space in the name of a group | taken | taken | refused |
//! | characters above U+FFFF in a body | taken | refused | taken |
//! | polls that are to wait for over 20 s | wait for so long | refused | refused |
//! | a queue is made again at once after it was deleted | can be | can be | after 60 s |
//! | the visibility of a message that is visible again | can be changed | can be changed | is refused |
//! | several messages of a FIFO group in one poll | yes | one at a time | yes |
//! | one deduplication id in two groups of a high-throughput queue | two messages | one | two |
//! | single entries of a batch that fail to be sent | never | never | they may |
//! | queue policies, credentials, rights, signatures | not looked at | not looked at | each request may be denied; a topic sends only where it is let |
//! | to subscribe again with other attributes | taken | not tried | refused |
//! | throttling, messages delivered twice | never | never | any may be |
//! | order of a standard queue | that of sending | that of sending | any |
//! | a topic and its subscriptions change | at once | at once | in the end |
//! | what was sent when it is killed | gone | kept, if started so | kept |
//!
//! What it does not refuse is refused here before anything is sent. What it can't do is tested with a double for HTTP:
//! failing and forgotten entries, throttling, duplicates, stale receipts, credentials that run out, polls that hang. Laps
//! are tested on virtual time with a small model of SQS, and on the emulator with laps of two seconds.

mod admin;
mod admission;
mod backoff;
#[cfg(test)]
mod bad_input;
mod batch;
mod builder;
mod call;
mod checks;
#[cfg(test)]
mod delays;
#[cfg(test)]
mod double;
mod fault;
mod health;
mod incoming;
mod inner;
mod lanes;
pub mod laps;
mod left_over;
#[cfg(test)]
mod limits;
mod message;
mod names;
#[cfg(test)]
mod order;
mod ordered;
pub mod plan;
mod prepare;
mod queues;
mod receive;
mod rights;
#[cfg(feature = "s3")]
mod s3;
mod send;
mod sqs;
mod text;
mod timing;
mod topics;
mod waiting;

pub use builder::SqsBuilder;
pub use call::{Filled, Requests};
#[cfg(feature = "s3")]
pub use s3::S3Bodies;
pub use sqs::Sqs;
pub use timing::Timing;
