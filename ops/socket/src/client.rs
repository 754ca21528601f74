//! The side of the operator: the broker and the stores of a process, reached over its socket.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use longhaul_core::address::Address;
use longhaul_core::admin::{Pass, QueueAdmin, QueueDepth};
use longhaul_core::transport::{
    Accepted, Capabilities, Declare, Dispatch, Health, Receiver, ReceiverOptions, Report, Topology,
    Transport, TransportError, TransportErrorKind,
};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

use crate::client_pass::RemotePass;
use crate::client_store::RemoteStores;
use crate::fault::Fault;
use crate::frame;
use crate::path::{self, NAME};
use crate::socket_error::{SocketError, SocketErrorKind};
use crate::wire::{Answer, Request, VERSION, WireDispatch, accepted};

/// How long the other side may take for an answer.
const ANSWER: Duration = Duration::from_secs(90);
/// The same where much may have to go back in its order.
const CLOSED: Duration = Duration::from_secs(330);
/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(5);
/// How many messages are sent at once, and from which size on no more of them, in bytes.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 8 << 20;

/// The broker of a process that listens in its data directory, as far as operators need it: messages can be sent and queues looked
/// through; nothing is received, and no queue is made. Clones share one connection.
#[derive(Clone)]
pub struct Remote {
    link: Arc<Link>,
}

/// What is known of the other side.
struct Link {
    stream: Mutex<Option<UnixStream>>,
    process: u32,
    max_delay: Duration,
    max_body: usize,
}

impl Remote {
    /// Connects to the process that has the database in `directory` open.
    ///
    /// # Errors
    /// [`SocketErrorKind::Absent`]: no process listens there. [`SocketErrorKind::Denied`]: it is another user's.
    /// [`SocketErrorKind::Foreign`]: it speaks another version, or has no room.
    pub async fn connect(directory: &Path) -> Result<Self, SocketError> {
        let what = || format!("reach the process that has {} open", directory.display());
        let address = path::Address::of(directory, NAME)?;
        let connected = timeout(CONNECT, UnixStream::connect(address.path())).await;
        let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let mut stream = connected.map_err(|error| SocketError::io(what(), error))?;
        let foreign = |why: &str| SocketError::new(SocketErrorKind::Foreign, format!("{}: {why}", what()));
        let greeted = ask(&mut stream, &Request::Hello { version: VERSION }).await;
        match greeted.map_err(|error| SocketError::io(what(), error))? {
            Answer::Hello {
                version: VERSION,
                process,
                max_delay_ms,
                max_body,
            } => Ok(Self {
                link: Arc::new(Link {
                    stream: Mutex::new(Some(stream)),
                    process,
                    max_delay: Duration::from_millis(max_delay_ms),
                    max_body,
                }),
            }),
            Answer::Failed(fault) => Err(foreign(fault.text())),
            _ => Err(foreign(
                "it speaks another version; use the `longhaul` of the endpoint's version",
            )),
        }
    }

    /// The number of the process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.link.process
    }

    /// The stores of the process.
    #[must_use]
    pub fn stores(&self) -> RemoteStores {
        RemoteStores::new(self.clone())
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&self, request: &Request) -> Result<Answer, Fault> {
        let mut slot = self.link.stream.lock().await;
        let lost = || {
            Fault::socket("ask the endpoint: the connection was lost; look whether its process still runs")
        };
        // Taken out, so that a question that is given up half way leaves no answer for the next one.
        let mut stream = slot.take().ok_or_else(lost)?;
        let answer = ask(&mut stream, request).await;
        let answer = answer.map_err(|error| {
            Fault::socket(format!(
                "ask the endpoint: {error}; look whether its process still runs"
            ))
        })?;
        match answer {
            Answer::Failed(fault) if fault.is_of_socket() => Err(fault),
            answer => {
                *slot = Some(stream);
                match answer {
                    Answer::Failed(fault) => Err(fault),
                    answer => Ok(answer),
                }
            }
        }
    }
}

async fn ask(stream: &mut UnixStream, request: &Request) -> io::Result<Answer> {
    // One that is refused for want of room is told before it asks.
    let written = frame::write(stream, request).await;
    let limit = if matches!(request, Request::Close) {
        CLOSED
    } else {
        ANSWER
    };
    let read = frame::read(stream, limit).await?;
    match read {
        Some(answer) => Ok(answer),
        None => Err(written
            .err()
            .unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())),
    }
}

