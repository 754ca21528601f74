//! Delayed messages that wait at a broker: into a file, to their queues, to another broker.
//!
//! Whatever is done with one, its copy is confirmed, or its line safely written, before it is taken out. So it may be cut short at any
//! moment and begun again: nothing is lost, and what is there twice has the same id and takes effect once.

use std::io::{self, BufRead, Write};
use std::num::NonZeroU32;
use std::sync::Arc;

use longhaul_core::admin::{Found, Pass, Waits};
use longhaul_core::clock::Clock;
use longhaul_core::envelope::Envelope;
use longhaul_core::transport::{Destination, Dispatch, Transport};
use longhaul_record::Record;

use crate::errors::copying::{Copy, Pace, copy};
use crate::errors::error_queue::count;
use crate::errors::export::unwritable;
use crate::errors::lines::{Line, Lines, check_readable};
use crate::errors::resend;
use crate::errors::sending::Batches;
use crate::errors::walk::{PAGE, Walk};
use crate::errors::{LastLine, OpsError, Outcome, Progress};

/// When delayed messages are to be in their queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At once, however long they were to wait.
    Now,
    /// When they are due: not before.
    Due,
}

/// Sends everything that a pass shows to the queues that it is meant for, and takes each out once its copy is confirmed.
///
/// # Errors
/// The pass or the transport failed. Messages that can't be sent are in the outcome, and stay.
pub async fn send(
    pass: Box<dyn Pass>,
    transport: &dyn Transport,
    when: When,
    (clock, per_second): (Arc<dyn Clock>, Option<NonZeroU32>),
    told: &mut (dyn FnMut(Progress) + Send),
) -> Result<Outcome, OpsError> {
    let mut walk = Walk::of(pass);
    let mut pace = Pace::new(clock, per_second);
    let sent = send_in(&mut walk, transport, when, &mut pace, told).await;
    walk.end(sent).await
}

async fn send_in(
    walk: &mut Walk,
    transport: &dyn Transport,
    when: When,
    pace: &mut Pace,
    told: &mut (dyn FnMut(Progress) + Send),
) -> Result<Outcome, OpsError> {
    let (expected, mut outcome) = (walk.expected(), Outcome::default());
    loop {
        let page = walk.page(PAGE).await?;
        if page.is_empty() {
            return Ok(outcome);
        }
        outcome.seen += count(page.len());
        outcome.matched = outcome.seen;
        let mut copies = Vec::with_capacity(page.len());
        for found in &page {
            match copy_of(found, when) {
                Ok(copy) => copies.push(copy),
                Err(why) => outcome.fail(id(found).as_deref(), why),
            }
        }
        let mut tell = |outcome: &Outcome| told(outcome.progress(expected));
        copy(transport, walk, copies, pace, &mut outcome, &mut tell).await?;
        tell(&outcome);
    }
}

fn copy_of(found: &Found, when: When) -> Result<Copy, String> {
    let waits = found
        .waits
        .as_ref()
        .ok_or("find where it goes: it does not say so in the way of this library")?;
    let dispatch = Dispatch {
        envelope: resend::as_it_is(&found.incoming)?,
        to: Destination::Queue(waits.to.clone()),
        due: match when {
            When::Now => None,
            When::Due => Some(waits.due),
        },
    };
    let place = found.place;
    Ok(Copy { place, dispatch })
}

/// Writes everything that a pass shows as lines of JSON, with the queue that it is meant for and when it is due. Each page is taken
/// out once `sync` says that it is safe.
///
/// # Errors
/// The pass failed, or the file can't be written; nothing that was not written was taken out. Messages that can't be read are in the
/// outcome, and stay.
pub async fn export<W: Write + Send>(
    pass: Box<dyn Pass>,
    sink: &mut W,
    sync: fn(&mut W) -> io::Result<()>,
    told: &mut (dyn FnMut(Progress) + Send),
) -> Result<Outcome, OpsError> {
    let mut walk = Walk::of(pass);
    let exported = export_in(&mut walk, sink, sync, told).await;
    walk.end(exported).await
}

async fn export_in<W: Write + Send>(
    walk: &mut Walk,
    sink: &mut W,
    sync: fn(&mut W) -> io::Result<()>,
    told: &mut (dyn FnMut(Progress) + Send),
) -> Result<Outcome, OpsError> {
    let (expected, mut outcome) = (walk.expected(), Outcome::default());
    loop {
        let page = walk.page(PAGE).await?;
        if page.is_empty() {
            return Ok(outcome);
        }
        outcome.seen += count(page.len());
        outcome.matched = outcome.seen;
        let mut places = Vec::with_capacity(page.len());
        for found in &page {
            match line_of(found) {
                Ok(line) => {
                    writeln!(sink, "{line}").map_err(unwritable)?;
                    places.push(found.place);
                }
                Err(why) => outcome.fail(id(found).as_deref(), why),
            }
        }
        sync(sink).map_err(unwritable)?;
        walk.remove(&places).await?;
        outcome.done += count(places.len());
        told(outcome.progress(expected));
    }
}

/// The line of a message that an import could send.
fn line_of(found: &Found) -> Result<String, String> {
    let waits = found
        .waits
        .as_ref()
        .ok_or("find where it goes: it does not say so in the way of this library")?;
    resend::as_it_is(&found.incoming)?;
    let record = Record::of(&found.incoming).waiting(waits);
    let line = record.to_line().map_err(|error| error.to_string())?;
    check_readable(&line)?;
    Ok(line)
}

/// Reads every line, and says how many messages there are. Nothing is sent.
///
/// # Errors
/// A line is not an exported delayed message: [`Invalid`](crate::errors::OpsErrorKind::Invalid) with its number. The file can't be read.
pub fn check_import(source: &mut dyn BufRead, last: LastLine) -> Result<u64, OpsError> {
    let mut lines = Lines::of(source, last);
    let mut messages = 0;
    while next(&mut lines)?.is_some() {
        messages += 1;
    }
    Ok(messages)
}

/// Sends exported messages to the queues that they are meant for, so that they are there when they are due. `expected` is how many
/// there are.
///
/// An import that was cut short can be made again: a message that is there twice has the same id.
///
/// # Errors
/// As [`check_import`], or the broker can't be reached. What was sent until then is there.
pub async fn import(
    source: &mut (dyn BufRead + Send),
    last: LastLine,
    transport: &dyn Transport,
    expected: u64,
    told: &mut (dyn FnMut(Progress) + Send),
) -> Result<Outcome, OpsError> {
    let mut lines = Lines::of(source, last);
    let mut batches = Batches::to(transport);
    while let Some((envelope, waits)) = next(&mut lines)? {
        let dispatch = Dispatch {
            envelope,
            to: Destination::Queue(waits.to),
            due: Some(waits.due),
        };
        if batches.add(dispatch).await? {
            told(batches.outcome.progress(expected));
        }
    }
    let outcome = batches.end().await?;
    told(outcome.progress(expected));
    Ok(outcome)
}

fn next<R: BufRead + ?Sized>(lines: &mut Lines<'_, R>) -> Result<Option<(Envelope, Waits)>, OpsError> {
    match lines.next()? {
        None => Ok(None),
        Some(Line {
            envelope,
            waits: Some(waits),
        }) => Ok(Some((envelope, waits))),
        Some(_) => {
            Err(lines
                .bad("it is not a delayed message: one that failed goes back with `longhaul errors import`"))
        }
    }
}

fn id(found: &Found) -> Option<String> {
    String::from_utf8(found.incoming.id.clone()?).ok()
}
