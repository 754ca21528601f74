//! Reading exported messages back into the error queue.

use std::io::{BufRead, Read};

use longhaul_core::envelope::Envelope;
use longhaul_core::transport::{Destination, Dispatch};

use longhaul_record::Record;

use crate::errors::error::{OpsError, OpsErrorKind};
use crate::errors::error_queue::ErrorQueue;
use crate::errors::progress::{Outcome, Progress};
use crate::errors::resend;

/// The longest line, in bytes: the largest message of any broker, in base64, and its headers.
const LINE_BYTES: usize = 64 * 1024 * 1024;
/// How many messages, and how many bytes, are sent at a time.
const BATCH: usize = 100;
const BATCH_BYTES: usize = 8 * 1024 * 1024;

impl ErrorQueue {
    /// Reads every line, and says how many messages there are. Nothing is sent.
    ///
    /// # Errors
    /// A line is not an exported message: [`OpsErrorKind::Invalid`] with its number. The file can't be read.
    pub fn check_import(source: &mut dyn BufRead) -> Result<u64, OpsError> {
        let mut lines = Lines { source, number: 0 };
        let mut messages = 0;
        while lines.next()?.is_some() {
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
        expected: u64,
        told: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Outcome, OpsError> {
        self.admin.depth(&self.name).await?;
        let mut lines = Lines { source, number: 0 };
        let mut outcome = Outcome::default();
        let mut batch = Vec::new();
        let mut bytes = 0;
        loop {
            let next = lines.next()?;
            let is_last = next.is_none();
            if let Some(envelope) = next {
                outcome.seen += 1;
                outcome.matched += 1;
                bytes += envelope.body.len();
                batch.push(Dispatch {
                    envelope,
                    to: Destination::Queue(self.name.clone()),
                    due: None,
                });
            }
            if is_last || batch.len() >= BATCH || bytes >= BATCH_BYTES {
                self.send(&std::mem::take(&mut batch), &mut outcome).await?;
                bytes = 0;
                told(outcome.progress(expected));
            }
            if is_last {
                return Ok(outcome);
            }
        }
    }

    async fn send(&self, batch: &[Dispatch], outcome: &mut Outcome) -> Result<(), OpsError> {
        let most = self.transport.capabilities().max_batch.max(1);
        for some in batch.chunks(most) {
            let results = self.transport.dispatch(some).await;
            let before = outcome.done;
            let mut last = None;
            for (dispatch, result) in some.iter().zip(results) {
                match result {
                    Ok(_) => outcome.done += 1,
                    Err(error) => {
                        outcome.fail(Some(dispatch.envelope.id.as_str()), error.to_string());
                        last = Some(error);
                    }
                }
            }
            if let Some(error) = last.filter(|error| error.is_retryable() && outcome.done == before) {
                return Err(error.into());
            }
        }
        Ok(())
    }
}

/// The lines of an export.
struct Lines<'a, R: BufRead + ?Sized> {
    source: &'a mut R,
    number: u64,
}

impl<R: BufRead + ?Sized> Lines<'_, R> {
    /// The next message; empty lines are passed over.
    fn next(&mut self) -> Result<Option<Envelope>, OpsError> {
        loop {
            let mut line = String::new();
            let most = u64::try_from(LINE_BYTES).unwrap_or(u64::MAX);
            let mut limited = Read::take(&mut *self.source, most);
            let read = limited.read_line(&mut line).map_err(|error| {
                let text = format!("read line {} of the exported messages: {error}", self.number + 1);
                OpsError::new(OpsErrorKind::File, text).caused_by(error)
            })?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if read == LINE_BYTES {
                return Err(self.bad(&format!("it is longer than {LINE_BYTES} bytes")));
            }
            if line.trim().is_empty() {
                continue;
            }
            let incoming = Record::parse(line.trim_end())
                .and_then(Record::into_incoming)
                .map_err(|error| self.bad(&error.to_string()))?;
            let envelope = resend::as_it_is(&incoming).map_err(|why| self.bad(&why))?;
            return Ok(Some(envelope));
        }
    }

    fn bad(&self, why: &str) -> OpsError {
        let text = format!("read line {} of the exported messages: {why}", self.number);
        OpsError::new(OpsErrorKind::Invalid, text)
    }
}
