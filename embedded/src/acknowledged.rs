//! The number of the last group that was acknowledged, beside the database.
//!
//! The engine opens a file whose end is missing as if the end had never been written. This number tells the
//! difference: it is written after each sync and before the answers, so the database is never behind it unless
//! something that was acknowledged is gone.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

/// The name of the file in the directory.
pub(crate) const NAME: &str = "longhaul.acknowledged";

pub(crate) struct Acknowledged {
    file: File,
}

impl Acknowledged {
    /// The file and the number in it; none when the file is new or was torn by a loss of power.
    pub(crate) fn open(directory: &Path) -> io::Result<(Self, Option<u64>)> {
        let path = directory.join(NAME);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok((Self { file }, decode(&bytes)))
    }

    /// Hands the number to the operating system. Not synced: after a loss of power it may be an older one, which
    /// only makes the comparison more lenient.
    pub(crate) fn set(&mut self, sequence: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&encode(sequence))
    }
}

/// The number twice, the second time inverted, so that half a write shows.
fn encode(sequence: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&sequence.to_be_bytes());
    bytes[8..].copy_from_slice(&(!sequence).to_be_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first_chunk()?;
    let sequence = u64::from_be_bytes(*first);
    (rest == (!sequence).to_be_bytes()).then_some(sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_half_of_the_number_was_written() {
        let mut bytes = encode(7);
        assert_eq!(decode(&bytes), Some(7));
        bytes[..8].copy_from_slice(&8_u64.to_be_bytes());
        assert_eq!(decode(&bytes), None);
        assert_eq!(decode(b""), None);
    }
}
