//! The side of the endpoint's process: listens on a thread of its own, for as long as the endpoint runs.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener as Listener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use longhaul_core::admin::QueueAdmin;
use longhaul_core::store::Persistence;
use longhaul_core::transport::Transport;
use longhaul_embedded::Database;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};

use crate::connection::{Connection, refuse};
use crate::path::{Address, NAME};
use crate::socket_error::{SocketError, SocketErrorKind};

/// The most operators at a time.
const CONNECTIONS: usize = 8;
/// Where the socket is made, so that nobody else can reach it before it has its mode.
const NEW: &str = "longhaul.socket.new";
const NEW_NAME: &str = "socket";

/// The sockets that this process listens on.
static LISTENING: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// What operators reach over a socket.
pub(crate) struct Reached {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) admin: Arc<dyn QueueAdmin>,
    pub(crate) stores: Arc<dyn Persistence>,
}

/// Listens for operators, until it is dropped.
///
/// It keeps the database open: drop it before the database is closed, or with it. Dropping it ends what operators are doing, and takes
/// the socket away; that blocks for milliseconds.
#[must_use = "dropped, it does not listen any more"]
pub struct Socket {
    path: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Socket {
    /// Listens in the directory of `database`, for what `broker` and `stores` hold: a store in that database, and the broker of its
    /// endpoints, in there too or another one (then an `Arc` of it).
    ///
    /// A socket that a killed process has left is replaced. Whoever has the database open may do that, and nobody else has.
    ///
    /// # Errors
    /// [`SocketErrorKind::InUse`]: this process listens there already. [`SocketErrorKind::TooLong`]: the directory's path is too long
    /// for this system. Else what the system said.
    pub fn listen<B, P>(database: &Database, broker: &B, stores: &P) -> Result<Self, SocketError>
    where
        B: Transport + QueueAdmin + Clone,
        P: Persistence + Clone,
    {
        let reached = Reached {
            transport: Arc::new(broker.clone()),
            admin: Arc::new(broker.clone()),
            stores: Arc::new(stores.clone()),
        };
        let path = database.path().join(NAME);
        if !lock().insert(path.clone()) {
            let text = format!(
                "listen on {}: this process does already; keep that one",
                path.display()
            );
            return Err(SocketError::new(SocketErrorKind::InUse, text));
        }
        Self::begin(database.path(), path.clone(), reached).inspect_err(|_| {
            lock().remove(&path);
        })
    }

    fn begin(directory: &Path, path: PathBuf, reached: Reached) -> Result<Self, SocketError> {
        let failed = |error: io::Error| SocketError::io(format!("listen on {}", path.display()), error);
        let listener = make(directory, &path)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let listener = {
            let _entered = runtime.enter();
            UnixListener::from_std(listener).map_err(failed)?
        };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name(String::from("longhaul socket"));
        let thread = thread.spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, Arc::new(reached)) => {}
                    _ = stopped => {}
                }
            });
        });
        let thread = thread.map_err(failed)?;
        tracing::info!(path = %path.display(), "listens for operators");
        Ok(Self {
            thread: Some(thread),
            stop: Some(stop),
            path,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn lock() -> std::sync::MutexGuard<'static, BTreeSet<PathBuf>> {
    LISTENING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the socket where only this user can reach it, and moves it to its place, over one that was left there.
fn make(directory: &Path, path: &Path) -> Result<Listener, SocketError> {
    let failed = |error: io::Error| SocketError::io(format!("listen on {}", path.display()), error);
    let new = directory.join(NEW);
    let made = new.join(NEW_NAME);
    let gone = |removed: io::Result<()>| match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    };
    gone(fs::remove_file(&made))?;
    gone(fs::remove_dir(&new))?;
    fs::DirBuilder::new().mode(0o700).create(&new).map_err(failed)?;
    let address = Address::of(&new, NEW_NAME)?;
    let listener = Listener::bind(address.path()).map_err(failed)?;
    fs::set_permissions(&made, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    fs::rename(&made, path).map_err(failed)?;
    fs::remove_dir(&new).map_err(failed)?;
    Ok(listener)
}

/// Takes operators in, as many as there is room for.
async fn accept(listener: UnixListener, reached: Arc<Reached>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "could not take an operator in");
                // Out of file descriptors, most likely: others must go first.
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                continue;
            }
        };
        match Arc::clone(&room).try_acquire_owned() {
            Ok(place) => {
                let serving = serve(stream, Arc::clone(&reached));
                drop(tokio::spawn(async move {
                    serving.await;
                    drop(place);
                }));
            }
            Err(_) => drop(tokio::spawn(refuse(stream, CONNECTIONS))),
        }
    }
}

async fn serve(stream: UnixStream, reached: Arc<Reached>) {
    if let Err(error) = Connection::new(stream, reached).serve().await {
        tracing::debug!(%error, "an operator's connection ended");
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // First: the thread may have the last handles on the database, and once they are gone, another process may have made its own.
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), %error, "could not take the socket away");
            }
            _ => {}
        }
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("what listened for operators had panicked");
        }
        lock().remove(&self.path);
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
