//! What the situations share.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use bytes::Bytes;
use longhaul_embedded::{Batch, Database, Scan};

pub(crate) fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Batch {
    let mut batch = Batch::new();
    batch.put(key, value);
    batch
}

pub(crate) fn everything() -> Scan {
    Scan::all().limit(usize::MAX)
}

/// Commits entries of many sizes, some of them several times, and waits until all of them are durable.
pub(crate) fn fill(database: &Database, rounds: u32) {
    for round in 0..rounds {
        let mut batch = Batch::new();
        for entry in 0..5 {
            batch.put(
                format!("{:06}/{entry}", round % 700),
                round.to_string().repeat(40),
            );
        }
        if round % 50 == 0 {
            batch.put(format!("long/{round}"), vec![b'x'; 30_000]);
        }
        drop(database.commit(batch));
    }
    database.flush().wait().unwrap();
}

/// Every file below a directory with its bytes, but for the lock, which says nothing.
pub(crate) fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.file_name().unwrap() != "longhaul.lock" {
            match fs::read(&path) {
                // Another process has taken it away meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                bytes => drop(found.insert(path, bytes.unwrap())),
            }
        }
    }
    found
}

/// The names in a directory.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Copies a database as a kill would leave it: whatever is in its files now.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The variable that tells a child its directory.
pub(crate) const CHILD: &str = "LONGHAUL_EMBEDDED_CHILD";

/// The directory when this process is a child that a test started.
pub(crate) fn child_directory() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// This program once more, to run only the test `name` as a child.
pub(crate) fn child(name: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// Numbers that look random and depend on the seed alone (xorshift64).
pub(crate) fn draws(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}
