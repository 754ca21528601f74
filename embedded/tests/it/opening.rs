//! Paths that are refused, and why.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
};

use longhaul_embedded::{Database, OpenError, OpenErrorKind};

use crate::support::{child, child_directory, files, fill, names, put};

fn refused(path: &Path) -> OpenErrorKind {
    let error = Database::open(path).unwrap_err();
    check_text(&error, path);
    error.kind()
}

/// Every error reads after "failed to", names the path and says what to do.
fn check_text(error: &OpenError, path: &Path) {
    let text = error.to_string();
    assert!(text.starts_with("open the database at "), "{text}");
    assert!(
        text.contains(path.file_name().unwrap().to_str().unwrap()),
        "{text}"
    );
    assert!(text.contains(';'), "{text}");
}

#[test]
fn when_the_directory_is_missing_it_is_made_for_its_owner_alone() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    let database = Database::open(&path).unwrap();
    assert_eq!(database.path(), fs::canonicalize(&path).unwrap());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }
}

#[test]
fn when_the_directory_above_is_missing() {
    let parent = tempfile::tempdir().unwrap();
    assert_eq!(
        refused(&parent.path().join("missing/data")),
        OpenErrorKind::MissingParent
    );
    assert_eq!(names(parent.path()), [""; 0]);
}

#[test]
fn when_the_path_is_a_file() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    fs::write(&path, "a file").unwrap();
    assert_eq!(refused(&path), OpenErrorKind::NotADirectory);
    assert_eq!(refused(&path.join("below")), OpenErrorKind::NotADirectory);
    assert_eq!(fs::read(&path).unwrap(), b"a file");
}

#[test]
#[cfg(unix)]
fn when_the_path_is_a_symbolic_link() {
    let parent = tempfile::tempdir().unwrap();
    let elsewhere = parent.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let link = parent.path().join("link");
    std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
    assert_eq!(refused(&link), OpenErrorKind::Symlink);
    assert_eq!(names(&elsewhere), [""; 0]);

    let dangling = parent.path().join("dangling");
    std::os::unix::fs::symlink(parent.path().join("nowhere"), &dangling).unwrap();
    assert_eq!(refused(&dangling), OpenErrorKind::Symlink);
    assert_eq!(names(parent.path()), ["dangling", "elsewhere", "link"]);
}

#[test]
#[cfg(unix)]
fn when_a_file_in_the_directory_is_a_symbolic_link() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    Database::open(&path).unwrap().close().unwrap();
    let elsewhere = parent.path().join("elsewhere");
    fs::rename(path.join("db"), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, path.join("db")).unwrap();
    let before = files(parent.path());
    assert_eq!(refused(&path), OpenErrorKind::Symlink);
    assert_eq!(files(parent.path()), before);
}

#[test]
fn when_the_directory_holds_something_else() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("letter.txt"), "dear").unwrap();
    assert_eq!(refused(directory.path()), OpenErrorKind::Foreign);
    assert_eq!(names(directory.path()), ["letter.txt"]);
}

#[test]
fn when_the_directory_is_the_root_of_a_new_file_system() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("lost+found")).unwrap();
    Database::open(directory.path())
        .unwrap()
        .commit(put("key", "value"))
        .wait()
        .unwrap();
    Database::open(directory.path()).unwrap();
}

#[test]
#[cfg(unix)]
fn when_a_killed_process_has_left_its_socket_in_it() {
    use std::os::unix::net::UnixListener;
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    let database = Database::open(&path).unwrap();
    database.commit(put("key", "value")).wait().unwrap();
    database.close().unwrap();
    let half = path.join("longhaul.socket.new");
    fs::create_dir(&half).unwrap();
    for socket in [path.join("longhaul.socket"), half.join("socket")] {
        drop(UnixListener::bind(socket).unwrap());
    }
    for _ in 0..2 {
        let database = Database::open(&path).unwrap();
        assert_eq!(database.get(b"key").unwrap().as_deref(), Some(&b"value"[..]));
        database.close().unwrap();
    }
    assert_eq!(names(parent.path()), ["data"]);
}

#[test]
fn when_a_newer_version_wrote_it() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    Database::open(&path).unwrap().close().unwrap();
    fs::write(path.join("longhaul.format"), "longhaul-embedded 2\n").unwrap();
    let before = files(&path);
    assert_eq!(refused(&path), OpenErrorKind::Newer);
    assert_eq!(files(&path), before);
}

