//! Files that survive the death of their writers: notes that may repeat, and a third party that takes idempotency keys.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// A file of lines, each written at once at the end, by any number of processes. Nothing in it is unique: what is done
/// twice is there twice.
#[derive(Debug)]
pub(crate) struct Notes {
    file: File,
}

impl Notes {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self { file })
    }

    pub(crate) fn write(&self, text: &str) -> io::Result<()> {
        (&self.file).write_all(format!("{text}\n").as_bytes())
    }
}

/// What the third party did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Deed {
    Charge,
    Refund,
    Parcel,
    Recall,
}

/// One thing that it did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) deed: Deed,
    pub(crate) order: u64,
    pub(crate) cents: u64,
}

/// A bank and a carrier: third parties that do a thing once for each idempotency key, and any number of times for an order.
///
/// Each thing done is a file named after its key; it appears with all its content or not at all.
#[derive(Debug)]
pub(crate) struct ThirdParty {
    done: PathBuf,
    drafts: PathBuf,
}

/// Numbers the drafts of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

impl ThirdParty {
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let (done, drafts) = (folder.join("done"), folder.join("drafts"));
        fs::create_dir_all(&done)?;
        fs::create_dir_all(&drafts)?;
        Ok(Self { done, drafts })
    }

    /// Does it, unless that was done under the same key before.
    pub(crate) fn once(&self, key: &str, entry: &Entry) -> io::Result<()> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let draft = self.drafts.join(format!("{}-{number}", std::process::id()));
        fs::write(&draft, serde_json::to_vec(entry)?)?;
        let name: String = key
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '-' {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        let made = fs::hard_link(&draft, self.done.join(name));
        fs::remove_file(&draft)?;
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
    }

    /// Everything done.
    pub(crate) fn entries(&self) -> io::Result<Vec<Entry>> {
        let files = fs::read_dir(&self.done)?;
        files
            .map(|file| Ok(serde_json::from_slice(&fs::read(file?.path())?)?))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_key_comes_twice_it_is_done_once_and_an_order_may_be_done_twice() {
        let folder = tempfile::tempdir().unwrap();
        let bank = ThirdParty::open(folder.path()).unwrap();
        let entry = Entry {
            deed: Deed::Charge,
            order: 7,
            cents: 100,
        };
        for key in ["billing:a", "billing:a", "billing:b"] {
            bank.once(key, &entry).unwrap();
        }
        assert_eq!(bank.entries().unwrap().len(), 2);
    }

    #[test]
    fn when_two_write_notes_nothing_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        let (one, other) = (Notes::open(&path).unwrap(), Notes::open(&path).unwrap());
        for text in ["a", "b"] {
            one.write(text).unwrap();
            other.write(text).unwrap();
        }
        assert_eq!(fs::read_to_string(path).unwrap(), "a\na\nb\nb\n");
    }
}
