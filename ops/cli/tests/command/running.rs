//! The command on a directory that a running endpoint has open: over the socket in it.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::stage::{answer, bare, run, until};
use crate::trips::{Trips, program};

#[test]
fn when_a_saga_of_a_running_endpoint_is_stuck_an_operator_looks_at_it_and_has_its_step_tried_again() {
    run(async {
        let trips = Trips::start().await;
        trips.stuck(7).await;
        let of = ["--endpoint", "trips"];
        let ask = |arguments: &[&str]| trips.longhaul(&[arguments, &of].concat());
        let shown = trips.of(&["sagas", "show", "trip", "7"]);
        assert_eq!(shown["steps"][0]["state"], "failed", "{shown}");
        ask(&["sagas", "history", "trip", "7"]).says(0, &["trips.plan.v1", "hotel.cancel.v1", "stuck"]);
        ask(&["sagas", "diagram", "trip", "7"]).says(0, &["sequenceDiagram", "trip 7", "hotel.book.v1"]);
        let retry = ["sagas", "retry-step", "trip", "7", "--by", "alice"];
        ask(&[&retry[..], &["--dry-run"]].concat()).says(0, &["would tell trips", "hotel.book.v1 (failed)"]);
        ask(&[&retry[..], &["--step", "nope"]].concat()).says(1, &["no such step"]);
        assert_eq!(trips.of(&["sagas", "show", "trip", "7"])["status"], "stuck");
        trips.closed(false);
        let told = trips.of(&retry);
        trips.until_trip("7", "compensated").await;
        let history = trips.of(&["sagas", "history", "trip", "7"]);
        let events = history["events"].as_array().unwrap();
        let operator = events.iter().find(|event| event["from"] == "operator").unwrap();
        assert_eq!(operator["message"], told["message"]);
        assert_eq!(operator["what"], "retry hotel.book.v1: by alice");
        // Twice is too often, and is said at once.
        ask(&retry).says(1, &["it is finished (compensated)"]);
        ask(&["sagas", "retry-step", "trip", "8", "--by", "alice"]).says(1, &["there is none"]);
        ask(&["sagas", "retry-step", "tripp", "7", "--by", "alice"]).says(1, &["there is none"]);
    });
}

#[test]
fn when_a_step_is_skipped_or_an_instance_is_failed_that_is_asked_for_twice_and_needs_a_reason() {
    run(async {
        let trips = Trips::start().await;
        trips.stuck(7).await;
        let shown = trips.of(&["sagas", "show", "trip", "7"]);
        let step = shown["steps"][0]["request"].as_str().unwrap();
        let skip = [
            "sagas",
            "skip-step",
            "trip",
            "7",
            "--step",
            step,
            "--endpoint",
            "trips",
            "--by",
            "alice",
        ];
        trips.longhaul(&skip).says(2, &["--reason"]);
        let skip = [&skip[..], &["--reason", "cancelled by phone"]].concat();
        trips.longhaul(&skip).says(2, &["can't be taken back", "--yes"]);
        trips
            .longhaul(&[&skip[..], &["--yes"]].concat())
            .says(0, &["told trips"]);
        trips.until_trip("7", "compensated").await;
        trips
            .longhaul(&["sagas", "show", "trip", "7", "--endpoint", "trips"])
            .says(0, &["hotel.book.v1: cancelled by phone (by alice)"]);

        trips.send("m-8", "trips.plan.v1", 8).await;
        trips.until_trip("8", "active").await;
        let fail = [
            "sagas",
            "fail",
            "trip",
            "8",
            "--endpoint",
            "trips",
            "--by",
            "alice",
            "--reason",
            "fraud",
            "--yes",
        ];
        trips
            .longhaul(&[&fail[..], &["--give-up"]].concat())
            .says(1, &["not stuck"]);
        trips.longhaul(&fail).says(0, &["told trips"]);
        trips.until_trip("8", "stuck").await;
        let give_up = [&fail[..], &["--give-up"]].concat();
        trips.longhaul(&give_up).says(0, &["nothing more is undone"]);
        until("it is given up", async || {
            trips.of(&["sagas", "show", "trip", "8"])["given_up"] == "fraud (by alice)"
        })
        .await;
    });
}

