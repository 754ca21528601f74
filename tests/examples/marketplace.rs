//! The marketplace: every order has the ending that the rules say, however it is run.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use longhaul::clock::Timestamp;
use longhaul::ids::{Randomness, SeededRandomness};
use tempfile::TempDir;

use crate::program::{Program, Ran, in_repository};

const SAMPLE: &str = "examples/marketplace/sample.jsonl";
const SAMPLE_FIGURES: &str = "{
  \"orders\": 18,
  \"delivered_in_time\": 7,
  \"delivered_late\": 4,
  \"never_delivered\": 2,
  \"cancelled_unpaid\": 5,
  \"vouchers\": 6,
  \"late_payments_refunded\": 3
}
";

fn marketplace(orders: &Path) -> Program {
    Program::example("marketplace").args(["--orders".as_ref(), orders.as_os_str()])
}

/// The figures of a run that must succeed.
#[track_caller]
fn figures(program: Program, directory: &TempDir) -> String {
    let json = directory.path().join("figures.json");
    program
        .args(["--json".as_ref(), json.as_os_str()])
        .run()
        .succeeded();
    std::fs::read_to_string(json).expect("it was written")
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// A file of orders with events around their deadlines, the same for the same seed.
fn random_orders(count: u64, seed: u64, directory: &TempDir) -> std::path::PathBuf {
    let randomness = SeededRandomness::new(seed);
    let below = |n: u64| randomness.next_u64() % n;
    let minute = |n: u64| Duration::from_secs(n * 60);
    let start = Timestamp::parse("2026-01-01T00:00:00Z").expect("a time");
    let pay_by = minute(3 * 24 * 60);
    let mut text = String::new();
    for number in 0..count {
        let purchased = start + minute(below(20 * 24 * 60));
        let estimated = purchased + minute(60 + below(12 * 24 * 60));
        let event = || match below(8) {
            0 => String::from("null"),
            1 => format!("\"{}\"", purchased + pay_by),
            2 => format!("\"{}\"", purchased + pay_by + minute(1)),
            3 => format!("\"{estimated}\""),
            4 => format!("\"{}\"", estimated + minute(1)),
            _ => format!("\"{}\"", purchased + minute(below(14 * 24 * 60))),
        };
        let (approved, shipped, delivered) = (event(), event(), event());
        writeln!(
            text,
            "{{\"order_id\":\"r-{number}\",\"customer_id\":\"c\",\"status\":\"-\",\"purchased\":\"{purchased}\",\
             \"approved\":{approved},\"shipped\":{shipped},\"delivered\":{delivered},\"estimated\":\"{estimated}\"}}"
        )
        .expect("a text takes it");
    }
    let path = directory.path().join("orders.jsonl");
    std::fs::write(&path, text).expect("it can be written");
    path
}

#[test]
fn when_the_sample_is_played_every_order_ends_as_its_name_says() {
    let directory = directory();
    let sample = in_repository(SAMPLE);
    assert_eq!(figures(marketplace(&sample), &directory), SAMPLE_FIGURES);
    assert_eq!(
        figures(marketplace(&sample).args(["--truth"]), &directory),
        SAMPLE_FIGURES
    );
}

#[test]
fn when_it_ends_it_prints_a_table() {
    let ran = marketplace(&in_repository(SAMPLE)).run().succeeded();
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(
        lines,
        [
            "orders                          18",
            "  delivered in time              7",
            "  delivered late                 4",
            "  never delivered                2",
            "  cancelled, unpaid              5",
            "vouchers sent                    6",
            "late payments refunded           3",
        ]
    );
}

#[test]
fn when_orders_are_random_the_sagas_come_to_the_truth() {
    for seed in 1..=5 {
        let directory = directory();
        let orders = random_orders(300, seed, &directory);
        let truth = figures(marketplace(&orders).args(["--truth"]), &directory);
        assert_eq!(figures(marketplace(&orders), &directory), truth, "seed {seed}");
    }
}

#[test]
fn when_time_is_only_sped_up_the_figures_are_the_same() {
    let directory = directory();
    let sample = in_repository(SAMPLE);
    assert_eq!(
        figures(marketplace(&sample).args(["--speed", "1e6"]), &directory),
        SAMPLE_FIGURES
    );
}

#[test]
fn when_it_is_killed_again_and_again_it_goes_on_and_comes_to_the_truth() {
    let directory = directory();
    let orders = random_orders(60, 9, &directory);
    let truth = figures(marketplace(&orders).args(["--truth"]), &directory);
    let data = directory.path().join("data");
    let run = || marketplace(&orders).args(["--data".as_ref(), data.as_os_str()]);
    let mut kills = 0;
    for millis in [60, 150, 250, 400, 550, 700, 900, 1200] {
        if run().run_for(Duration::from_millis(millis)).is_some() {
            break;
        }
        kills += 1;
    }
    assert!(kills >= 2, "it was too fast to be killed");
    assert_eq!(figures(run(), &directory), truth, "after {kills} kills");
    assert_eq!(
        figures(run(), &directory),
        truth,
        "started again when all was done"
    );
}

#[test]
fn when_a_data_directory_belongs_to_other_orders_it_is_refused() {
    let directory = directory();
    let data = directory.path().join("data");
    let sample = in_repository(SAMPLE);
    let run = |orders: &Path| {
        marketplace(orders)
            .args(["--data".as_ref(), data.as_os_str()])
            .run()
    };
    run(&sample).succeeded();
    let Ran { code, stderr, .. } = run(&random_orders(3, 1, &directory));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("belongs to a run with other orders"), "{stderr}");
}

