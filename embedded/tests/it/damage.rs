//! Databases whose files are not what was written.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use longhaul_embedded::{Database, OpenErrorKind, Options};

use crate::support::{copy, draws, everything, files, fill, names, put};

/// A database that was closed, what it held, and the directory it lies in.
struct Closed {
    parent: tempfile::TempDir,
    path: PathBuf,
    held: Vec<(Bytes, Bytes)>,
}

impl Closed {
    /// Opened three times, so that there is a snapshot that covers only a part of the data.
    fn with_snapshot() -> Self {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        for _ in 0..2 {
            let database = Database::open(&path).unwrap();
            fill(&database, 900);
            database.close().unwrap();
        }
        let database = Database::open(&path).unwrap();
        fill(&database, 300);
        let held = database.scan(&everything()).unwrap();
        database.close().unwrap();
        let closed = Self { parent, path, held };
        assert_eq!(closed.snapshots().len(), 1);
        closed
    }

    fn without_snapshot() -> Self {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let database = Database::open(&path).unwrap();
        fill(&database, 900);
        let held = database.scan(&everything()).unwrap();
        database.close().unwrap();
        Self { parent, path, held }
    }

    fn snapshots(&self) -> Vec<PathBuf> {
        let found = names(&self.path)
            .into_iter()
            .filter(|name| name.starts_with("snap."));
        found.map(|name| self.path.join(name)).collect()
    }

    fn data(&self) -> Vec<u8> {
        fs::read(self.path.join("db")).unwrap()
    }

    fn set_data(&self, bytes: &[u8]) {
        fs::write(self.path.join("db"), bytes).unwrap();
    }

    fn check_whole(&self) {
        let database = Database::open(&self.path).unwrap();
        assert_eq!(database.scan(&everything()).unwrap().len(), self.held.len());
        assert!(database.scan(&everything()).unwrap() == self.held);
        database.commit(put("written after it", "")).wait().unwrap();
    }

    /// Refused as damaged, every byte as it was, nothing left beside it.
    fn check_refused(&self) {
        let before = files(&self.path);
        let error = Database::open(&self.path).unwrap_err();
        assert_eq!(error.kind(), OpenErrorKind::Damaged, "{error}");
        assert!(error.to_string().contains("restore a backup"), "{error}");
        assert!(files(&self.path) == before, "the directory was changed");
        assert_eq!(names(self.parent.path()), ["data"]);
    }
}

#[test]
fn when_one_bit_of_the_snapshot_is_flipped() {
    let closed = Closed::with_snapshot();
    let snapshot = &closed.snapshots()[0];
    let mut bytes = fs::read(snapshot).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(snapshot, &bytes).unwrap();
    let before = files(&closed.path);

    closed.check_whole();
    assert_eq!(names(closed.parent.path()), ["data", "data.damaged-1"]);
    let kept = closed.parent.path().join("data.damaged-1");
    for (path, bytes) in before {
        assert!(fs::read(kept.join(path.strip_prefix(&closed.path).unwrap())).unwrap() == bytes);
    }
}

#[test]
fn when_the_snapshot_is_damaged_a_second_time() {
    let closed = Closed::with_snapshot();
    for _ in 0..2 {
        for snapshot in closed.snapshots() {
            fs::write(snapshot, "not a snapshot").unwrap();
        }
        Database::open(&closed.path).unwrap().close().unwrap();
        Database::open(&closed.path).unwrap().close().unwrap();
    }
    closed.check_whole();
    assert_eq!(
        names(closed.parent.path()),
        ["data", "data.damaged-1", "data.damaged-2"]
    );
}

#[test]
fn when_a_snapshot_was_not_finished() {
    let closed = Closed::with_snapshot();
    fs::write(closed.path.join("snap.00000000000FFFFF.generating"), "").unwrap();
    closed.check_whole();
    assert_eq!(names(closed.parent.path()), ["data"]);
}

#[test]
fn when_the_snapshots_are_gone() {
    let closed = Closed::with_snapshot();
    for snapshot in closed.snapshots() {
        fs::remove_file(snapshot).unwrap();
    }
    closed.check_whole();
}