#[test]
fn when_an_endpoint_runs_its_failed_messages_are_looked_at_replayed_and_discarded_and_those_behind_let_pass()
{
    run(async {
        let trips = Trips::start().await;
        trips.send("m-1", "trips.plan.v1", 13).await;
        trips.until_trip("13", "active").await;
        for id in ["m-2", "m-3", "m-4"] {
            trips.send(id, "trips.rename.v1", 13).await;
        }
        until("it failed", async || {
            trips.json(&["errors", "list"])["messages"]
                .as_array()
                .unwrap()
                .len()
                == 1
        })
        .await;
        trips.longhaul(&["errors", "group"]).says(0, &["bad luck"]);
        trips
            .longhaul(&["errors", "show", "m-2"])
            .says(0, &["handler-failed", "\"trip\": 13"]);
        let queues = trips.json(&["queues", "list"]);
        assert_eq!(queues["queues"][0]["queue"], "error");
        assert_eq!(queues["queues"][0]["ready"], 1);
        trips
            .longhaul(&["errors", "discard", "m-2", "--dry-run"])
            .says(0, &["hold the order"]);
        let discarded = trips.longhaul(&["errors", "discard", "m-2"]);
        discarded.says(
            0,
            &[
                "discarded 1 of 1",
                "saga/trip/13",
                "longhaul errors let-pass m-2 --endpoint trips",
            ],
        );
        trips
            .longhaul(&["errors", "let-pass", "m-2", "--endpoint", "nobody"])
            .says(1, &["nobody"]);
        trips
            .longhaul(&["errors", "let-pass", "m-2", "--endpoint", "trips"])
            .says(0, &["told trips"]);
        // Those behind it fail as well; replayed the last one is handled.
        let failed = async |id: &str| trips.json(&["errors", "list"])["messages"][0]["id"] == id;
        until("the second failed", async || failed("m-3").await).await;
        trips
            .longhaul(&["errors", "discard", "--all", "--yes", "--let-pass"])
            .says(0, &["discarded 1 of 1", "was let pass"]);
        until("the third failed", async || failed("m-4").await).await;
        trips
            .longhaul(&["errors", "replay", "--all", "--yes"])
            .says(0, &["replayed 1 of 1"]);
        let renamed = async || trips.of(&["sagas", "show", "trip", "13"])["state"]["renamed"] == 1;
        until("it is renamed", renamed).await;
        trips.longhaul(&["errors", "list"]).says(0, &["is empty"]);
    });
}

#[test]
fn when_an_endpoint_runs_its_timeouts_are_moved_and_cancelled_and_fire_by_that() {
    run(async {
        let trips = Trips::start().await;
        for trip in [1, 2] {
            trips.send(&format!("m-{trip}"), "trips.plan.v1", trip).await;
        }
        until("they wait", async || {
            trips.of(&["timeouts", "list"])["timeouts"]
                .as_array()
                .unwrap()
                .len()
                == 2
        })
        .await;
        let timeouts = trips.of(&["timeouts", "list"]);
        let id = |owner: &str| {
            let all = timeouts["timeouts"].as_array().unwrap();
            let found = all.iter().find(|one| one["owner"] == owner).unwrap();
            found["id"].as_str().unwrap().to_owned()
        };
        let of = ["--endpoint", "trips"];
        let ask = |arguments: &[&str]| trips.longhaul(&[arguments, &of].concat());
        ask(&["timeouts", "move", &id("saga/trip/1"), "--in", "0s"]).says(0, &["moved"]);
        trips.until_trip("1", "completed").await;
        ask(&["timeouts", "cancel", &id("saga/trip/2")]).says(0, &["cancelled"]);
        ask(&["timeouts", "cancel", &id("saga/trip/2")]).says(1, &["there is none"]);
        let waits = trips.of(&["sagas", "show", "trip", "2"])["timeouts"].clone();
        assert_eq!(waits, serde_json::json!([]));
        assert_eq!(
            trips.of(&["timeouts", "list"])["timeouts"]
                .as_array()
                .unwrap()
                .len(),
            0
        );
        ask(&["outbox", "list"]).says(0, &["everything is sent"]);
        for more in [&[][..], &["--dry-run"]] {
            ask(&[&["outbox", "flush"], more].concat()).says(1, &["flush the outbox", "stop that process"]);
        }
        assert_eq!(
            trips.of(&["sagas", "list", "trip", "--status", "active"])["sagas"][0]["id"],
            "2"
        );
        ask(&["sagas", "list", "trip", "--endpoint", "nobody"]).says(2, &[]);
    });
}

