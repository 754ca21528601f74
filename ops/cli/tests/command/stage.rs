//! A system with failed messages, and the command beside it.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longhaul_core::address::Address;
use longhaul_core::clock::{Clock, SystemClock};
use longhaul_core::envelope::{Envelope, Incoming};
use longhaul_core::headers::Headers;
use longhaul_core::ids::MessageId;
use longhaul_core::transport::{Declare, Destination, Dispatch, Topology, Transport};
use longhaul_embedded::Database;
use longhaul_local::LocalBroker;
use longhaul_rabbitmq::RabbitMq;
use tempfile::TempDir;

use crate::opened::Open;
use crate::sweep;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// How long anything may take before a test fails.
const SOON: Duration = Duration::from_secs(60);
/// How long until something is looked at again.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Which broker a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Embedded,
    RabbitMq,
    #[cfg(feature = "sqs")]
    Sqs,
}

/// A system of one test. Its folder and what it has on the broker are gone when it is dropped.
pub(crate) struct Stage {
    pub(crate) on: On,
    pub(crate) folder: TempDir,
    pub(crate) errors: Address,
    pub(crate) source: Address,
    /// Prefixes of delay levels that it has declared.
    levels: Mutex<Vec<String>>,
}

/// What the command answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The broker's address.
pub(crate) fn url() -> String {
    std::env::var("LONGHAUL_AMQP_URL").expect("set LONGHAUL_AMQP_URL or run ./test")
}

/// The emulator's address.
#[cfg(feature = "sqs")]
pub(crate) fn emulator() -> String {
    std::env::var("LONGHAUL_SQS_ENDPOINT")
        .expect("set LONGHAUL_SQS_ENDPOINT and what belongs to it, or run ./test")
}

/// A port at which nobody answers, as long as the socket is kept: bound by one that does not listen, so that nobody else does.
pub(crate) fn silent() -> (tokio::net::TcpSocket, u16) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

/// A transport on the broker.
pub(crate) async fn rabbit() -> RabbitMq {
    RabbitMq::connect(&url()).await.unwrap()
}

/// Runs a test's steps.
pub(crate) fn run<T>(steps: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(steps)
}

/// Waits until it holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let in_time = tokio::time::timeout(SOON, wait).await;
    assert!(in_time.is_ok(), "{what}: that did not happen");
}

