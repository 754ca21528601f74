//! A way to the emulator that counts requests and can be cut.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
};

/// A proxy on a port of its own; gone when dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) url: String,
    cuts: watch::Sender<u64>,
    requests: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Proxy {
    /// In front of an emulator.
    pub(crate) async fn before(endpoint: &str) -> Self {
        let target: Arc<str> = Arc::from(endpoint.trim_start_matches("http://").trim_end_matches('/'));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (cuts, requests) = (watch::Sender::new(0), Arc::default());
        let accepting = accept(listener, target, cuts.subscribe(), Arc::clone(&requests));
        let task = tokio::spawn(accepting).abort_handle();
        Self {
            url,
            cuts,
            requests,
            task,
        }
    }

    /// Ends all connections of now.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// How many requests have begun.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
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
    target: Arc<str>,
    cuts: watch::Receiver<u64>,
    requests: Arc<AtomicUsize>,
) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let (target, mut cuts, requests) = (Arc::clone(&target), cuts.clone(), Arc::clone(&requests));
        cuts.mark_unchanged();
        tokio::spawn(async move {
            // What comes after a cut must not pass over a connection that it was to end.
            tokio::select! {
                biased;
                _ = cuts.changed() => {}
                () = serve(client, &target, &requests) => {}
            }
        });
    }
}

async fn serve(client: TcpStream, target: &str, requests: &AtomicUsize) {
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let up = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count) = from_client.read(&mut buffer).await
            && count > 0
        {
            // A request of the SDK begins with a read of its own, since each waits for the answer before.
            requests.fetch_add(usize::from(buffer.starts_with(b"POST ")), Ordering::Relaxed);
            if to_server.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        _ = copy(&mut from_server, &mut to_client) => {}
    }
}
