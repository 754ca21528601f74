//! A disk that runs full and gets space again.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process::Command,
};

use longhaul_embedded::{CommitErrorKind, Database, FailureKind, OpenErrorKind, ReadErrorKind};

use crate::support::{everything, put};

/// A small file system of its own, unmounted on drop.
struct SmallDisk {
    directory: tempfile::TempDir,
    _image: tempfile::NamedTempFile,
}

impl SmallDisk {
    /// A file system in memory. None where this user may not mount one.
    fn in_memory(megabytes: u64) -> Option<Self> {
        Self::mount(
            tempfile::NamedTempFile::new().unwrap(),
            &["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"],
        )
    }

    /// A file system that finds out late that it is full, in a file. None where this user may not mount one.
    fn in_a_file(megabytes: u64) -> Option<Self> {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(megabytes << 20).unwrap();
        let made = Command::new("mkfs.ext4")
            .args(["-q", "-F"])
            .arg(image.path())
            .output();
        if !made.is_ok_and(|output| output.status.success()) {
            eprintln!("not tested: a file system cannot be made here");
            return None;
        }
        let path = image.path().to_str().unwrap().to_owned();
        Self::mount(image, &["-o", "loop", &path])
    }

    fn mount(image: tempfile::NamedTempFile, what: &[&str]) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(what).arg(directory.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self {
                directory,
                _image: image,
            });
        }
        eprintln!("not tested: a file system cannot be mounted here");
        None
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn remount(&self, option: &str) {
        let options = format!("remount,{option}");
        assert!(
            Command::new("mount")
                .args(["-o", &options])
                .arg(self.path())
                .status()
                .unwrap()
                .success()
        );
    }

    /// Fills what is left but for `spare` bytes.
    fn fill(&self, spare: usize) {
        let mut file = File::create(self.path().join("filler")).unwrap();
        let mut written = 0_u64;
        while let Ok(bytes) = file.write(&[0; 4_096]) {
            written += bytes as u64;
        }
        file.set_len(written.saturating_sub(spare as u64)).unwrap();
    }

    fn free(&self) {
        fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

#[test]
fn when_the_disk_is_filled_and_freed_ten_times() {
    if let Some(disk) = SmallDisk::in_memory(64) {
        fill_and_free(&disk);
    }
}

#[test]
fn when_the_disk_is_filled_and_freed_ten_times_and_tells_late() {
    if let Some(disk) = SmallDisk::in_a_file(64) {
        fill_and_free(&disk);
    }
}

fn fill_and_free(disk: &SmallDisk) {
    let path = disk.path().join("data");
    let mut acknowledged = 0_u32;
    for round in 0..10 {
        let database = Database::open(&path).unwrap();
        let held = u32::try_from(database.count(&everything()).unwrap()).unwrap();
        // One that failed may be there or not.
        assert!(
            held == acknowledged || held == acknowledged + 1,
            "{acknowledged} acknowledged, {held} held"
        );
        acknowledged = held;
        disk.fill(300_000 + 50_000 * round);
        let error = loop {
            match database
                .commit(put(format!("{acknowledged:08}"), vec![7; 3_000]))
                .wait()
            {
                Ok(()) => acknowledged += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), CommitErrorKind::StorageFull, "{error}");
        assert_eq!(database.failure().unwrap().kind(), FailureKind::StorageFull);
        // What can still be read is what was acknowledged.
        match database.count(&everything()) {
            Ok(count) => assert_eq!(u32::try_from(count).unwrap(), acknowledged),
            Err(error) => assert_eq!(error.kind(), ReadErrorKind::Io, "{error}"),
        }
        disk.free();
        // Not before it is opened anew.
        let later = database.commit(put("later", "")).wait().unwrap_err();
        assert_eq!(later.kind(), CommitErrorKind::StorageFull);
        database.close().unwrap_err();
    }
    assert!(acknowledged > 100);
}

#[test]
fn when_the_disk_is_full_before_it_is_opened() {
    let Some(disk) = SmallDisk::in_memory(16) else {
        return;
    };
    let path = disk.path().join("data");
    disk.fill(0);
    let error = Database::open(&path).unwrap_err();
    assert_eq!(error.kind(), OpenErrorKind::StorageFull, "{error}");
    disk.free();
    let database = Database::open(&path).unwrap();
    for number in 0..100_u32 {
        database
            .commit(put(number.to_string(), vec![1; 1_000]))
            .wait()
            .unwrap();
    }
    database.close().unwrap();

    disk.fill(0);
    match Database::open(&path) {
        // There may be nothing to write before the first commit.
        Ok(database) => {
            assert_eq!(database.count(&everything()).unwrap(), 100);
        }
        Err(error) => assert_eq!(error.kind(), OpenErrorKind::StorageFull, "{error}"),
    }
    disk.free();
    assert_eq!(Database::open(&path).unwrap().count(&everything()).unwrap(), 100);
}

#[test]
fn when_the_file_system_is_mounted_read_only() {
    let Some(disk) = SmallDisk::in_memory(16) else {
        return;
    };
    let path = disk.path().join("data");
    Database::open(&path)
        .unwrap()
        .commit(put("key", "value"))
        .wait()
        .unwrap();
    disk.remount("ro");
    let error = Database::open(&path).unwrap_err();
    assert_eq!(error.kind(), OpenErrorKind::ReadOnly, "{error}");
    assert_eq!(
        Database::open(disk.path().join("new")).unwrap_err().kind(),
        OpenErrorKind::ReadOnly
    );
    disk.remount("rw");
    assert_eq!(Database::open(&path).unwrap().count(&everything()).unwrap(), 1);
}
