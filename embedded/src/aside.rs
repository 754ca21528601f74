//! A copy of the directory beside it, made before it is opened, to put it back when it turns out to be damaged.

use std::{
    fs::{self, FileType},
    io, mem,
    path::{Path, PathBuf},
};

use crate::{
    directory::{DATA_NAME, LOCK_NAME, make_private},
    failure::is_full,
    open_error::OpenError,
};

/// What is appended to the name of the directory for the copy.
const COPY_SUFFIX: &str = ".longhaul-opening";
/// What is appended, before a number, for a copy that stays.
const KEPT_SUFFIX: &str = ".damaged-";
/// How many copies may stay beside one database.
const MOST_KEPT: u32 = 1_000;

/// The copy, if there is one. Removed on drop unless it was kept.
pub(crate) struct Aside {
    original: PathBuf,
    copy: Option<PathBuf>,
    kept: bool,
}

impl Aside {
    /// Copies the directory when it holds data, is not larger than `limit` bytes, and there is room beside it.
    pub(crate) fn copy(original: &Path, limit: u64) -> Result<Self, OpenError> {
        let mut aside = Self {
            original: original.to_owned(),
            copy: None,
            kept: false,
        };
        let failed = |error| OpenError::io(original, "copy it aside", error);
        if limit == 0 || !original.join(DATA_NAME).exists() {
            return Ok(aside);
        }
        let bytes = size(original).map_err(failed)?;
        if bytes > limit {
            tracing::warn!(
                path = %original.display(),
                bytes,
                limit,
                "opening the database without a copy of it: it is over the limit for copies"
            );
            return Ok(aside);
        }
        match aside.make() {
            Ok(()) => Ok(aside),
            Err(error) if is_full(&error) || is_not_allowed(&error) => {
                tracing::warn!(path = %original.display(), %error, "opening the database without a copy of it");
                Ok(aside)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Where the copy is, under a name under which it stays. Made now when there is none.
    pub(crate) fn keep(&mut self) -> Result<&Path, OpenError> {
        let failed =
            |original: &Path, error| OpenError::io(original, "keep a copy of it, for it is damaged", error);
        if self.copy.is_none() {
            self.make().map_err(|error| failed(&self.original, error))?;
        }
        let copy = self.copy.get_or_insert_default();
        if !mem::replace(&mut self.kept, true) {
            let free = (1..=MOST_KEPT)
                .map(|number| beside(&self.original, &format!("{KEPT_SUFFIX}{number}")))
                .find(|name| !name.exists());
            if let Some(free) = free {
                fs::rename(&*copy, &free).map_err(|error| failed(&self.original, error))?;
                *copy = free;
            }
        }
        Ok(copy)
    }

    /// Makes the files of the directory those of the copy, byte for byte. False when there is no copy.
    pub(crate) fn put_back(&mut self) -> Result<bool, OpenError> {
        if self.copy.is_none() {
            return Ok(false);
        }
        // Under its lasting name first: should the process die half way, the next open must not take the copy for a
        // left-over.
        let copy = self.keep()?.to_owned();
        let restored = restore(&copy, &self.original);
        restored.map(|()| true).map_err(|error| {
            let doing = format!("put it back as it was from {}", copy.display());
            OpenError::io(&self.original, &doing, error)
        })
    }

    /// Lets go of a copy that was kept.
    pub(crate) fn release(&mut self) {
        self.kept = false;
    }

    fn make(&mut self) -> io::Result<()> {
        let to = beside(&self.original, COPY_SUFFIX);
        remove(&to);
        copy_files(&self.original, &to).inspect_err(|_| remove(&to))?;
        self.copy = Some(to);
        Ok(())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(copy) = &self.copy
            && !self.kept
        {
            remove(copy);
        }
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

fn is_not_allowed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

fn size(directory: &Path) -> io::Result<u64> {
    files(directory)?
        .iter()
        .map(|name| Ok(fs::metadata(directory.join(name))?.len()))
        .sum()
}

/// The files in a directory and in the directories in it, without the lock, and without what holds no data: the socket of a process
/// that was killed.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let holds_data = |kind: FileType| kind.is_file() || kind.is_symlink();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (name, kind) = (PathBuf::from(entry.file_name()), entry.file_type()?);
        if kind.is_dir() {
            if name.as_os_str() == "lost+found" {
                continue;
            }
            for inner in fs::read_dir(entry.path())? {
                let inner = inner?;
                if holds_data(inner.file_type()?) {
                    found.push(name.join(inner.file_name()));
                }
            }
        } else if holds_data(kind) && name.as_os_str() != LOCK_NAME {
            found.push(name);
        }
    }
    Ok(found)
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    make_private(to)?;
    for name in files(from)? {
        if let Some(inner) = name.parent() {
            fs::create_dir_all(to.join(inner))?;
        }
        fs::copy(from.join(&name), to.join(&name))?;
    }
    Ok(())
}

fn restore(from: &Path, to: &Path) -> io::Result<()> {
    let wanted = files(from)?;
    for name in &wanted {
        fs::copy(from.join(name), to.join(name))?;
    }
    for name in files(to)? {
        if !wanted.contains(&name) {
            fs::remove_file(to.join(name))?;
        }
    }
    Ok(())
}

fn remove(directory: &Path) {
    if let Err(error) = fs::remove_dir_all(directory)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %directory.display(), %error, "could not remove a copy of the database");
    }
}
