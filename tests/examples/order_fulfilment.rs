//! The demonstration: it adds up, and goes on adding up when it is killed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::program::Program;

fn demonstration(data: &Path) -> Program {
    Program::example("order_fulfilment").args(["--data".as_ref(), data.as_os_str()])
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// Runs to the end, which must be a good one, and returns the figures.
#[track_caller]
fn finish(directory: &TempDir, orders: u64) -> BTreeMap<String, u64> {
    let json = directory.path().join("figures.json");
    let ran = demonstration(&directory.path().join("data"))
        .args(["--orders", &orders.to_string()])
        .args(["--json".as_ref(), json.as_os_str()])
        .run()
        .succeeded();
    assert!(ran.stdout.contains("It adds up"), "{}", ran.stdout);
    let figures = std::fs::read(json).expect("it was written");
    serde_json::from_slice(&figures).expect("an object of integers")
}

#[track_caller]
fn adds_up(figures: &BTreeMap<String, u64>, orders: u64) {
    assert_eq!(figures["placed"], orders);
    assert_eq!(figures["placed"], figures["completed"] + figures["cancelled"]);
    assert_eq!(figures["completed"], figures["shipped"]);
    assert_eq!(figures["reserved"], figures["shipped"] + figures["released"]);
    assert_eq!(
        figures["charged_cents"] - figures["refunded_cents"],
        figures["completed_cents"]
    );
}

/// How many lines of a ledger say that something was done, by order: more than one line means that it was done twice.
fn done(directory: &TempDir, ledger: &str, what: &str) -> BTreeMap<u64, u64> {
    let text = std::fs::read_to_string(directory.path().join("data").join(ledger)).expect("it is there");
    let mut done = BTreeMap::new();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        if line["what"] == what {
            *done.entry(line["order"].as_u64().expect("a number")).or_default() += 1;
        }
    }
    done
}

#[test]
fn when_it_runs_through_it_adds_up_and_some_orders_are_cancelled() {
    let directory = directory();
    let ran = demonstration(&directory.path().join("data"))
        .args(["--orders", "120"])
        .run()
        .succeeded();
    assert!(
        ran.stdout
            .contains("orders placed                                  120"),
        "{}",
        ran.stdout
    );
    let figures = finish(&directory, 120);
    adds_up(&figures, 120);
    // How many depends on how fast the machine is: a bank that is slow has not answered.
    for ending in ["completed", "cancelled_declined", "cancelled_unanswered"] {
        assert!(figures[ending] > 0, "{figures:?}");
    }
    assert!(
        figures["refunded_cents"] > 0,
        "a bank that took money and never answered gave it back"
    );
}

#[test]
fn when_it_is_killed_again_and_again_it_goes_on_and_adds_up() {
    let directory = directory();
    let data = directory.path().join("data");
    let mut kills = 0;
    let moments = [30, 120, 250, 300, 400, 500, 600, 700, 900, 1100];
    for millis in moments {
        // It may be killed before it has written down what to do.
        let program = demonstration(&data).args(["--orders", "150"]);
        match program.run_for(Duration::from_millis(millis)) {
            None => kills += 1,
            Some(ran) => {
                ran.succeeded();
                break;
            }
        }
    }
    assert!(kills >= 3, "it was too fast to be killed");
    let figures = finish(&directory, 150);
    adds_up(&figures, 150);
    for (ledger, what) in [
        ("shop.jsonl", "placed"),
        ("warehouse.jsonl", "reserved"),
        ("warehouse.jsonl", "released"),
        ("warehouse.jsonl", "shipped"),
        ("billing.jsonl", "charged"),
        ("billing.jsonl", "refunded"),
        ("office.jsonl", "completed"),
    ] {
        let twice: Vec<_> = done(&directory, ledger, what)
            .into_iter()
            .filter(|(_, times)| *times > 1)
            .collect();
        assert_eq!(twice, [], "{what}, after {kills} kills");
    }
    adds_up(&finish(&directory, 150), 150);
}

#[test]
fn when_it_is_used_wrongly_it_says_how_and_exits_with_2() {
    let directory = directory();
    let data = directory.path().join("data");
    for args in [["--orders", "0"], ["--orders", "many"], ["--seed", "-1"]] {
        let ran = demonstration(&data).args(args).run();
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    }
    demonstration(&data).args(["--orders", "3"]).run().succeeded();
    let ran = demonstration(&data).args(["--orders", "4"]).run();
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr.contains("was begun with --orders 3 --seed 1"),
        "{}",
        ran.stderr
    );
}

#[test]
fn when_another_process_uses_the_directory_it_is_refused() {
    let directory = directory();
    let data = directory.path().join("data");
    let first = demonstration(&data).args(["--orders", "100000"]).start();
    first.wait_for_file(&data.join("office.jsonl"));
    let ran = demonstration(&data).run();
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    assert!(ran.stderr.contains("in use by process"), "{}", ran.stderr);
}