#[test]
fn when_a_process_is_killed_its_socket_is_replaced_at_the_next_start_and_taken_away_at_a_stop() {
    run(async {
        let mut trips = Trips::start().await;
        trips.stuck(7).await;
        let socket = trips.data.join("longhaul.socket");
        let found = fs::symlink_metadata(&socket).unwrap();
        assert!(found.file_type().is_socket());
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
        trips.end("-9");
        assert!(socket.exists());
        // Nobody has the directory open: the command opens it, and what it puts in the queue is done at the next start.
        trips.closed(false);
        let retry = [
            "sagas",
            "retry-step",
            "trip",
            "7",
            "--endpoint",
            "trips",
            "--by",
            "alice",
        ];
        trips.longhaul(&retry).says(0, &["told trips"]);
        assert_eq!(trips.of(&["sagas", "show", "trip", "7"])["status"], "stuck");
        trips.begin().await;
        trips.until_trip("7", "compensated").await;
        trips.end("-TERM");
        assert!(!socket.exists());
        trips.longhaul(&["errors", "list"]).says(0, &["is empty"]);
    });
}

#[test]
fn when_a_directory_is_in_use_by_a_process_that_does_not_listen_it_says_so() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let database = longhaul_embedded::Database::open(&data).unwrap();
        let mut command = bare(&["errors", "list"]);
        command.env("LONGHAUL_DATA", &data);
        answer(command).says(1, &["in use", "does not listen for operators"]);
        drop(database);
    });
}

#[test]
fn when_another_user_asks_that_is_denied() {
    run(async {
        let trips = Trips::start().await;
        let socket = trips.data.join("longhaul.socket");
        // Root may do anything, and somebody else is asked; others are kept out by the mode alone.
        let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        let mut command = trips.command(&["errors", "list"]);
        if is_root {
            for open in [trips.folder.path(), &trips.data] {
                fs::set_permissions(open, fs::Permissions::from_mode(0o755)).unwrap();
            }
            command.uid(65_534);
        } else {
            fs::set_permissions(&socket, fs::Permissions::from_mode(0o000)).unwrap();
        }
        answer(command).says(1, &["ermission denied"]);
    });
}

#[test]
fn when_the_directory_has_a_longer_path_than_a_socket_may_have_it_is_reached_all_the_same() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let mut parent = folder.path().to_owned();
        for _ in 0..4 {
            parent = parent.join("a".repeat(60));
        }
        fs::create_dir_all(&parent).unwrap();
        let data = parent.join("data");
        let trips = Trips::start_in(folder, data).await;
        trips.longhaul(&["errors", "list"]).says(0, &["is empty"]);
    });
}

#[test]
fn when_the_states_of_a_saga_are_asked_for_the_program_is_asked() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let program = program().display().to_string();
        let ask = |arguments: &[&str]| {
            let diagram = [&["sagas", "diagram"][..], arguments, &["--states", "--program"]].concat();
            let mut command = bare(&diagram);
            command.current_dir(folder.path());
            // It is this command's own.
            command.env("LONGHAUL_OPS_CONFIG", "ops.toml");
            command
        };
        // The program opens its directory before it looks what it was asked: that of its first argument.
        let wrapper = crate::stage::file(
            folder.path(),
            "trips.sh",
            &format!(
                "#!/bin/sh\n[ -z \"${{LONGHAUL_OPS_CONFIG+set}}\" ] || exit 9\nexec {program} {}/data \"$@\"\n",
                folder.path().display()
            ),
        );
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
        let with = |mut command: Command, arguments: &[&str]| {
            command.args(arguments);
            answer(command)
        };
        with(ask(&["trip"]), &[&wrapper]).says(0, &["stateDiagram-v2", "trips.plan.v1"]);
        with(ask(&["trip"]), &[&wrapper, "--format", "graphviz"]).says(0, &["digraph \"trip\""]);
        with(ask(&["tripp"]), &[&wrapper]).says(1, &["only: trip"]);
        with(ask(&["trip"]), &["/nowhere"]).says(1, &["/nowhere"]);
        let mut missing = bare(&["sagas", "diagram", "trip", "--states"]);
        missing.env("LONGHAUL_DATA", folder.path());
        answer(missing).says(2, &["--program"]);
    });
}
