//! Bodies as files of one directory, which all processes that need them must share.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use bytes::Bytes;

use crate::claim_check::{BodyError, BodyErrorKind, BodyKey, BodyStore};
use crate::clock::Timestamp;

/// Numbers the drafts of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);
/// What files end with that are being written.
const DRAFT: &str = ".draft";

/// Keeps bodies as files. Each appears whole or not at all, and survives the loss of power once it is kept.
///
/// Nothing is removed by itself: call [`Directory::remove_older_than`] from time to time.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Opens a directory, and makes it where there is none.
    ///
    /// # Errors
    /// It can't be made, or is none.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        fs::create_dir_all(&path)?;
        let path = path.as_ref().canonicalize()?;
        Ok(Self { path })
    }

    /// Removes the bodies that were kept last before this time. It must be so long ago that no message can come that
    /// needs them: longer than messages stay in any queue, the error queue among them. Returns how many they were.
    ///
    /// # Errors
    /// The directory can't be read, or a file not be removed; others may be removed already.
    pub fn remove_older_than(&self, time: Timestamp) -> io::Result<usize> {
        let mut removed = 0;
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_ours = BodyKey::parse(&name).is_some() || name.ends_with(DRAFT);
            if is_ours && kept_at(&entry.metadata()?)? < time {
                fs::remove_file(entry.path())?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn write(&self, key: &BodyKey, body: &[u8]) -> io::Result<()> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let draft = format!("{key}.{}-{number}{DRAFT}", std::process::id());
        let draft = self.path.join(draft);
        let written = File::create_new(&draft).and_then(|mut file| {
            file.write_all(body)?;
            file.sync_all()?;
            fs::rename(&draft, self.path.join(key.to_string()))
        });
        if written.is_err() {
            // Nobody else knows of it; what can't be removed is removed by age.
            drop(fs::remove_file(&draft));
        }
        written?;
        File::open(&self.path)?.sync_all()
    }

    fn read(&self, key: &BodyKey, bytes: usize) -> io::Result<Bytes> {
        let file = File::open(self.path.join(key.to_string()))?;
        let mut body = Vec::new();
        // One byte more tells that it is another one.
        file.take(bytes as u64 + 1).read_to_end(&mut body)?;
        Ok(body.into())
    }
}

fn kept_at(file: &fs::Metadata) -> io::Result<Timestamp> {
    let since = file.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Timestamp::UNIX_EPOCH + since)
}

#[async_trait]
impl BodyStore for Directory {
    async fn put(&self, key: &BodyKey, body: &Bytes) -> Result<(), BodyError> {
        let (directory, key, body) = (self.clone(), *key, body.clone());
        let written = apart(move || directory.write(&key, &body)).await;
        written.map_err(|error| told("keep", key, &error))
    }

    async fn get(&self, key: &BodyKey, bytes: usize) -> Result<Bytes, BodyError> {
        let (directory, key) = (self.clone(), *key);
        let read = apart(move || directory.read(&key, bytes)).await;
        read.map_err(|error| told("read", key, &error))
    }
}

fn told(doing: &str, key: BodyKey, error: &io::Error) -> BodyError {
    let kind = match error.kind() {
        io::ErrorKind::NotFound if doing == "read" => BodyErrorKind::Missing,
        io::ErrorKind::PermissionDenied => BodyErrorKind::Denied,
        _ => BodyErrorKind::Unavailable,
    };
    BodyError::new(kind, format!("{doing} the body {key} in the directory: {error}"))
}

/// Waits for the disk on a thread of the runtime's; where there is none, here.
async fn apart<R: Send + 'static>(work: impl FnOnce() -> io::Result<R> + Send + 'static) -> io::Result<R> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await?,
        Err(_) => work(),
    }
}
