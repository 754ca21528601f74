//! How far a run is, read from what its processes note.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use longhaul::clock::{Clock, SystemClock, Timestamp};

use crate::kill::folder::Folder;

/// What was noted so far.
#[derive(Debug)]
pub(crate) struct Progress {
    folder: Folder,
    read: u64,
    rest: String,
    orders: BTreeSet<u64>,
    /// How many bytes all notes have.
    size: u64,
    /// When they grew last.
    grew: Timestamp,
}

impl Progress {
    pub(crate) fn new(folder: Folder) -> Self {
        let (orders, rest) = (BTreeSet::new(), String::new());
        Self {
            folder,
            read: 0,
            rest,
            orders,
            size: 0,
            grew: SystemClock.now(),
        }
    }

    /// Reads on. Returns how many orders have an outcome.
    pub(crate) fn look(&mut self) -> anyhow::Result<u64> {
        let size = self.handled();
        if size != self.size {
            self.size = size;
            self.grew = SystemClock.now();
        }
        match File::open(self.folder.outcomes()) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            file => {
                let mut file = file?;
                file.seek(SeekFrom::Start(self.read))?;
                self.read += file.read_to_string(&mut self.rest)? as u64;
            }
        }
        // A line may be half there.
        while let Some((line, rest)) = self.rest.split_once('\n') {
            self.orders.insert(line.parse()?);
            self.rest = rest.to_owned();
        }
        Ok(self.orders.len() as u64)
    }

    /// Grows whenever a handler runs.
    pub(crate) fn handled(&self) -> u64 {
        bytes(&self.folder.executions()) + bytes(&self.folder.outcomes())
    }

    /// How long nothing was noted.
    pub(crate) fn quiet_for(&self) -> Duration {
        SystemClock.now().since(self.grew)
    }

    /// Counts the quiet from now on.
    pub(crate) fn forgive(&mut self) {
        self.grew = SystemClock.now();
    }
}

fn bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}