#[test]
fn when_the_data_is_cut_short() {
    for closed in [Closed::with_snapshot(), Closed::without_snapshot()] {
        let whole = closed.data();
        for keep in [whole.len() / 10, whole.len() / 2, whole.len() * 9 / 10] {
            closed.set_data(&whole[..keep]);
            closed.check_refused();
        }
        closed.set_data(&[]);
        closed.check_refused();
        closed.set_data(&whole);
        closed.check_whole();
    }
}

#[test]
fn when_the_data_is_gone() {
    let closed = Closed::with_snapshot();
    let whole = closed.data();
    fs::remove_file(closed.path.join("db")).unwrap();
    closed.check_refused();
    closed.set_data(&whole);
    closed.check_whole();
}

#[test]
fn when_the_data_is_scrambled() {
    for closed in [Closed::with_snapshot(), Closed::without_snapshot()] {
        let mut draw = draws(3);
        let scrambled: Vec<u8> = closed.data().iter().map(|_| draw().to_le_bytes()[0]).collect();
        closed.set_data(&scrambled);
        closed.check_refused();
    }
}

/// Damage at one place is either met and refused, or it is where nothing of value lies. `LONGHAUL_DAMAGES` sets how
/// many places are tried.
#[test]
fn when_the_data_is_damaged_at_one_place() {
    let places = std::env::var("LONGHAUL_DAMAGES").map_or(12, |count| count.parse().unwrap());
    let mut refused = 0;
    for closed in [Closed::with_snapshot(), Closed::without_snapshot()] {
        let original = closed.parent.path().join("original");
        copy(&closed.path, &original);
        let mut draw = draws(11);
        for place in 0..places {
            fs::remove_dir_all(&closed.path).unwrap();
            copy(&original, &closed.path);
            damage_one_place(&closed.path, place, &mut draw);
            let before = files(&closed.path);
            match Database::open(&closed.path) {
                Ok(database) => {
                    assert!(
                        database.scan(&everything()).unwrap() == closed.held,
                        "place {place}"
                    );
                }
                Err(error) => {
                    assert_eq!(error.kind(), OpenErrorKind::Damaged, "{error}");
                    assert!(
                        files(&closed.path) == before,
                        "place {place}: the directory was changed"
                    );
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 0);
}

fn damage_one_place(path: &Path, place: u32, draw: &mut impl FnMut() -> u64) {
    const BLOCK: usize = 4_096;
    let mut bytes = fs::read(path.join("db")).unwrap();
    let at = usize::try_from(draw()).unwrap() % bytes.len();
    if place.is_multiple_of(2) {
        bytes[at] ^= 1 << (draw() % 8);
    } else {
        bytes[at / BLOCK * BLOCK..]
            .iter_mut()
            .take(BLOCK)
            .for_each(|byte| *byte = draw().to_le_bytes()[0]);
    }
    fs::write(path.join("db"), bytes).unwrap();
}

#[test]
fn when_an_older_state_of_the_data_is_put_in_place() {
    let closed = Closed::without_snapshot();
    let older = closed.data();
    let database = Database::open(&closed.path).unwrap();
    database.commit(put("acknowledged", "since")).wait().unwrap();
    database.close().unwrap();
    for snapshot in closed.snapshots() {
        fs::remove_file(snapshot).unwrap();
    }
    closed.set_data(&older);
    closed.check_refused();

    // The error says how to go on without what is missing.
    fs::remove_file(closed.path.join("longhaul.acknowledged")).unwrap();
    closed.check_whole();
}

#[test]
fn when_no_copy_may_be_made() {
    let closed = Closed::without_snapshot();
    let whole = closed.data();
    closed.set_data(&whole[..whole.len() / 2]);
    let error = Database::open_with(&closed.path, Options::new().safety_copy_bytes(0)).unwrap_err();
    assert_eq!(error.kind(), OpenErrorKind::Damaged);
    assert_eq!(names(closed.parent.path()), ["data"]);
}

#[test]
fn when_an_earlier_open_died_with_its_copy_in_place() {
    let closed = Closed::with_snapshot();
    copy(&closed.path, &closed.parent.path().join("data.longhaul-opening"));
    fs::write(
        closed.parent.path().join("data.longhaul-opening/db"),
        "half a copy",
    )
    .unwrap();
    closed.check_whole();
    assert_eq!(names(closed.parent.path()), ["data"]);
}
