//! The handle that everything of a process shares.

use std::{fmt, path::Path, sync::Arc, thread::ThreadId, time::Duration};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    batch::Batch,
    commit::Commit,
    commit_error::CommitError,
    failure::Failure,
    open_error::OpenError,
    options::Options,
    queue::Job,
    read_error::ReadError,
    recovery,
    scan::Scan,
    shared::{CLOSE_WAIT, Shared},
    stats::Stats,
    writer,
};

/// A database: keys and values as bytes, in key order, in one directory.
///
/// Clones are cheap and share it. The last one to be dropped closes it: batches that are queued are made durable
/// first, which blocks for as long as that takes (milliseconds as a rule, ten seconds at most).
#[derive(Clone)]
pub struct Database {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    writer: ThreadId,
}

impl Database {
    /// Opens the database in the directory `path` with the default [`Options`], and makes it when it is missing.
    ///
    /// This blocks, and reads all that is stored: in an async context use a thread meant for blocking.
    ///
    /// The first call in a process wraps its panic hook: the engine panics on damaged data, and the text of such a
    /// panic goes to the log instead, because the error returned says the same. All other panics are passed on.
    /// In a program built with `panic = "abort"` damaged data ends the process.
    ///
    /// # Errors
    ///
    /// See [`OpenErrorKind`](crate::OpenErrorKind). Nothing that is stored has changed then.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_with(path, Options::default())
    }

    /// Opens the database in the directory `path`: see [`open`](Self::open).
    ///
    /// # Errors
    ///
    /// See [`OpenErrorKind`](crate::OpenErrorKind). Nothing that is stored has changed then.
    pub fn open_with(path: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let opened = recovery::open(path.as_ref(), &options)?;
        let shared = Arc::new(Shared::new(&opened, options));
        let writer = writer::spawn(Arc::clone(&shared), opened)?;
        Ok(Self {
            handle: Arc::new(Handle { shared, writer }),
        })
    }

    /// The value under `key`, as of what is durable.
    ///
    /// # Errors
    ///
    /// See [`ReadErrorKind`](crate::ReadErrorKind).
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.shared().view.get(key)
    }

    /// The values under these keys, in their order, as of what is durable: all of them as they were at one moment between
    /// two groups of commits.
    ///
    /// # Errors
    ///
    /// See [`ReadErrorKind`](crate::ReadErrorKind).
    pub fn get_all(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, ReadError> {
        self.shared().view.get_all(keys)
    }

    /// The entries in a range in ascending order of their keys, as of what is durable: all of them as they were at
    /// one moment between two groups of commits.
    ///
    /// # Errors
    ///
    /// See [`ReadErrorKind`](crate::ReadErrorKind).
    pub fn scan(&self, scan: &Scan) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.shared().view.scan(scan)
    }

    /// How many entries a scan of the same range would return, without copying them. Mind the limit of `scan`.
    ///
    /// # Errors
    ///
    /// See [`ReadErrorKind`](crate::ReadErrorKind).
    pub fn count(&self, scan: &Scan) -> Result<usize, ReadError> {
        self.shared().view.count(scan)
    }

    /// Queues `batch`, and resolves when it is durable.
    ///
    /// Batches take effect in the order in which they were passed to `commit` and [`submit`](Self::submit),
    /// whenever the answers are polled. `Ok` means: applied as a whole, and on disk.
    ///
    /// # Errors
    ///
    /// See [`CommitErrorKind`](crate::CommitErrorKind).
    pub fn commit(&self, batch: Batch) -> Commit {
        let (answer, answered) = oneshot::channel();
        match self.shared().push(Job {
            batch,
            answer: Some(answer),
        }) {
            Ok(()) => Commit::awaited(answered),
            Err(error) => Commit::refused(error),
        }
    }

    /// Queues `batch` without asking for an answer: for what may be lost, such as removing what is no longer used.
    ///
    /// It takes effect in order with commits and is made durable together with the next one, otherwise on its own
    /// after about 50 ms or when the database is closed. A check that does not hold drops the batch without a word.
    ///
    /// # Errors
    ///
    /// Only what is known at once: `TooLarge`, `Busy`, `StorageFull`, `Failed` and `Closed`.
    pub fn submit(&self, batch: Batch) -> Result<(), CommitError> {
        self.shared().push(Job { batch, answer: None })
    }

    /// Resolves when everything queued before is durable.
    ///
    /// # Errors
    ///
    /// See [`CommitErrorKind`](crate::CommitErrorKind).
    pub fn flush(&self) -> Commit {
        self.commit(Batch::new())
    }

    /// Resolves when the queue has room for a small batch, or the database accepts none for another reason.
    pub async fn ready(&self) {
        self.shared().queue.ready().await;
    }

    /// How many batches are queued or being made durable.
    ///
    /// A batch is counted from the call of [`commit`](Self::commit) or [`submit`](Self::submit) until after whoever
    /// waits for its answer was woken: an executor with virtual time that finds 0 here, and then nothing to run, may
    /// let time pass.
    pub fn in_flight(&self) -> usize {
        self.shared().in_flight.count()
    }

    /// Blocks the thread until nothing is [in flight](Self::in_flight), without the wait of
    /// [`submit`](Self::submit) for a commit to share a sync with.
    ///
    /// For an executor with virtual time that has nothing left to run: what it waits for happens in real time.
    pub fn settle(&self) {
        self.shared().queue.hurry();
        self.shared().in_flight.wait();
    }

    /// What was done since the database was opened, and its size.
    pub fn stats(&self) -> Stats {
        self.shared().stats()
    }

    /// Why the engine has stopped for good, when it has.
    pub fn failure(&self) -> Option<Failure> {
        self.shared().failure.borrow().clone()
    }

    /// Resolves when the engine stops for good. It never resolves on a database that is closed in good health.
    pub async fn failed(&self) -> Failure {
        let mut failure = self.shared().failure.subscribe();
        loop {
            if let Some(failure) = failure.borrow_and_update().clone() {
                return failure;
            }
            if failure.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The directory it lies in, as an absolute path without symbolic links.
    pub fn path(&self) -> &Path {
        &self.shared().path
    }

    /// Closes the database for every clone: makes durable what is queued, refuses what comes later, and returns when
    /// the directory may be opened again. Blocks like dropping the last clone does.
    ///
    /// # Errors
    ///
    /// The reason when the engine has stopped before everything was durable, and
    /// [`StillClosing`](crate::CommitErrorKind::StillClosing) when it needs longer than 10 s.
    pub fn close(self) -> Result<(), CommitError> {
        self.close_within(CLOSE_WAIT)
    }

    pub(crate) fn close_within(self, limit: Duration) -> Result<(), CommitError> {
        let is_closed = self.shared().close(self.handle.writer, limit);
        match self.failure() {
            Some(failure) => Err(CommitError::failed(failure)),
            None if is_closed => Ok(()),
            None => Err(CommitError::still_closing()),
        }
    }

    #[cfg(test)]
    pub(crate) fn gate(&self) -> &crate::gate::Gate {
        &self.handle.shared.gate
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close(self.writer, CLOSE_WAIT);
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("path", &self.shared().path)
            .finish_non_exhaustive()
    }
}
