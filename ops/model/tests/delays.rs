//! Delayed messages on their way out: nothing is taken out before it is safe elsewhere.

#![expect(clippy::unwrap_used, reason = "a test fails where something goes wrong")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use longhaul_core::address::Address;
use longhaul_core::admin::{Found, Pass, Place, Waits};
use longhaul_core::clock::{SystemClock, Timestamp};
use longhaul_core::envelope::Incoming;
use longhaul_core::transport::{Declare, Topology, Transport, TransportError};
use longhaul_local::LocalBroker;
use longhaul_ops::delays::{self, When};
use longhaul_ops::errors::{OpsErrorKind, Record};

type Events = Arc<Mutex<Vec<String>>>;

/// Shows these messages at once, and notes what is taken out.
#[derive(Debug)]
struct Levels {
    left: Vec<Found>,
    events: Events,
}

#[async_trait]
impl Pass for Levels {
    fn expected(&self) -> u64 {
        self.left.len() as u64
    }

    async fn next(&mut self, _: usize) -> Result<Vec<Found>, TransportError> {
        Ok(std::mem::take(&mut self.left))
    }

    async fn remove(&mut self, places: &[Place]) -> Result<(), TransportError> {
        for Place(number) in places {
            self.events.lock().unwrap().push(format!("removed {number}"));
        }
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<(), TransportError> {
        Ok(())
    }
}

fn due() -> Timestamp {
    Timestamp::parse("2031-11-21T00:00:00Z").unwrap()
}

fn found(number: u64, to: Option<&str>) -> Found {
    let incoming = Incoming {
        id: Some(format!("d-{number}").into_bytes()),
        headers: Vec::new(),
        body: "{}".into(),
        native: None,
    };
    Found {
        incoming,
        redeliveries: 0,
        place: Place(number),
        waits: to.map(|to| Waits {
            to: Address::new(to).unwrap(),
            due: due(),
        }),
    }
}

fn levels(found: Vec<Found>) -> (Box<dyn Pass>, Events) {
    let events = Events::default();
    let levels = Levels {
        left: found,
        events: Arc::clone(&events),
    };
    (Box::new(levels), events)
}

/// A file that notes when it is made durable, or can't be.
struct Disk {
    text: Vec<u8>,
    is_full: bool,
    events: Events,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn sync(disk: &mut Disk) -> io::Result<()> {
    if disk.is_full {
        return Err(io::ErrorKind::StorageFull.into());
    }
    disk.events.lock().unwrap().push("on disk".to_owned());
    Ok(())
}

#[tokio::test]
async fn when_messages_are_exported_they_are_on_disk_before_they_are_taken_out() {
    let (pass, events) = levels(vec![
        found(1, Some("billing")),
        found(2, None),
        found(3, Some("billing")),
    ]);
    let mut disk = Disk {
        text: Vec::new(),
        is_full: false,
        events: Arc::clone(&events),
    };
    let outcome = delays::export(pass, &mut disk, sync, &mut |_| {}).await.unwrap();
    assert_eq!((outcome.done, outcome.failed), (2, 1));
    assert_eq!(*events.lock().unwrap(), ["on disk", "removed 1", "removed 3"]);
    let text = String::from_utf8(disk.text).unwrap();
    for line in text.lines() {
        assert_eq!(Record::parse(line).unwrap().waits().unwrap().due, due());
    }
    assert_eq!(text.lines().count(), 2);
}

#[tokio::test]
async fn when_the_disk_is_full_nothing_is_taken_out() {
    let (pass, events) = levels(vec![found(1, Some("billing"))]);
    let mut disk = Disk {
        text: Vec::new(),
        is_full: true,
        events: Arc::clone(&events),
    };
    let error = delays::export(pass, &mut disk, sync, &mut |_| {})
        .await
        .unwrap_err();
    assert_eq!(error.kind(), OpsErrorKind::File);
    assert_eq!(*events.lock().unwrap(), [""; 0]);
}

#[tokio::test]
async fn when_messages_are_moved_those_that_the_target_refuses_stay_and_the_others_keep_their_time() {
    let target = LocalBroker::in_memory(Arc::new(SystemClock));
    let billing = Address::new("billing").unwrap();
    let topology = Topology {
        queues: vec![billing.clone()],
        ..Topology::default()
    };
    target.prepare(&topology, Declare::Declare).await.unwrap();
    for (when, delayed) in [(When::Due, 1), (When::Now, 1)] {
        let shown = vec![
            found(1, Some("billing")),
            found(2, Some("nowhere")),
            found(3, None),
        ];
        let (pass, events) = levels(shown);
        let pace = (Arc::new(SystemClock) as _, None);
        let outcome = delays::send(pass, &target, when, pace, &mut |_| {})
            .await
            .unwrap();
        assert_eq!((outcome.done, outcome.failed, outcome.seen), (1, 2, 3));
        assert_eq!(*events.lock().unwrap(), ["removed 1"]);
        let lengths = target.queue_lengths()[&billing];
        assert_eq!(lengths.delayed, delayed, "{when:?}");
    }
    assert_eq!(target.queue_lengths()[&billing].ready, 1);
}
