//! The directory of a database: may it be used, by this process alone, in a format that is known?

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::open_error::{OpenError, OpenErrorKind};

/// The lock that keeps other processes out.
pub(crate) const LOCK_NAME: &str = "longhaul.lock";
/// Says which version of the format the directory is in.
const FORMAT_NAME: &str = "longhaul.format";
const NEW_FORMAT_NAME: &str = "longhaul.format.new";
/// What stands in it, before the version.
const FORMAT_LEAD: &str = "longhaul-embedded ";
const FORMAT_VERSION: u32 = 1;
/// The file of the engine that holds the data.
pub(crate) const DATA_NAME: &str = "db";

/// The directories open in this process.
static OPEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A directory held by this process until it is dropped.
pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
    _claim: Claim,
}

impl Directory {
    /// Checks the directory, makes it when it is missing, and locks it. Nothing in it is changed when this fails.
    pub(crate) fn claim(given: &Path) -> Result<Self, OpenError> {
        make_if_missing(given)?;
        let path = fs::canonicalize(given).map_err(|error| OpenError::io(given, "resolve it", error))?;
        let claim = Claim::new(&path)?;
        let names = names(&path)?;
        refuse_links(&path, &names)?;
        let known = check_format(&path, &names)?;
        let lock = lock(&path)?;
        if !known {
            write_format(&path).map_err(|error| OpenError::io(&path, "write its format", error))?;
        }
        refuse_engine_in_use(&path)?;
        Ok(Self {
            path,
            _lock: lock,
            _claim: claim,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The place of a path among those open in this process.
struct Claim(PathBuf);

impl Claim {
    fn new(path: &Path) -> Result<Self, OpenError> {
        if OPEN
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(path.to_owned())
        {
            return Ok(Self(path.to_owned()));
        }
        let detail = "this process has it open already; clone that `Database` instead";
        Err(OpenError::new(OpenErrorKind::InUse, path, detail))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        OPEN.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.0);
    }
}

fn make_if_missing(path: &Path) -> Result<(), OpenError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return make(path),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            let detail = "a part of the path is a file; choose a directory";
            return Err(OpenError::new(OpenErrorKind::NotADirectory, path, detail).caused_by(error));
        }
        Err(error) => return Err(OpenError::io(path, "look at it", error)),
    };
    if found.is_symlink() {
        let detail = "it is a symbolic link; give the directory that it leads to";
        return Err(OpenError::new(OpenErrorKind::Symlink, path, detail));
    }
    if !found.is_dir() {
        let detail = "it is not a directory; choose another path";
        return Err(OpenError::new(OpenErrorKind::NotADirectory, path, detail));
    }
    Ok(())
}

fn make(path: &Path) -> Result<(), OpenError> {
    let parent = match path.parent() {
        Some(parent) if parent != OsStr::new("") => parent,
        _ => Path::new("."),
    };
    if !parent.is_dir() {
        let detail = format!("{} does not exist; make it first", parent.display());
        return Err(OpenError::new(OpenErrorKind::MissingParent, path, detail));
    }
    make_private(path).map_err(|error| OpenError::io(path, "make it", error))?;
    sync_directory(parent).map_err(|error| OpenError::io(path, "sync the directory above", error))
}

/// Makes a directory that nobody but its owner can enter.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// The names in a directory.
pub(crate) fn names(path: &Path) -> Result<Vec<String>, OpenError> {
    let listed = fs::read_dir(path).and_then(|entries| {
        entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    });
    listed.map_err(|error| OpenError::io(path, "list it", error))
}

/// Nothing of ours may lead elsewhere.
fn refuse_links(path: &Path, names: &[String]) -> Result<(), OpenError> {
    let ours = |name: &&String| {
        let name = name.as_str();
        matches!(name, DATA_NAME | "conf" | "blobs")
            || name.starts_with("snap.")
            || name.starts_with("longhaul.")
    };
    for name in names.iter().filter(ours) {
        let found = fs::symlink_metadata(path.join(name))
            .map_err(|error| OpenError::io(path, "look at its files", error))?;
        if found.is_symlink() {
            let detail = format!("{name} in it is a symbolic link; put the file itself in its place");
            return Err(OpenError::new(OpenErrorKind::Symlink, path, detail));
        }
    }
    Ok(())
}

