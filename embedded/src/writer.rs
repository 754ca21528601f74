//! The one thread that writes: it takes queued batches as groups and makes each group durable with one sync.

use std::{
    any::Any,
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, ThreadId},
};

use crate::{
    acknowledged::Acknowledged,
    commit_error::CommitError,
    directory::Directory,
    engine,
    failure::Failure,
    group::{Group, Verdict},
    open_error::OpenError,
    queue::Job,
    record::LoadError,
    recovery::Opened,
    shared::Shared,
    tally::Head,
};

/// The engine's locks span all databases of the process, and its flush can wait for good for a writer that waits for
/// it. So only one database of the process writes, or is opened, at a time; while it syncs, the next may.
pub(crate) static ENGINE: Mutex<()> = Mutex::new(());

/// How many groups are written between two looks at the size of the file.
const GROUPS_PER_SIZE_CHECK: u32 = 1_024;

/// Starts the writer. It ends when the queue is closed and empty.
pub(crate) fn spawn(shared: Arc<Shared>, opened: Opened) -> Result<ThreadId, OpenError> {
    let path = shared.path.clone();
    let writer = Writer {
        shared,
        db: opened.db,
        file: opened.file,
        acknowledged: opened.acknowledged,
        head: opened.head,
        directory: opened.directory,
        groups_until_size_check: 0,
        over_alarm: false,
    };
    let thread = thread::Builder::new()
        .name("longhaul-writer".to_owned())
        .spawn(move || writer.run());
    Ok(thread
        .map_err(|error| OpenError::io(&path, "start its writer thread", error))?
        .thread()
        .id())
}

struct Writer {
    shared: Arc<Shared>,
    db: sled::Db,
    file: File,
    acknowledged: Acknowledged,
    /// As of the last group that is durable.
    head: Head,
    directory: Directory,
    groups_until_size_check: u32,
    over_alarm: bool,
}

impl Writer {
    fn run(mut self) {
        while let Some(jobs) = self.shared.queue.next_group() {
            let settled = catch_unwind(AssertUnwindSafe(|| self.settle(&jobs)))
                .unwrap_or_else(|panic| Err(Failure::from_panic("write a group", panic_text(&*panic))));
            match settled {
                Ok(verdicts) => {
                    for (job, verdict) in jobs.into_iter().zip(verdicts) {
                        self.answer(
                            job,
                            match verdict {
                                Verdict::Holds => Ok(()),
                                Verdict::Conflict(key) => Err(CommitError::conflict(key)),
                            },
                        );
                    }
                    self.check_size();
                }
                Err(failure) => self.fail(jobs, &failure),
            }
        }
        self.close();
    }

    /// Makes the batches durable that may be. Nothing is acknowledged when this fails.
    fn settle(&mut self, jobs: &[Job]) -> Result<Vec<Verdict>, Failure> {
        let mut group = Group::new(&self.db, self.head);
        let mut verdicts = Vec::with_capacity(jobs.len());
        for job in jobs {
            verdicts.push(group.add(&job.batch).map_err(failed_load)?);
        }
        let changes = group.finish();
        let synced = changes.is_some();
        if let Some(changes) = changes {
            self.shared.view.cover(changes.before);
            self.write(changes.batch, changes.head)?;
            self.shared.view.uncover();
        }
        let conflicts = verdicts
            .iter()
            .filter(|verdict| matches!(verdict, Verdict::Conflict(_)))
            .count() as u64;
        self.shared
            .counters
            .group_done(verdicts.len() as u64 - conflicts, conflicts, synced);
        Ok(verdicts)
    }

    fn write(&mut self, changes: sled::Batch, head: Head) -> Result<(), Failure> {
        {
            let _turn = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
            self.db
                .apply_batch(changes)
                .map_err(|error| Failure::from_sled("apply a group", error))?;
            self.db
                .flush()
                .map_err(|error| Failure::from_sled("flush a group", error))?;
        }
        #[cfg(test)]
        self.shared
            .gate
            .pass()
            .map_err(|error| Failure::from_io("sync a group", error))?;
        // The flush of the engine hands the bytes to the operating system and no further.
        self.file
            .sync_data()
            .map_err(|error| Failure::from_io("sync a group", error))?;
        self.head = head;
        self.acknowledged
            .set(head.sequence)
            .map_err(|error| Failure::from_io("note the number of a group", error))
    }

    fn answer(&self, job: Job, answer: Result<(), CommitError>) {
        if let Some(waiter) = job.answer {
            // Nobody has to wait for the answer. It may run the code of whoever does, which must not end this thread.
            let told = catch_unwind(AssertUnwindSafe(|| drop(waiter.send(answer))));
            if let Err(panic) = told {
                tracing::error!(
                    panic = panic_text(&*panic),
                    "whoever was told of a commit panicked"
                );
            }
        }
        self.shared.in_flight.end();
    }

    fn fail(&self, group: Vec<Job>, failure: &Failure) {
        tracing::error!(path = %self.shared.path.display(), %failure, "the database has stopped");
        let waiting = self.shared.queue.fail(failure.clone());
        self.shared.failure.send_replace(Some(failure.clone()));
        for job in group.into_iter().chain(waiting) {
            self.answer(job, Err(CommitError::failed(failure.clone())));
        }
    }

    fn check_size(&mut self) {
        let Some(alarm) = self.shared.options.disk_alarm_bytes else {
            return;
        };
        if self.groups_until_size_check > 0 {
            self.groups_until_size_check -= 1;
            return;
        }
        self.groups_until_size_check = GROUPS_PER_SIZE_CHECK;
        let bytes = self.shared.bytes_on_disk();
        if bytes > alarm && !self.over_alarm {
            tracing::warn!(
                path = %self.shared.path.display(),
                "the database takes {bytes} bytes on disk, over the alarm of {alarm}"
            );
        }
        self.over_alarm = bytes > alarm;
    }

    fn close(self) {
        let Self {
            shared,
            db,
            file,
            acknowledged,
            directory,
            ..
        } = self;
        shared.view.close();
        drop(db);
        // Threads of the engine may hold its file and with it its lock a moment longer.
        engine::wait_until_let_go(&shared.path);
        drop((file, acknowledged, directory));
        shared.closed();
    }
}

fn failed_load(error: LoadError) -> Failure {
    match error {
        LoadError::Engine(error) => Failure::from_sled("read for a group", error),
        LoadError::Malformed => {
            Failure::from_sled("read for a group", sled::Error::Corruption { at: None, bt: () })
        }
    }
}

/// What a panic says.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a text")
}