#[test]
fn when_its_format_cannot_be_read() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    Database::open(&path).unwrap().close().unwrap();
    for text in ["", "longhaul-embedded x\n", "something else 1\n"] {
        fs::write(path.join("longhaul.format"), text).unwrap();
        assert_eq!(refused(&path), OpenErrorKind::Damaged);
    }
}

#[test]
fn when_making_it_was_cut_short() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("longhaul.lock"), "").unwrap();
    fs::write(directory.path().join("longhaul.format.new"), "longh").unwrap();
    Database::open(directory.path()).unwrap();
}

#[test]
fn when_this_process_has_it_open() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    let database = Database::open(&path).unwrap();
    assert_eq!(refused(&path), OpenErrorKind::InUse);
    // Under another name for the same directory too.
    assert_eq!(refused(&parent.path().join("data/../data")), OpenErrorKind::InUse);

    let clone = database.clone();
    drop(database);
    assert_eq!(refused(&path), OpenErrorKind::InUse);
    drop(clone);
    Database::open(&path).unwrap();
}

#[test]
fn when_it_is_opened_again_at_once_many_times() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    for round in 0..20_usize {
        let database = Database::open(&path).unwrap();
        assert_eq!(database.count(&crate::support::everything()).unwrap(), round);
        database.commit(put(round.to_string(), "x")).wait().unwrap();
    }
}

#[test]
fn child_that_holds_a_database_until_told_to_stop() {
    let Some(directory) = child_directory() else {
        return;
    };
    let database = Database::open(directory).unwrap();
    println!("open");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    database.close().unwrap();
}

#[test]
fn when_another_process_has_it_open() {
    // Who has it may still write what belongs to opening it: then that can't be told apart, and it is tried with another one.
    assert!(
        (0..10).any(|_| an_attempt_changes_nothing()),
        "files change with an attempt"
    );
}

/// Whether the files are the same before and after the one attempt to open what another process has.
fn an_attempt_changes_nothing() -> bool {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    fill_and_close(&path);
    let mut holder = child("opening::child_that_holds_a_database_until_told_to_stop", &path)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("open")));

    let before = files(&path);
    assert_eq!(refused(&path), OpenErrorKind::InUse);
    let changes_nothing = files(&path) == before;
    assert_eq!(names(parent.path()), ["data"]);

    holder.stdin.take().unwrap().write_all(b"stop\n").unwrap();
    assert!(holder.wait().unwrap().success());
    Database::open(&path).unwrap();
    changes_nothing
}

#[test]
fn when_something_else_has_the_files_of_its_engine_locked() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    fill_and_close(&path);
    let file = fs::File::open(path.join("db")).unwrap();
    file.lock().unwrap();
    assert_eq!(refused(&path), OpenErrorKind::InUse);
    drop(file);
    Database::open(&path).unwrap();
}

#[test]
fn child_that_may_not_write() {
    let Some(directory) = child_directory() else {
        return;
    };
    assert_eq!(refused(&directory), OpenErrorKind::PermissionDenied);
    assert_eq!(refused(&directory.join("new")), OpenErrorKind::PermissionDenied);
    println!("refused");
}

#[test]
#[cfg(unix)]
fn when_the_directory_may_not_be_written() {
    use std::os::unix::{fs::PermissionsExt, process::CommandExt};
    const NOBODY: u32 = 65_534;
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    fill_and_close(&path);
    for (path, mode) in [(parent.path(), 0o755), (path.as_path(), 0o555)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let before = files(&path);
    // Nothing is forbidden to root, so the child is somebody else then.
    let mut child = child("opening::child_that_may_not_write", &path);
    if fs::write(path.join("probe"), "").is_ok() {
        fs::remove_file(path.join("probe")).unwrap();
        child.uid(NOBODY).gid(NOBODY);
    }
    match child.output() {
        Ok(output) => assert!(String::from_utf8_lossy(&output.stdout).contains("refused")),
        Err(error) => eprintln!("not tested: the test program cannot be run as somebody else: {error}"),
    }
    assert_eq!(files(&path), before);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn fill_and_close(path: &Path) {
    let database = Database::open(path).unwrap();
    fill(&database, 20);
    database.close().unwrap();
}
