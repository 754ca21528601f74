//! One connection to the broker, its state, and how to give it up.

use std::{fmt, io, sync::Mutex};

use futures_util::{Stream, StreamExt};
use lapin::{AsyncTcpStream, Channel, Connection, ConnectionProperties, Event, uri as amqp};
use tokio::{net::TcpStream, sync::watch, task::AbortHandle};
use tokio_rustls::TlsConnector;

use crate::{
    fault::{Fault, FaultKind, within},
    tap::Tap,
    timing::Timing,
    tls,
    uri::BrokerUri,
    wire::{Socket, Wire, runtime},
};

/// The largest frame that is offered: what RabbitMQ offers too, unless it is told otherwise; the smaller one counts.
///
/// Without an offer lapin grows its buffers when it hears the broker's, and by that touches all of them: 16 MiB for our
/// two connections, even if nothing ever happens.
const FRAME_BYTES: u32 = 128 * 1024;

/// Where to connect to, and how.
pub(crate) struct Target {
    /// At least one; tried in turn.
    pub(crate) uris: Vec<BrokerUri>,
    pub(crate) tls: Option<TlsConnector>,
    pub(crate) timing: Timing,
    /// Shown in the broker's list of connections.
    pub(crate) name: String,
    /// How many bytes of messages may be unsettled before reading stops.
    pub(crate) unsettled_bytes: usize,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("uris", &self.uris)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What a connection is like right now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    Up,
    /// The broker takes nothing on it for now; why.
    Blocked(String),
    /// It has ended; why.
    Down(String),
}

/// One connection. Dropping it cuts it.
pub(crate) struct Link {
    connection: Connection,
    tap: Tap,
    state: watch::Receiver<LinkState>,
    observer: AbortHandle,
    timing: Timing,
}

impl Link {
    /// Connects to the first of the target's brokers that answers, starting with number `first`.
    pub(crate) async fn open(target: &Target, purpose: &str, first: usize) -> Result<Self, Fault> {
        let mut last = Fault::lost("no broker is named");
        for number in 0..target.uris.len() {
            let uri = &target.uris[(first + number) % target.uris.len()];
            match Self::open_one(target, uri, purpose).await {
                Ok(link) => return Ok(link),
                Err(fault) => {
                    last = Fault {
                        text: format!("{uri}: {}", fault.text),
                        ..fault
                    }
                }
            }
        }
        Err(last)
    }

    async fn open_one(target: &Target, uri: &BrokerUri, purpose: &str) -> Result<Self, Fault> {
        let tap = Tap::new(target.unsettled_bytes);
        let connect = connect(target, uri, purpose, tap.clone());
        let connection = match tokio::time::timeout(target.timing.connect, connect).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(fault)) => return Err(fault),
            Err(_) => {
                tap.cut();
                return Err(Fault::timed_out("the connection", target.timing.connect));
            }
        };
        let (sender, state) = watch::channel(LinkState::Up);
        let observer = tokio::spawn(observe(connection.events_listener(), tap.clone(), sender));
        Ok(Self {
            connection,
            tap,
            state,
            observer: observer.abort_handle(),
            timing: target.timing.clone(),
        })
    }

    /// Opens a channel.
    pub(crate) async fn channel(&self) -> Result<Channel, Fault> {
        within(
            self.timing.answer,
            "opening a channel",
            self.connection.create_channel(),
        )
        .await
    }

    /// The state, as it changes.
    pub(crate) fn state(&self) -> watch::Receiver<LinkState> {
        self.state.clone()
    }

    /// Whether it can still be used.
    pub(crate) fn is_up(&self) -> bool {
        self.connection.status().connected() && !self.tap.is_gone()
    }

    /// What controls its socket.
    pub(crate) fn tap(&self) -> &Tap {
        &self.tap
    }

    /// The largest frame that both sides agreed on, in bytes.
    pub(crate) fn frame_bytes(&self) -> usize {
        usize::try_from(self.connection.configuration().frame_max()).unwrap_or(usize::MAX)
    }

    /// Gives it up at once: whatever waits for it fails, the broker takes back what is not acknowledged.
    pub(crate) fn cut(&self) {
        self.tap.cut();
    }

    /// Says good-bye to the broker, and cuts when that takes too long.
    pub(crate) async fn close(&self) {
        let close = self.connection.close(200, "closed".into());
        if let Err(fault) = within(self.timing.close, "closing", close).await {
            tracing::debug!(reason = fault.text, "the connection did not close in good order");
        }
        self.tap.cut();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.tap.cut();
        self.observer.abort();
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}