/// The answer is to another question: the other side is not what it says.
pub(crate) fn foreign() -> Fault {
    Fault::socket("ask the endpoint: it answered something else; use the `longhaul` of its version")
}

#[async_trait]
impl Transport for Remote {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: "local",
            max_delay: self.link.max_delay,
            max_delay_storeless: self.link.max_delay,
            max_body: self.link.max_body,
            max_batch: BATCH,
            durable: true,
        }
    }

    async fn prepare(&self, _: &Topology, mode: Declare) -> Result<Report, TransportError> {
        match mode {
            Declare::Assume => Ok(Report::default()),
            Declare::Declare | Declare::Verify => Err(not_here("prepare queues")),
        }
    }

    async fn receiver(&self, _: &Address, _: ReceiverOptions) -> Result<Box<dyn Receiver>, TransportError> {
        Err(not_here("receive messages"))
    }

    async fn dispatch(&self, batch: &[Dispatch]) -> Vec<Result<Accepted, TransportError>> {
        let mut results = Vec::with_capacity(batch.len());
        let mut rest = batch;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |dispatch: &&Dispatch| {
                bytes += dispatch.envelope.body.len();
                bytes <= BATCH_BYTES
            };
            let most = rest.iter().take(BATCH).take_while(fits).count().max(1);
            let (now, later) = rest.split_at(most);
            results.extend(self.send(now).await);
            rest = later;
        }
        results
    }

    fn health(&self) -> watch::Receiver<Health> {
        watch::Sender::new(Health::Connected).subscribe()
    }
}

impl Remote {
    async fn send(&self, batch: &[Dispatch]) -> Vec<Result<Accepted, TransportError>> {
        let request = Request::Dispatch {
            batch: batch.iter().map(WireDispatch::of).collect(),
        };
        let unknown = |why: &str| TransportError::new(TransportErrorKind::Unknown, why);
        match self.ask(&request).await {
            Ok(Answer::Sent { results }) if results.len() == batch.len() => {
                let results = results.into_iter();
                results
                    .map(|result| result.map(accepted).map_err(Fault::into_transport))
                    .collect()
            }
            Ok(_) => batch.iter().map(|_| Err(unknown(foreign().text()))).collect(),
            Err(fault) => batch.iter().map(|_| Err(unknown(fault.text()))).collect(),
        }
    }
}

fn not_here(what: &str) -> TransportError {
    let text = format!("{what}: that is not done over the socket of another process");
    TransportError::new(TransportErrorKind::Configuration, text)
}

#[async_trait]
impl QueueAdmin for Remote {
    /// The embedded broker has none.
    fn caution(&self) -> Option<&'static str> {
        None
    }

    async fn queues(&self, limit: usize) -> Result<Option<Vec<Address>>, TransportError> {
        match self.ask(&Request::Queues { limit }).await {
            Ok(Answer::Queues { queues }) => Ok(queues),
            Ok(_) => Err(foreign().into_transport()),
            Err(fault) => Err(fault.into_transport()),
        }
    }

    async fn depth(&self, queue: &Address) -> Result<QueueDepth, TransportError> {
        match self.ask(&Request::Depth { queue: queue.clone() }).await {
            Ok(Answer::Depth {
                ready,
                unsettled,
                delayed,
                consumers,
            }) => Ok(QueueDepth {
                ready,
                unsettled,
                delayed,
                consumers,
            }),
            Ok(_) => Err(foreign().into_transport()),
            Err(fault) => Err(fault.into_transport()),
        }
    }

    async fn look_through(&self, queue: &Address) -> Result<Box<dyn Pass>, TransportError> {
        match self.ask(&Request::LookThrough { queue: queue.clone() }).await {
            Ok(Answer::Look { expected }) => Ok(Box::new(RemotePass::new(self.clone(), expected))),
            Ok(_) => Err(foreign().into_transport()),
            Err(fault) => Err(fault.into_transport()),
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("process", &self.link.process)
            .finish_non_exhaustive()
    }
}
