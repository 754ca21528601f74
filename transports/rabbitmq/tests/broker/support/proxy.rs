//! A TCP proxy in front of the broker that cuts, stalls and swallows.

use std::sync::Arc;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
};

use super::url;

/// What happens to bytes on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They pass.
    Pass,
    /// They are lost on their way to the broker.
    LostToBroker,
    /// They are lost on their way to the client.
    LostToClient,
    /// They are lost both ways, and nobody is told.
    Lost,
    /// Connections are accepted, and nobody answers.
    Silent,
    /// Connections are closed as soon as they are made.
    Refuse,
}

/// A proxy on a port of its own.
pub(crate) struct Proxy {
    pub(crate) url: String,
    mode: watch::Sender<Mode>,
    /// Counts up with every cut.
    cuts: watch::Sender<u64>,
    accepted: watch::Receiver<u64>,
    task: AbortHandle,
}

impl Proxy {
    /// In front of the tests' broker.
    pub(crate) async fn start() -> Self {
        Self::before(&url()).await
    }

    /// In front of a broker.
    pub(crate) async fn before(url: &str) -> Self {
        let (login, rest) = url.split_once('@').expect("an address with a login");
        let (broker, vhost) = rest.split_once('/').expect("an address with a virtual host");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{login}@{}/{vhost}", listener.local_addr().unwrap());
        let (mode, cuts) = (watch::Sender::new(Mode::Pass), watch::Sender::new(0));
        let (count, accepted) = watch::channel(0);
        let accepting = accept(
            listener,
            Arc::from(broker),
            mode.subscribe(),
            cuts.subscribe(),
            count,
        );
        let task = tokio::spawn(accepting).abort_handle();
        Self {
            url,
            mode,
            cuts,
            accepted,
            task,
        }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Ends all connections of now.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// How many connections have been made.
    pub(crate) fn accepted(&self) -> u64 {
        *self.accepted.borrow()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn accept(
    listener: TcpListener,
    broker: Arc<str>,
    mode: watch::Receiver<Mode>,
    cuts: watch::Receiver<u64>,
    count: watch::Sender<u64>,
) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        count.send_modify(|count| *count += 1);
        let (mode, mut cuts, broker) = (mode.clone(), cuts.clone(), Arc::clone(&broker));
        cuts.mark_unchanged();
        tokio::spawn(async move {
            // What comes after a cut must not pass over a connection that it was to end.
            tokio::select! {
                biased;
                _ = cuts.changed() => {}
                () = serve(client, &broker, mode) => {}
            }
        });
    }
}

async fn serve(client: TcpStream, broker: &str, mut mode: watch::Receiver<Mode>) {
    let now = *mode.borrow();
    match now {
        Mode::Refuse => return,
        Mode::Silent => drop(mode.wait_for(|mode| *mode != Mode::Silent).await),
        Mode::Pass | Mode::LostToBroker | Mode::LostToClient | Mode::Lost => {}
    }
    let Ok(server) = TcpStream::connect(broker).await else {
        return;
    };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = copy(from_client, to_server, Mode::LostToBroker, &mode) => {}
        () = copy(from_server, to_client, Mode::LostToClient, &mode) => {}
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    lost: Mode,
    mode: &watch::Receiver<Mode>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count) = from.read(&mut buffer).await
        && count > 0
    {
        let now = *mode.borrow();
        if now != lost && now != Mode::Lost && to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
