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
/// What bodies end with while it is looked again whether they are old.
const ASIDE: &str = ".aside";

/// Keeps bodies as files. Each appears whole or not at all, and survives the loss of power once it is kept. On Unix only the user
/// whose process kept a body can read it: all processes that share the directory run as the same user.
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
            let removes = match key_aside(&name) {
                Some(key) => Self::take_away(&entry.path(), &self.path.join(key), time),
                None if name.ends_with(DRAFT) => Self::remove_old(&entry.path(), time),
                None if BodyKey::parse(&name).is_some() => self.remove_body(&entry.path(), &name, time),
                None => Ok(false),
            };
            match removes {
                Ok(is_removed) => removed += usize::from(is_removed),
                // Another process has removed it meanwhile, or is about to.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    /// Once it has been found old the body may be kept again, which makes it young: so it is looked at where nobody can do that.
    fn remove_body(&self, path: &Path, name: &str, time: Timestamp) -> io::Result<bool> {
        if kept_at(&fs::metadata(path)?)? >= time {
            return Ok(false);
        }
        self.set_aside(path, name, time)
    }

    fn set_aside(&self, path: &Path, name: &str, time: Timestamp) -> io::Result<bool> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let aside = format!("{name}.{}-{number}{ASIDE}", std::process::id());
        let aside = self.path.join(aside);
        fs::rename(path, &aside)?;
        Self::take_away(&aside, path, time)
    }

    /// Removes what was put aside, or puts it back where it is young.
    fn take_away(aside: &Path, path: &Path, time: Timestamp) -> io::Result<bool> {
        if kept_at(&fs::metadata(aside)?)? >= time {
            // What may be there by now has the same content.
            fs::rename(aside, path)?;
            return Ok(false);
        }
        fs::remove_file(aside)?;
        Ok(true)
    }

    fn remove_old(path: &Path, time: Timestamp) -> io::Result<bool> {
        let is_old = kept_at(&fs::metadata(path)?)? < time;
        if is_old {
            fs::remove_file(path)?;
        }
        Ok(is_old)
    }

    fn write(&self, key: &BodyKey, body: &[u8]) -> io::Result<()> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let draft = format!("{key}.{}-{number}{DRAFT}", std::process::id());
        let draft = self.path.join(draft);
        let written = private(&draft).and_then(|mut file| {
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

    /// A body that is missing may be aside for a moment, or from a process that ended just then.
    fn open_aside(&self, key: &BodyKey, path: &Path) -> io::Result<File> {
        let wanted = key.to_string();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if key_aside(&entry.file_name().to_string_lossy()) == Some(wanted.as_str())
                && let Ok(file) = File::open(entry.path())
            {
                return Ok(file);
            }
        }
        File::open(path)
    }

    fn read(&self, key: &BodyKey, bytes: usize) -> io::Result<Bytes> {
        let path = self.path.join(key.to_string());
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.open_aside(key, &path)?,
            opened => opened?,
        };
        let mut body = Vec::new();
        // One byte more tells that it is another one.
        file.take(bytes as u64 + 1).read_to_end(&mut body)?;
        Ok(body.into())
    }
}

/// The key of a body that is aside.
fn key_aside(name: &str) -> Option<&str> {
    let (key, _) = name.strip_suffix(ASIDE)?.split_once('.')?;
    BodyKey::parse(key).map(|_| key)
}

/// A new file that only its owner can read: what is in messages is nobody else's business.
fn private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn directory() -> (tempfile::TempDir, Directory) {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = Directory::open(folder.path()).expect("opens");
        (folder, directory)
    }

    fn make_old(path: &Path) {
        let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        let file = File::options().write(true).open(path).expect("is there");
        file.set_modified(old).expect("bears it");
    }

    const LONG_AGO: Timestamp = Timestamp::from_micros(1_000_000_000_000);

    #[test]
    fn when_a_body_is_kept_again_after_it_was_found_old_it_stays() {
        let (_folder, directory) = directory();
        let (key, body) = (BodyKey::of(b"a body"), b"a body");
        let path = directory.path.join(key.to_string());
        directory.write(&key, body).expect("kept");
        make_old(&path);
        // It is found old, and then kept again.
        directory.write(&key, body).expect("kept again");
        let removed = directory.set_aside(&path, &key.to_string(), LONG_AGO);
        assert!(!removed.expect("reads"));
        assert_eq!(&directory.read(&key, body.len()).expect("is there")[..], body);
        make_old(&path);
        assert_eq!(directory.remove_older_than(LONG_AGO).expect("reads"), 1);
        assert_eq!(fs::read_dir(&directory.path).expect("reads").count(), 0);
    }

    #[test]
    fn when_a_process_ended_with_a_body_aside_it_is_read_and_put_back() {
        let (_folder, directory) = directory();
        let (key, body) = (BodyKey::of(b"a body"), b"a body");
        directory.write(&key, body).expect("kept");
        let path = directory.path.join(key.to_string());
        let aside = directory.path.join(format!("{key}.1-1{ASIDE}"));
        fs::rename(&path, &aside).expect("moves");
        assert_eq!(&directory.read(&key, body.len()).expect("is there")[..], body);
        assert_eq!(directory.remove_older_than(LONG_AGO).expect("reads"), 0);
        assert!(path.exists() && !aside.exists());
        fs::rename(&path, &aside).expect("moves");
        make_old(&aside);
        assert_eq!(directory.remove_older_than(LONG_AGO).expect("reads"), 1);
        assert!(!path.exists() && !aside.exists());
    }

    #[test]
    fn when_several_remove_what_is_old_none_is_hindered_by_what_another_has_removed() {
        let (_folder, directory) = directory();
        for number in 0..500_u32 {
            let path = directory
                .path
                .join(BodyKey::of(&number.to_be_bytes()).to_string());
            fs::write(&path, "x").expect("written");
            make_old(&path);
        }
        let removed: usize = std::thread::scope(|scope| {
            let sweep = || directory.remove_older_than(LONG_AGO).expect("is not hindered");
            let sweeps: Vec<_> = (0..4).map(|_| scope.spawn(sweep)).collect();
            sweeps.into_iter().map(|sweep| sweep.join().expect("ends")).sum()
        });
        assert_eq!(removed, 500);
    }

    #[cfg(unix)]
    #[test]
    fn when_a_body_is_kept_only_its_owner_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let (_folder, directory) = directory();
        let key = BodyKey::of(b"a body");
        directory.write(&key, b"a body").expect("kept");
        let found = fs::metadata(directory.path.join(key.to_string())).expect("is there");
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
    }
}
