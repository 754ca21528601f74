//! Reading exported messages back into the error queue.

use std::io::BufRead;

use longhaul_core::transport::{Destination, Dispatch};

use crate::errors::error::OpsError;
use crate::errors::error_queue::ErrorQueue;
use crate::errors::lines::{LastLine, Line, Lines};
use crate::errors::progress::{Outcome, Progress};
use crate::errors::sending::Batches;

impl ErrorQueue {
    /// Reads every line, and says how many messages there are. Nothing is sent.
    ///
    /// # Errors
    /// A line is not an exported failed message: [`OpsErrorKind::Invalid`](crate::errors::OpsErrorKind::Invalid) with its number. The
    /// file can't be read.
    pub fn check_import(source: &mut dyn BufRead, last: LastLine) -> Result<u64, OpsError> {
        let mut lines = Lines::of(source, last);
        let mut messages = 0;
        while next(&mut lines)?.is_some() {
            messages += 1;
        }
        Ok(messages)
    }

    /// Puts exported messages into the error queue as they lay there. `expected` is how many there are.
    ///
    /// An import that was cut short can be made again: a message that is there twice has the same id.
    ///
    /// # Errors
    /// As [`ErrorQueue::check_import`], or the queue is missing, or the broker can't be reached. What was sent until then is there.
    pub async fn import(
        &self,
        source: &mut (dyn BufRead + Send),
        last: LastLine,
        expected: u64,
        told: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Outcome, OpsError> {
        self.admin.depth(&self.name).await?;
        let mut lines = Lines::of(source, last);
        let mut batches = Batches::to(&*self.transport);
        while let Some(line) = next(&mut lines)? {
            let dispatch = Dispatch {
                envelope: line.envelope,
                to: Destination::Queue(self.name.clone()),
                due: None,
            };
            if batches.add(dispatch).await? {
                told(batches.outcome.progress(expected));
            }
        }
        let outcome = batches.end().await?;
        told(outcome.progress(expected));
        Ok(outcome)
    }
}

fn next<R: BufRead + ?Sized>(lines: &mut Lines<'_, R>) -> Result<Option<Line>, OpsError> {
    let line = lines.next()?;
    match &line {
        Some(line) if line.waits.is_some() => {
            Err(lines.bad("it is a delayed message, and did not fail: use `longhaul delays import`"))
        }
        _ => Ok(line),
    }
}
