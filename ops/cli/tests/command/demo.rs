//! The demonstration.

use std::time::{Duration, Instant};

use crate::stage::{answer, bare};

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "how long somebody waits for it is limited"
)]
fn when_nothing_is_installed_the_demonstration_shows_failures_and_replays_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = bare(&["demo"]);
    // What is set up for real work is left alone.
    command
        .env("TMPDIR", folder.path())
        .env("LONGHAUL_AMQP_URL", "amqp://broker.invalid")
        .env("LONGHAUL_OPS_CONFIG", "/nowhere/ops.toml")
        .env("LONGHAUL_DATA", "/nowhere");
    let since = Instant::now();
    let shown = answer(command);
    // Beside other tests; what it takes alone is held by scripts/checks/operate.sh.
    assert!(since.elapsed() < Duration::from_secs(60), "{:?}", since.elapsed());
    shown.says(
        0,
        &[
            "$ longhaul errors list --data",
            "the bank is closed",
            "would send 3 of 3 messages",
            "replayed 3 of 3 messages",
            "the queue error is empty",
            "That was all",
        ],
    );
    let after = shown.out.rsplit("once more").next().unwrap();
    assert_eq!(after.matches("completed").count(), 6, "{after}");
    assert_eq!(shown.err, "");
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "left behind"
    );
}

#[test]
fn when_the_demonstration_gets_a_directory_it_keeps_it_and_takes_none_that_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop").display().to_string();
    answer(bare(&["demo", "--data", &path])).says(0, &["Look around", &path]);
    answer(bare(&[
        "sagas",
        "list",
        "order",
        "--endpoint",
        "shop",
        "--data",
        &path,
    ]))
    .says(0, &["completed"]);
    answer(bare(&["demo", "--data", &path])).says(2, &["new or empty"]);
    answer(bare(&["demo", "--json"])).says(2, &["--json"]);
}