async fn connect(target: &Target, uri: &BrokerUri, purpose: &str, tap: Tap) -> Result<Connection, Fault> {
    let socket = open_socket(target, uri)
        .await
        .map_err(|error| Fault::lost(error.to_string()))?;
    let wire = Mutex::new(Some(Wire::new(socket, tap)));
    let hand_over = async move |_, _| {
        let wire = wire.lock().map_or(None, |mut wire| wire.take());
        wire.map(AsyncTcpStream::Plain)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected).into())
    };
    let properties =
        ConnectionProperties::default().with_connection_name(format!("{} {purpose}", target.name).into());
    let connected = Connection::connector(amqp_uri(uri), runtime(), hand_over, properties).await;
    connected.map_err(|error| login_fault(error.into()))
}

async fn open_socket(target: &Target, uri: &BrokerUri) -> io::Result<Socket> {
    let socket = TcpStream::connect((uri.host(), uri.port())).await?;
    socket.set_nodelay(true)?;
    if !uri.is_tls() {
        return Ok(Socket::Plain(socket));
    }
    let Some(tls) = &target.tls else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "TLS is not set up"));
    };
    let socket = tls::encrypt(tls, uri.host(), socket).await?;
    Ok(Socket::Tls(Box::new(socket)))
}

/// RabbitMQ ends the connection with 403 on a bad password and with 530 on a virtual host that is not there.
fn login_fault(fault: Fault) -> Fault {
    let kind = if fault.text.contains("ACCESS_REFUSED") {
        FaultKind::Denied
    } else {
        fault.kind
    };
    Fault { kind, ..fault }
}

fn amqp_uri(uri: &BrokerUri) -> amqp::AMQPUri {
    let heartbeat = u16::try_from(uri.heartbeat().as_secs()).unwrap_or(u16::MAX);
    amqp::AMQPUri {
        scheme: amqp::AMQPScheme::AMQP,
        authority: amqp::AMQPAuthority {
            userinfo: amqp::AMQPUserInfo {
                username: uri.user().to_owned(),
                password: uri.password().to_owned(),
            },
            host: uri.host().to_owned(),
            port: uri.port(),
        },
        vhost: uri.vhost().to_owned(),
        query: amqp::AMQPQueryString {
            heartbeat: Some(heartbeat),
            frame_max: Some(FRAME_BYTES),
            ..Default::default()
        },
    }
}

/// Follows the connection until its socket is gone.
async fn observe(events: impl Stream<Item = Event>, tap: Tap, state: watch::Sender<LinkState>) {
    let mut events = std::pin::pin!(events);
    let mut why = "the connection ended".to_owned();
    loop {
        let event = tokio::select! {
            biased;
            event = events.next() => event,
            () = tap.gone() => break,
        };
        match event {
            Some(Event::ConnectionBlocked(reason)) => drop(state.send_replace(LinkState::Blocked(reason))),
            Some(Event::ConnectionUnblocked) => drop(state.send_replace(LinkState::Up)),
            Some(Event::Error(error)) => why = Fault::from(error).text,
            Some(_) => {}
            None => break,
        }
    }
    drop(state.send_replace(LinkState::Down(why)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_an_idle_connection_is_to_stay_small_the_largest_frame_is_offered() {
        let uri: BrokerUri = "amqp://localhost?heartbeat=7".parse().unwrap();
        let query = amqp_uri(&uri).query;
        assert_eq!((query.frame_max, query.heartbeat), (Some(FRAME_BYTES), Some(7)));
    }
}
