//! Writing failed messages to a file, one line each.

use std::io::{self, Write};

use longhaul_record::Record;

use crate::errors::error::{OpsError, OpsErrorKind};
use crate::errors::error_queue::{ErrorQueue, count};
use crate::errors::failed::Failed;
use crate::errors::filter::Selection;
use crate::errors::lines::check_readable;
use crate::errors::progress::{Outcome, Progress};
use crate::errors::walk::{PAGE, Walk};

/// What is to be exported.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// Which messages.
    pub selection: Selection,
    /// Whether to take out what is written. Then `sync` must make it durable.
    pub remove: bool,
}

impl ErrorQueue {
    /// Writes messages as lines of JSON, with their bodies where those are kept elsewhere and can be
    /// [read](ErrorQueue::with_bodies). Where they are to be taken out, each page is, once `sync` says that what was written is
    /// safe; a message that [`ErrorQueue::import`] could not read back is not written then, and stays.
    ///
    /// # Errors
    /// See [`OpsErrorKind`]; what was written until then may lie in the queue still.
    pub async fn export<W: Write + Send>(
        &self,
        options: &ExportOptions,
        sink: &mut W,
        sync: fn(&mut W) -> io::Result<()>,
        told: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Outcome, OpsError> {
        let mut walk = Walk::begin(self).await?;
        let exported = self.export_in(&mut walk, options, (sink, sync), told).await;
        walk.end(exported).await
    }

    async fn export_in<W: Write + Send>(
        &self,
        walk: &mut Walk,
        options: &ExportOptions,
        (sink, sync): (&mut W, fn(&mut W) -> io::Result<()>),
        told: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Outcome, OpsError> {
        let (now, mut outcome) = (self.clock.now(), Outcome::about(&options.selection));
        loop {
            let page = walk.page(PAGE).await?;
            if page.is_empty() {
                sync(sink).map_err(unwritable)?;
                return Ok(outcome);
            }
            outcome.seen += count(page.len());
            let mut places = Vec::new();
            for found in &page {
                let failed = Failed::of(found);
                if !options.selection.takes(&failed, now) {
                    continue;
                }
                outcome.meet(&failed);
                let failed_to = |why: String| OpsError::new(OpsErrorKind::File, why);
                let (incoming, is_elsewhere) = match self.whole(&found.incoming).await {
                    Ok(whole) => whole,
                    Err(why) => {
                        outcome.fail(failed.id.as_deref(), why);
                        continue;
                    }
                };
                let line = Record::of(&incoming).to_line();
                let line = line.map_err(|error| failed_to(error.to_string()))?;
                // An import refuses the whole file for one line.
                if options.remove
                    && let Err(why) = check_readable(&line)
                {
                    outcome.fail(failed.id.as_deref(), why);
                    continue;
                }
                writeln!(sink, "{line}").map_err(unwritable)?;
                outcome.elsewhere += u64::from(is_elsewhere);
                places.push(found.place);
            }
            if options.remove && !places.is_empty() {
                sync(sink).map_err(unwritable)?;
                walk.remove(&places).await?;
            }
            outcome.done += count(places.len());
            told(outcome.progress(walk.expected()));
        }
    }
}

pub(crate) fn unwritable(error: io::Error) -> OpsError {
    let text = format!("write the exported messages: {error}; nothing that was not written was taken out");
    OpsError::new(OpsErrorKind::File, text).caused_by(error)
}