impl Stage {
    /// A system whose two queues are there and empty.
    pub(crate) async fn new(on: On) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let micros = SystemClock.now().as_micros() % 1_000_000;
        let name =
            |what: &str| Address::new(format!("cli{}-{micros}-{number}.{what}", std::process::id())).unwrap();
        let stage = Self {
            on,
            folder: tempfile::tempdir().unwrap(),
            errors: name("errors"),
            source: name("billing"),
            levels: Mutex::default(),
        };
        let open = stage.open().await;
        let topology = Topology {
            queues: vec![stage.source.clone()],
            error_queues: vec![stage.errors.clone()],
            ..Topology::default()
        };
        open.transport.prepare(&topology, Declare::Declare).await.unwrap();
        open.close().await;
        stage
    }

    /// The same with `count` failed messages `m-0`, `m-1`, …; every third is of another type and error.
    pub(crate) async fn with_failed(on: On, count: usize) -> Self {
        let stage = Self::new(on).await;
        let batch: Vec<_> = (0..count).map(|number| stage.failed(number)).collect();
        let open = stage.open().await;
        for part in batch.chunks(open.transport.capabilities().max_batch) {
            for result in open.transport.dispatch(part).await {
                result.unwrap();
            }
        }
        open.close().await;
        stage
    }

    /// One more failed message in an embedded directory, with a large body.
    pub(crate) async fn fail_with(&self, id: &str, body: Vec<u8>) {
        let bytes = 64 << 20;
        let options = longhaul_embedded::Options::new().max_value_bytes(bytes);
        let database = Database::open_with(self.data(), options.max_batch_bytes(2 * bytes)).unwrap();
        let options = longhaul_local::LocalOptions::default().max_body(bytes);
        let options = options.max_queue_bytes(usize::MAX);
        let broker = LocalBroker::durable_with(database.clone(), Arc::new(SystemClock), options).unwrap();
        let mut failed = self.failed(0);
        failed.envelope.id = MessageId::new(id).unwrap();
        failed.envelope.body = body.into();
        for result in broker.dispatch(&[failed]).await {
            result.unwrap();
        }
        drop(broker);
        database.close().unwrap();
    }

    /// A failed message.
    pub(crate) fn failed(&self, number: usize) -> Dispatch {
        let (type_name, text) = match number % 3 {
            0 => ("shipping.ship_order.v1", format!("find the order {number}")),
            _ => (
                "billing.charge_card.v1",
                format!("charge {number} EUR: the bank is closed"),
            ),
        };
        let text_header = text.clone();
        let failed = SystemClock.now().to_string();
        let headers = Headers::from_iter([
            ("longhaul.type", type_name.to_owned()),
            ("longhaul.content-type", "application/json".to_owned()),
            ("longhaul.intent", "send".to_owned()),
            ("longhaul.conversation", format!("c-{}", number % 2)),
            ("longhaul.target.saga-type", "order".to_owned()),
            ("longhaul.target.saga-id", number.to_string()),
            ("longhaul.error.reason", "handler-failed".to_owned()),
            ("longhaul.error.text", text_header),
            ("longhaul.error.chain", "connection refused".to_owned()),
            ("longhaul.error.endpoint", "billing".to_owned()),
            ("longhaul.error.source-queue", self.source.to_string()),
            ("longhaul.error.attempts", "6".to_owned()),
            ("longhaul.error.last-failure", failed),
        ]);
        let body = format!("{{\"order\":{number}}}");
        Dispatch {
            envelope: Envelope::new(
                MessageId::new(format!("m-{number}")).unwrap(),
                headers,
                body.into(),
            ),
            to: Destination::Queue(self.errors.clone()),
            due: None,
        }
    }

    /// Opens the broker; on the embedded one the command can't meanwhile.
    pub(crate) async fn open(&self) -> Open {
        Open::new(self.on, &self.data()).await
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where a queue of this system would be that nothing has made yet.
    pub(crate) fn nowhere(&self) -> Address {
        Address::new(format!("{}-nowhere", self.source)).unwrap()
    }

    /// The names of the delay levels with this prefix are this system's.
    pub(crate) fn owns_levels(&self, prefix: &str) {
        self.levels.lock().unwrap().push(prefix.to_owned());
    }

    /// So many messages are in the error queue and in the source queue, or soon will be: right after a change, or while it is slow, a
    /// broker may count fewer.
    pub(crate) async fn has(&self, errors: u64, source: u64) {
        let open = self.open().await;
        let depth = async |queue| open.admin.depth(queue).await.unwrap().ready;
        let mut seen = (0, 0);
        let look = async {
            loop {
                seen = (depth(&self.errors).await, depth(&self.source).await);
                if seen == (errors, source) {
                    return;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let in_time = tokio::time::timeout(SOON, look).await;
        assert!(in_time.is_ok(), "{seen:?} and not {:?}", (errors, source));
        open.close().await;
    }

    /// All messages of a queue, in order, which are that many; they stay there.
    pub(crate) async fn messages(&self, queue: &Address, count: usize) -> Vec<Incoming> {
        let open = self.open().await;
        let steps = async {
            if *queue == self.errors {
                open.shown(queue, count).await
            } else {
                open.taken(queue, count).await
            }
        };
        let all = tokio::time::timeout(SOON, steps).await.expect("they all come");
        open.close().await;
        all
    }

    /// The ids of the messages of an input queue, each of which is taken out, until there are so many different ones.
    pub(crate) async fn ids_until(&self, queue: &Address, count: usize) -> BTreeSet<String> {
        let open = self.open().await;
        let steps = open.ids_until(queue, count);
        let ids = tokio::time::timeout(SOON, steps).await.expect("they all come");
        open.close().await;
        ids
    }

    /// The command on this system.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare(arguments);
        command.env("LONGHAUL_ERROR_QUEUE", self.errors.as_str());
        match self.on {
            On::Embedded => command.env("LONGHAUL_DATA", self.data()),
            On::RabbitMq => command.env("LONGHAUL_AMQP_URL", url()),
            #[cfg(feature = "sqs")]
            On::Sqs => command.env("LONGHAUL_SQS_ENDPOINT", emulator()),
        };
        command
    }

    /// Runs it to its end.
    pub(crate) fn longhaul(&self, arguments: &[&str]) -> Answer {
        answer(self.command(arguments))
    }

    /// Runs it, and reads what it answers as JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let answer = self.longhaul(&[arguments, &["--json"]].concat());
        serde_json::from_str(&answer.out).unwrap_or_else(|_| panic!("no JSON: {answer:?}"))
    }

    /// Kept until here, with its folder.
    pub(crate) fn done(self) {
        drop(self);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        match self.on {
            On::Embedded => {}
            On::RabbitMq => {
                let queues = [&self.errors, &self.source, &self.nowhere()].map(Address::to_string);
                let levels = self.levels.get_mut().unwrap_or_else(PoisonError::into_inner);
                sweep::rabbitmq(queues.into(), levels);
            }
            #[cfg(feature = "sqs")]
            On::Sqs => {
                let name = self.source.as_str().trim_end_matches("billing");
                sweep::sqs(name.replace('.', "__"));
            }
        }
    }
}

/// The command with nothing set up.
pub(crate) fn bare(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longhaul"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LONGHAUL_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn answer(mut command: Command) -> Answer {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("runs");
    Answer {
        code: status.code().unwrap_or(-1),
        out: String::from_utf8(stdout).expect("text"),
        err: String::from_utf8(stderr).expect("text"),
    }
}

impl Answer {
    /// It ended like this and said that, on either channel.
    #[track_caller]
    pub(crate) fn says(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for part in parts {
            assert!(
                self.out.contains(part) || self.err.contains(part),
                "{part:?} is not in {self:?}"
            );
        }
        assert!(!self.err.contains("panicked"), "{self:?}");
    }
}

/// The id of a message.
pub(crate) fn id(incoming: &Incoming) -> String {
    String::from_utf8(incoming.id.clone().unwrap()).unwrap()
}

/// A header of a message.
pub(crate) fn header<'a>(incoming: &'a Incoming, name: &str) -> Option<&'a str> {
    let (_, value) = incoming.headers.iter().find(|(have, _)| have == name)?;
    Some(std::str::from_utf8(value).unwrap())
}

/// A file with this text.
pub(crate) fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}
