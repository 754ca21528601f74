//! Reading exported messages, line by line.

use std::io::{BufRead, Read};

use longhaul_core::admin::Waits;
use longhaul_core::envelope::Envelope;
use longhaul_record::Record;

use crate::errors::error::{OpsError, OpsErrorKind};
use crate::errors::resend;

/// The longest line, in bytes: the largest message of any broker, in base64, and its headers.
const LINE_BYTES: usize = 64 * 1024 * 1024;

/// What is made of a last line that ends in the middle, since the export was ended while it was written. Such a message was not
/// taken out of its queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LastLine {
    /// The file is refused: it may have been cut short on its way.
    #[default]
    MustBeWhole,
    /// The line is left out.
    MayBeTorn,
}

/// Whether an import could read this line, which does not have its end yet: before its message is taken out.
pub(crate) fn check_readable(line: &str) -> Result<(), String> {
    // With its end it must be shorter than what is read at most.
    let read = match line.len() + 1 < LINE_BYTES {
        true => parsed(line).map(drop),
        false => Err(format!("it is longer than {LINE_BYTES} bytes")),
    };
    read.map_err(|why| format!("take it out: an import could not read it back: {why}; it stays"))
}

fn parsed(line: &str) -> Result<Line, String> {
    let record = Record::parse(line).map_err(|error| error.to_string())?;
    let waits = record.waits();
    let incoming = record.into_incoming().map_err(|error| error.to_string())?;
    let envelope = resend::as_it_is(&incoming)?;
    Ok(Line { envelope, waits })
}

/// The lines of an export.
pub(crate) struct Lines<'a, R: BufRead + ?Sized> {
    source: &'a mut R,
    last: LastLine,
    number: u64,
}

/// One exported message.
pub(crate) struct Line {
    pub(crate) envelope: Envelope,
    pub(crate) waits: Option<Waits>,
}

impl<'a, R: BufRead + ?Sized> Lines<'a, R> {
    pub(crate) const fn of(source: &'a mut R, last: LastLine) -> Self {
        Self {
            source,
            last,
            number: 0,
        }
    }

    /// The next message; empty lines are passed over.
    pub(crate) fn next(&mut self) -> Result<Option<Line>, OpsError> {
        loop {
            let mut line = Vec::new();
            let most = u64::try_from(LINE_BYTES).unwrap_or(u64::MAX);
            let mut limited = Read::take(&mut *self.source, most);
            let read = limited.read_until(b'\n', &mut line).map_err(|error| {
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
            let is_torn = line.last() != Some(&b'\n');
            match Self::read(&line) {
                Ok(None) => {}
                Ok(line) => return Ok(line),
                Err(_) if is_torn && self.last == LastLine::MayBeTorn => return Ok(None),
                Err(why) if is_torn => {
                    return Err(self.bad(&format!(
                        "{why}; it ends in the middle: if the export was ended while it wrote, leave that line out with \
                         --torn-end"
                    )));
                }
                Err(why) => return Err(self.bad(&why)),
            }
        }
    }

    fn read(line: &[u8]) -> Result<Option<Line>, String> {
        let line = std::str::from_utf8(line).map_err(|error| error.to_string())?;
        if line.trim().is_empty() {
            return Ok(None);
        }
        parsed(line.trim_end()).map(Some)
    }

    pub(crate) fn bad(&self, why: &str) -> OpsError {
        let text = format!("read line {} of the exported messages: {why}", self.number);
        OpsError::new(OpsErrorKind::Invalid, text)
    }
}
