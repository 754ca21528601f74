//! A process that listens, and what is in its database.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use longhaul_core::address::Address;
use longhaul_core::clock::{Clock, SystemClock, Timestamp};
use longhaul_core::envelope::Envelope;
use longhaul_core::headers::Headers;
use longhaul_core::ids::MessageId;
use longhaul_core::store::{
    PendingChange, PendingKind, PendingRow, Persistence, RecordChange, RecordKey, Store, UnitOfWork,
};
use longhaul_core::transport::{Declare, Destination, Dispatch, Topology, Transport};
use longhaul_embedded::Database;
use longhaul_local::LocalBroker;
use longhaul_sled::Sled;
use longhaul_socket::{Remote, Socket, SocketError};
use tempfile::TempDir;

/// A process with a database, a broker with two queues, and a socket.
pub(crate) struct Stage {
    pub(crate) folder: TempDir,
    pub(crate) database: Database,
    pub(crate) broker: LocalBroker,
    pub(crate) stores: Sled,
    pub(crate) socket: Option<Socket>,
}

pub(crate) fn run<T>(steps: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(steps)
}

pub(crate) fn address(name: &str) -> Address {
    Address::new(name).unwrap()
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path().join("data")).unwrap();
        let broker = LocalBroker::durable(database.clone(), Arc::new(SystemClock)).unwrap();
        let topology = Topology {
            queues: vec![address("sales")],
            error_queues: vec![address("error")],
            ..Topology::default()
        };
        broker.prepare(&topology, Declare::Declare).await.unwrap();
        let stores = Sled::on(database.clone());
        let socket = Socket::listen(&database, &broker, &stores).unwrap();
        Self {
            folder,
            stores,
            broker,
            database,
            socket: Some(socket),
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.data().join("longhaul.socket")
    }

    pub(crate) fn listen(&self) -> Result<Socket, SocketError> {
        Socket::listen(&self.database, &self.broker, &self.stores)
    }

    pub(crate) async fn remote(&self) -> Remote {
        Remote::connect(&self.data()).await.unwrap()
    }

    pub(crate) async fn fill(&self, queue: &str, messages: usize, body: usize) {
        for number in 0..messages {
            for sent in self
                .broker
                .dispatch(&[message(&format!("m-{number}"), queue, body)])
                .await
            {
                sent.unwrap();
            }
        }
    }
}

pub(crate) fn message(id: &str, queue: &str, body: usize) -> Dispatch {
    let headers = Headers::from_iter([("longhaul.type", "a.b.v1"), ("tenant", "größe")]);
    Dispatch {
        envelope: Envelope::new(MessageId::new(id).unwrap(), headers, vec![b'x'; body].into()),
        to: Destination::Queue(address(queue)),
        due: None,
    }
}

/// What is answered to these bytes, until the other side ends it.
pub(crate) fn answer_to(path: &PathBuf, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // It may have been refused before all of it was written.
    drop(stream.write_all(bytes));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

pub(crate) fn framed(text: &str) -> Vec<u8> {
    let mut bytes = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

pub(crate) fn row(id: &str, kind: PendingKind, due: Timestamp) -> PendingRow {
    PendingRow {
        id: MessageId::new(id).unwrap(),
        kind,
        owner: Some(RecordKey::new("saga/order", "7")),
        name: "Overdue".to_owned(),
        envelope: message(id, "sales", 2).envelope,
        to: Destination::Queue(address("sales")),
        due: Some(due),
        attention: due,
        token: 0,
        alarm_sent: true,
        parked: None,
    }
}

/// Two timeouts and a message that are due tomorrow, and two records of which one has expired.
pub(crate) async fn stored(stage: &Stage) -> Arc<dyn Store> {
    let own = stage.stores.open(&address("sales")).await.unwrap();
    let tomorrow = SystemClock.now() + Duration::from_secs(86_400);
    let expired = Timestamp::UNIX_EPOCH + Duration::from_secs(1);
    let put = |id: &str, expires| RecordChange::Put {
        key: RecordKey::new("saga/order", id),
        expected: None,
        body: vec![0xff; 10].into(),
        expires,
    };
    let rows = [
        row("t-1", PendingKind::Timeout, tomorrow),
        row("t-2", PendingKind::Timeout, tomorrow),
        row("m-1", PendingKind::Message, tomorrow),
    ];
    let rows = rows.into_iter().map(|row| PendingChange::Add(Box::new(row)));
    let work = UnitOfWork {
        records: vec![put("7", None), put("8", Some(expired))],
        pending: rows.collect(),
        ..UnitOfWork::default()
    };
    own.commit(work).await.unwrap();
    own
}