#[test]
fn when_lines_are_not_orders_they_are_reported_and_left_out_and_the_exit_code_says_so() {
    let directory = directory();
    let mut bytes = std::fs::read(in_repository(SAMPLE)).expect("it is there");
    bytes.extend_from_slice(b"not an order\n{\"order_id\": \"\xff\"}\n");
    let path = directory.path().join("orders.jsonl");
    std::fs::write(&path, bytes).expect("it can be written");
    let json = directory.path().join("figures.json");
    for truth in [None, Some("--truth")] {
        let ran = marketplace(&path)
            .args(truth)
            .args(["--json".as_ref(), json.as_os_str()])
            .run();
        assert_eq!(ran.code, Some(1));
        let reported: Vec<&str> = ran
            .stderr
            .lines()
            .filter(|line| line.contains(" is not an order"))
            .collect();
        assert_eq!(reported.len(), 2, "{}", ran.stderr);
        assert!(
            reported[0].ends_with("line 19 is not an order: it is not a JSON object"),
            "{}",
            reported[0]
        );
        assert!(
            reported[1].ends_with("line 20 is not an order: it is not UTF-8"),
            "{}",
            reported[1]
        );
        assert_eq!(
            std::fs::read_to_string(&json).expect("it was written"),
            SAMPLE_FIGURES
        );
    }
}

#[test]
fn when_there_are_no_orders_the_figures_are_zero() {
    let directory = directory();
    let path = directory.path().join("orders.jsonl");
    std::fs::write(&path, "").expect("it can be written");
    assert!(figures(marketplace(&path), &directory).contains("\"orders\": 0,"));
}

#[test]
fn when_it_is_used_wrongly_it_says_how_and_exits_with_2() {
    let sample = in_repository(SAMPLE);
    let missing = Path::new("/nowhere/orders.jsonl");
    let cases = [
        (Program::example("marketplace"), "--orders <FILE>"),
        (
            marketplace(missing),
            "the orders in /nowhere/orders.jsonl can't be read",
        ),
        (marketplace(Path::new("/")), "the orders in / can't be read"),
        (
            marketplace(&sample).args(["--speed", "0"]),
            "expected `max` or a number",
        ),
        (
            marketplace(&sample).args(["--speed", "fast"]),
            "expected `max` or a number",
        ),
        (
            marketplace(&sample).args(["--speed", "NaN"]),
            "expected `max` or a number",
        ),
        (
            marketplace(&sample).args(["--broker", "carrier-pigeon"]),
            "possible values: embedded, rabbitmq",
        ),
        (
            marketplace(&sample).args(["--broker", "rabbitmq", "--speed", "max"]),
            "give --speed a number",
        ),
    ];
    for (program, says) in cases {
        let ran = program.run();
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
}

#[cfg(not(feature = "rabbitmq"))]
#[test]
fn when_it_was_built_without_rabbitmq_it_says_so() {
    let ran = marketplace(&in_repository(SAMPLE))
        .args(["--broker", "rabbitmq"])
        .run();
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr.contains("build it with `--features rabbitmq`"),
        "{}",
        ran.stderr
    );
}

#[cfg(feature = "rabbitmq")]
mod on_rabbitmq {
    use super::*;

    /// One run at a time: they share their queues.
    #[test]
    fn when_it_runs_on_rabbitmq_and_is_killed_it_comes_to_the_truth_all_the_same() {
        let url = std::env::var("LONGHAUL_AMQP_URL").expect("set LONGHAUL_AMQP_URL or run ./test");
        let sample = in_repository(SAMPLE);
        let directory = directory();
        let run = |orders: &Path| {
            let program = marketplace(orders).env("LONGHAUL_AMQP_URL", &url);
            program.args(["--broker", "rabbitmq"])
        };
        assert_eq!(figures(run(&sample), &directory), SAMPLE_FIGURES);

        let orders = random_orders(60, 10, &directory);
        let truth = figures(marketplace(&orders).args(["--truth"]), &directory);
        let data = directory.path().join("data");
        let run = || run(&orders).args(["--data".as_ref(), data.as_os_str()]);
        for millis in [700, 1500, 2500] {
            drop(run().run_for(Duration::from_millis(millis)));
        }
        assert_eq!(figures(run(), &directory), truth);
    }
}