/// Whether the directory says that it is in our format; not when it is empty.
fn check_format(path: &Path, names: &[String]) -> Result<bool, OpenError> {
    let text = match fs::read(path.join(FORMAT_NAME)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let foreign =
                |name: &&String| !matches!(name.as_str(), LOCK_NAME | NEW_FORMAT_NAME | "lost+found");
            let Some(name) = names.iter().find(foreign) else {
                return Ok(false);
            };
            let detail = format!("it holds {name} but no {FORMAT_NAME}; choose an empty or a new directory");
            return Err(OpenError::new(OpenErrorKind::Foreign, path, detail));
        }
        Err(error) => return Err(OpenError::io(path, "read its format", error)),
    };
    let version: Option<u32> = str::from_utf8(&text)
        .ok()
        .and_then(|text| text.strip_prefix(FORMAT_LEAD)?.trim_end().parse().ok());
    match version {
        Some(FORMAT_VERSION) => Ok(true),
        Some(newer) if newer > FORMAT_VERSION => {
            let detail = format!(
                "it is in format {newer}, and this version reads {FORMAT_VERSION}; use the version that wrote it"
            );
            Err(OpenError::new(OpenErrorKind::Newer, path, detail))
        }
        Some(_) | None => {
            let detail = format!("{FORMAT_NAME} in it is not readable; restore it from a backup");
            Err(OpenError::new(OpenErrorKind::Damaged, path, detail))
        }
    }
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path.join(LOCK_NAME))
        .map_err(|error| OpenError::io(path, "open its lock", error))?;
    match file.try_lock() {
        Ok(()) => {
            name_holder(&file);
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => Err(in_use(path)),
        Err(TryLockError::Error(error)) => Err(OpenError::io(path, "lock it", error)),
    }
}

/// Leaves the number of this process in the lock, for whoever finds it taken. The lock itself does not depend on it.
fn name_holder(mut file: &File) {
    let written = file
        .set_len(0)
        .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
    if let Err(error) = written {
        tracing::debug!(%error, "the number of this process could not be left in the lock of its database");
    }
}

/// The process that has the directory, where it says so.
fn holder(path: &Path) -> Option<u32> {
    let mut text = String::new();
    let file = File::open(path.join(LOCK_NAME)).ok()?;
    file.take(20).read_to_string(&mut text).ok()?;
    // Where it is ours, somebody else has the engine's files.
    text.trim().parse().ok().filter(|id| *id != std::process::id())
}

/// Something that is not this library may have opened the engine's files.
fn refuse_engine_in_use(path: &Path) -> Result<(), OpenError> {
    let file = match File::open(path.join(DATA_NAME)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(OpenError::io(path, "open its data", error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(in_use(path)),
        Err(TryLockError::Error(error)) => Err(OpenError::io(path, "lock its data", error)),
    }
}

pub(crate) fn in_use(path: &Path) -> OpenError {
    let who = holder(path).map_or_else(|| "another process".to_owned(), |id| format!("process {id}"));
    let detail = format!("in use by {who}; stop that one or choose another directory");
    OpenError::new(OpenErrorKind::InUse, path, detail)
}

fn write_format(path: &Path) -> io::Result<()> {
    let new = path.join(NEW_FORMAT_NAME);
    fs::write(&new, format!("{FORMAT_LEAD}{FORMAT_VERSION}\n"))?;
    OpenOptions::new().write(true).open(&new)?.sync_all()?;
    fs::rename(&new, path.join(FORMAT_NAME))?;
    sync_directory(path)
}

/// Makes the names in a directory durable, where the system knows of such a thing.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(path)?.sync_all()
    } else {
        Ok(())
    }
}
