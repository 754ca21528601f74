//! A copy of the directory beside it, made before it is opened, to put it back when it turns out to be damaged.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    directory::{DATA_NAME, LOCK_NAME},
    failure::is_full,
    open_error::OpenError,
};

/// How many damaged copies may lie beside a database.
const MOST_KEPT: u32 = 1_000;

/// The copy, if there is one.
pub(crate) struct Aside {
    original: PathBuf,
    copy: Option<PathBuf>,
}

impl Aside {
    /// Copies the directory when it holds data, is not larger than `limit` bytes, and there is room beside it.
    pub(crate) fn copy(original: &Path, limit: u64) -> Result<Self, OpenError> {
        let none = Self {
            original: original.to_owned(),
            copy: None,
        };
        let failed = |error| OpenError::io(original, "copy it aside", error);
        if !original.join(DATA_NAME).exists() || size(original).map_err(failed)? > limit {
            return Ok(none);
        }
        let to = beside(original, "opening");
        match copy_files(original, &to) {
            Ok(()) => Ok(Self {
                copy: Some(to),
                ..none
            }),
            Err(error) if is_full(&error) || is_not_allowed(&error) => {
                remove(&to);
                tracing::warn!(path = %original.display(), %error, "opening the database without a copy of it");
                Ok(none)
            }
            Err(error) => {
                remove(&to);
                Err(failed(error))
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.copy.as_deref().unwrap_or(&self.original)
    }

    /// Removes the copy: it is no longer needed.
    pub(crate) fn discard(self) {
        if let Some(copy) = self.copy {
            remove(&copy);
        }
    }

    /// Gives the copy a name under which it stays.
    pub(crate) fn keep(self) -> Result<Self, OpenError> {
        let original = &self.original;
        let copy = match &self.copy {
            Some(copy) => copy.clone(),
            None => {
                let to = beside(original, "opening");
                copy_files(original, &to)
                    .inspect_err(|_| remove(&to))
                    .map_err(|error| OpenError::io(original, "copy it aside, for it is damaged", error))?;
                to
            }
        };
        let kept = (1..=MOST_KEPT)
            .map(|number| beside(original, &format!("damaged-{number}")))
            .find(|name| !name.exists())
            .unwrap_or_else(|| copy.clone());
        fs::rename(&copy, &kept).map_err(|error| OpenError::io(original, "name the copy of it", error))?;
        Ok(Self {
            original: self.original,
            copy: Some(kept),
        })
    }

    /// Makes the directory what it was, and removes the copy. False when there is no copy; an error says where the
    /// copy is.
    pub(crate) fn put_back(self, path: &Path) -> Result<bool, String> {
        if self.copy.is_none() {
            return Ok(false);
        }
        // Under its lasting name first: should the process die half way, the next open must not take it for a left-over.
        let kept = self.keep().map_err(|error| error.to_string())?;
        let copy = kept.path().to_owned();
        restore(&copy, path)
            .map(|()| remove(&copy))
            .map(|()| true)
            .map_err(|error| {
                format!(
                    "it could not be put back as it was, {error}: a copy is at {}",
                    copy.display()
                )
            })
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
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

/// The files in a directory and in the directories in it, without the lock.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = PathBuf::from(entry.file_name());
        if entry.file_type()?.is_dir() {
            if name.as_os_str() == "lost+found" {
                continue;
            }
            for inner in fs::read_dir(entry.path())? {
                let inner = inner?;
                if inner.file_type()?.is_file() {
                    found.push(name.join(inner.file_name()));
                }
            }
        } else if name.as_os_str() != LOCK_NAME {
            found.push(name);
        }
    }
    Ok(found)
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    remove(to);
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(to)?;
    for name in files(from)? {
        if let Some(inner) = name.parent() {
            fs::create_dir_all(to.join(inner))?;
        }
        fs::copy(from.join(&name), to.join(&name))?;
    }
    Ok(())
}

/// Makes the files in `to` those of `from`, byte for byte.
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
