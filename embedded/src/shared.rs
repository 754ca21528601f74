//! What the handles of a database and its writer share.

use std::{
    fs,
    path::PathBuf,
    sync::{Condvar, Mutex, PoisonError},
    thread::{self, ThreadId},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::watch;

use crate::{
    batch::Batch,
    commit_error::CommitError,
    directory::DATA_NAME,
    failure::Failure,
    in_flight::InFlight,
    options::Options,
    queue::{Job, Queue},
    recovery::Opened,
    stats::{Counters, Stats},
    view::View,
};

/// How long closing waits for the writer before it leaves it to finish alone.
pub(crate) const CLOSE_WAIT: Duration = Duration::from_secs(10);

pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) options: Options,
    pub(crate) queue: Queue,
    pub(crate) view: View,
    pub(crate) counters: Counters,
    pub(crate) in_flight: InFlight,
    pub(crate) failure: watch::Sender<Option<Failure>>,
    closed: Mutex<bool>,
    closing: Condvar,
    #[cfg(test)]
    pub(crate) gate: crate::gate::Gate,
}

impl Shared {
    pub(crate) fn new(opened: &Opened, options: Options) -> Self {
        Self {
            path: opened.directory.path().to_owned(),
            queue: Queue::new(&options),
            options,
            view: View::new((*opened.db).clone()),
            counters: Counters::default(),
            in_flight: InFlight::default(),
            failure: watch::Sender::new(None),
            closed: Mutex::new(false),
            closing: Condvar::new(),
            #[cfg(test)]
            gate: crate::gate::Gate::default(),
        }
    }

    pub(crate) fn push(&self, job: Job) -> Result<(), CommitError> {
        self.check_limits(&job.batch)?;
        // Counted before the writer can see it, so that the count never falls short.
        self.in_flight.begin();
        self.queue.push(job).inspect_err(|_| self.in_flight.end())
    }

    pub(crate) fn bytes_on_disk(&self) -> u64 {
        fs::metadata(self.path.join(DATA_NAME)).map_or(0, |metadata| metadata.len())
    }

    pub(crate) fn stats(&self) -> Stats {
        let bytes = self.bytes_on_disk();
        let alarm = self.options.disk_alarm_bytes.is_some_and(|alarm| bytes > alarm);
        self.counters.read(self.queue.len() as u64, bytes, alarm)
    }

    /// Closes the queue, and waits so long until the writer has let go of the directory, unless this is the writer. Returns
    /// whether it has.
    pub(crate) fn close(&self, writer: ThreadId, limit: Duration) -> bool {
        self.queue.close();
        if thread::current().id() == writer {
            return false;
        }
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.closing.wait_timeout_while(closed, limit, |closed| !*closed);
        let (_closed, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            tracing::warn!(
                path = %self.path.display(),
                "the database is still being closed after {} s; it goes on in the background",
                limit.as_secs()
            );
        }
        !waited.timed_out()
    }

    /// Tells those who wait in [`close`](Self::close) that the directory may be opened again.
    pub(crate) fn closed(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.closing.notify_all();
    }

    fn check_limits(&self, batch: &Batch) -> Result<(), CommitError> {
        if batch.bytes() > self.options.max_batch_bytes {
            return Err(CommitError::batch_too_large(
                batch.bytes(),
                self.options.max_batch_bytes,
            ));
        }
        for (key, value) in &batch.writes {
            if key.len() > Options::MAX_KEY_BYTES {
                return Err(CommitError::key_too_large(key.clone(), Options::MAX_KEY_BYTES));
            }
            let bytes = value.as_ref().map_or(0, Bytes::len);
            if bytes > self.options.max_value_bytes {
                return Err(CommitError::value_too_large(
                    key.clone(),
                    bytes,
                    self.options.max_value_bytes,
                ));
            }
        }
        Ok(())
    }
}
