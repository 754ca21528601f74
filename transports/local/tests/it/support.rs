//! What the situations share.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use longhaul_core::address::Address;
use longhaul_core::clock::{ManualClock, Timestamp};
use longhaul_core::envelope::Envelope;
use longhaul_core::headers::Headers;
use longhaul_core::ids::MessageId;
use longhaul_core::transport::{
    Accepted, Declare, Delivery, Destination, Dispatch, Receiver, ReceiverOptions, Topology, Transport,
};
use longhaul_local::LocalBroker;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn sales() -> Address {
    Address::new("sales").expect("valid")
}

pub(crate) fn clock() -> ManualClock {
    ManualClock::starting_at(Timestamp::UNIX_EPOCH)
}

pub(crate) fn order(id: &str, due: Option<Timestamp>) -> Dispatch {
    let id = MessageId::new(id).expect("valid");
    Dispatch {
        envelope: Envelope::new(id, Headers::new(), Bytes::from_static(b"{}")),
        to: Destination::Queue(sales()),
        due,
    }
}

pub(crate) async fn send(broker: &LocalBroker, id: &str, due: Option<Timestamp>) {
    let results = broker.dispatch(&[order(id, due)]).await;
    assert!(matches!(results[..], [Ok(Accepted::Queued)]), "{results:?}");
}

/// The broker with the queue, and a receiver of it.
pub(crate) async fn with_sales(broker: LocalBroker) -> (LocalBroker, Box<dyn Receiver>) {
    let topology = Topology {
        queues: vec![sales()],
        ..Topology::default()
    };
    broker
        .prepare(&topology, Declare::Declare)
        .await
        .expect("prepares");
    let receiver = broker.receiver(&sales(), ReceiverOptions::default()).await;
    (broker, receiver.expect("opens"))
}

pub(crate) fn id(delivery: &Delivery) -> String {
    String::from_utf8(delivery.incoming.id.clone().expect("has an id")).expect("is text")
}

pub(crate) async fn next(receiver: &mut Box<dyn Receiver>) -> String {
    let delivery = receiver.receive().await.expect("receives");
    let name = id(&delivery);
    delivery.into_parts().1.acknowledge().await.expect("acknowledges");
    name
}

/// Where a child process is told to work.
const CHILD_DIRECTORY: &str = "LONGHAUL_LOCAL_CHILD_DIRECTORY";

/// The directory that this process was told to work in, if it is a child.
pub(crate) fn child_directory() -> Option<PathBuf> {
    std::env::var_os(CHILD_DIRECTORY).map(PathBuf::from)
}

/// This program again, to run one test of it as a child.
pub(crate) fn child(test: &str, directory: &Path) -> Command {
    let mut child = Command::new(std::env::current_exe().expect("knows itself"));
    child
        .args([test, "--exact", "--nocapture"])
        .env(CHILD_DIRECTORY, directory);
    child
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    child
}
