//! What a transport brings along to be tested.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{BoxFuture, LocalBoxFuture};
use longhaul_core::address::Address;
use longhaul_core::clock::{self, Clock};
use longhaul_core::envelope::Incoming;
use longhaul_core::transport::Transport;

/// Gives the cases a broker, names that nobody else uses on it, and its time. Each test has a fixture of its own.
///
/// What can't be made or opened is a failed test: panic with the reason. The abilities at the end are optional: where
/// one returns `false`, the cases that need it say so and pass.
#[async_trait]
pub trait TransportFixture: Send + Sync {
    /// A transport on the broker of this test: a connection of its own where there are such. Called several times.
    async fn transport(&self) -> Arc<dyn Transport>;

    /// A name that begins or ends with `hint` and that no other test uses on the same broker. The same hint gives the
    /// same name within one fixture. It leaves at least 40 bytes to the limit of an address.
    fn unique(&self, hint: &str) -> String;

    /// How long the address of a queue may be, in bytes, where the broker takes less than any address. Letters and
    /// digits of ASCII only are counted with one byte each.
    fn longest_address(&self) -> usize {
        Address::MAX_BYTES
    }

    /// The clock that due times are measured with.
    fn clock(&self) -> Arc<dyn Clock>;

    /// Whether a message that is sent twice, alike in all of its headers, comes twice. No: the broker may drop a copy of what
    /// it took a while ago.
    fn tells_copies_apart(&self) -> bool {
        true
    }

    /// Runs a case to its end. Give it a runtime here if the transport needs one; with a clock that stands still, this
    /// is who moves it (see [`VirtualTime`](crate::virtual_time::VirtualTime)).
    fn block_on(&self, case: LocalBoxFuture<'_, ()>);

    /// A delay that is long beside the time that the broker takes for one message. At least the smallest step of its
    /// delays.
    fn short_delay(&self) -> Duration;

    /// How much earlier than its due time a message may seem to come, because of rounding: a millisecond at most.
    fn slack(&self) -> Duration {
        Duration::from_millis(1)
    }

    /// How long a case waits for what must happen.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// How long a case listens to be sure that nothing comes.
    fn silence(&self) -> Duration {
        Duration::from_millis(300)
    }

    /// Runs `future` to its end and says yes, or drops it after `limit` and says no.
    fn within<'a>(&'a self, limit: Duration, future: BoxFuture<'a, ()>) -> BoxFuture<'a, bool> {
        Box::pin(async move { clock::within(&*self.clock(), limit, future).await.is_some() })
    }

    /// Cuts every connection that the transports have, as a failing network does; they may connect again at once.
    async fn cut_connections(&self) -> bool {
        false
    }

    /// Ends the broker and starts it again on what it had on disk. By then the case has let go of every transport.
    async fn restart(&self) -> bool {
        false
    }

    /// Puts a message in a queue as a foreign program would, unchecked. Says no without doing anything where the broker
    /// can't hold such a message.
    async fn put_raw(&self, queue: &Address, incoming: &Incoming) -> bool {
        let (_, _) = (queue, incoming);
        false
    }

    /// Deletes a queue behind the transport's back.
    async fn delete_queue(&self, queue: &Address) -> bool {
        let _ = queue;
        false
    }
}
