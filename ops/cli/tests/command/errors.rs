//! What the commands do to an error queue, on each broker.

use crate::stage::{On, Stage, file, header, id, run};

macro_rules! on_each_broker {
    ($($case:ident,)*) => {
        mod embedded {
            $(#[test] fn $case() { super::run(super::$case(super::On::Embedded)); })*
        }
        mod rabbitmq {
            $(#[test] fn $case() { super::run(super::$case(super::On::RabbitMq)); })*
        }
        /// The emulator keeps the order of messages, which SQS does not promise.
        #[cfg(feature = "sqs")]
        mod sqs {
            $(#[test] fn $case() { super::run(super::$case(super::On::Sqs)); })*
        }
    };
}

on_each_broker! {
    when_messages_are_listed_they_are_shown_oldest_first_and_stay,
    when_a_listing_is_filtered_only_those_are_shown,
    when_the_queue_is_empty_every_command_says_so,
    when_a_message_is_shown_all_of_it_is,
    when_messages_are_grouped_errors_that_differ_in_numbers_are_one,
    when_one_message_is_replayed_it_is_the_same_without_its_errors,
    when_everything_is_replayed_without_yes_nothing_happens,
    when_everything_is_replayed_all_of_it_arrives_in_the_order_that_the_broker_keeps,
    when_a_replay_is_tried_first_nothing_is_sent,
    when_the_source_queue_is_gone_the_messages_stay_and_others_are_replayed,
    when_one_of_several_ids_is_not_there_the_others_are_done_and_it_ends_with_one,
    when_an_edited_message_is_refused_by_the_broker_it_ends_with_one,
    when_a_message_is_edited_a_new_one_takes_its_place,
    when_an_edited_body_is_no_json_nothing_is_sent,
    when_messages_are_discarded_only_those_are_gone,
    when_messages_are_exported_and_imported_they_are_the_same,
    when_an_imported_file_has_a_bad_line_nothing_is_sent,
}

async fn when_messages_are_listed_they_are_shown_oldest_first_and_stay(on: On) {
    let stage = Stage::with_failed(on, 30).await;
    let listing = stage.json(&["errors", "list", "--limit", "10", "--skip", "5"]);
    let ids: Vec<_> = listing["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    let wanted: Vec<_> = (5..15).map(|number| format!("m-{number}")).collect();
    assert_eq!(ids, wanted);
    assert_eq!((&listing["more"], &listing["depth"]), (&true.into(), &30.into()));
    let plain = stage.longhaul(&["errors", "list"]);
    plain.says(
        0,
        &["FAILED", "m-0", "m-29", "handler-failed", "find the order 0"],
    );
    assert!(!plain.out.contains('\u{1b}'), "colours where nobody looks");
    stage.has(30, 0).await;
    stage.done();
}

async fn when_a_listing_is_filtered_only_those_are_shown(on: On) {
    let stage = Stage::with_failed(on, 9).await;
    let count = |filter: &[&str]| {
        let listing = stage.json(&[&["errors", "list"], filter].concat());
        listing["messages"].as_array().unwrap().len()
    };
    assert_eq!(count(&["--type", "shipping.*"]), 3);
    assert_eq!(count(&["--text", "BANK IS closed"]), 6);
    assert_eq!(count(&["--endpoint", "billing", "--conversation", "c-1"]), 4);
    assert_eq!(count(&["--saga", "order/4"]), 1);
    assert_eq!(count(&["--older-than", "1h"]), 0);
    assert_eq!(count(&["--newer-than", "1h", "--reason", "handler-failed"]), 9);
    stage
        .longhaul(&["errors", "list", "--reason", "nothing"])
        .says(0, &["none of 9 messages matches"]);
    stage.done();
}

async fn when_the_queue_is_empty_every_command_says_so(on: On) {
    let stage = Stage::new(on).await;
    stage.longhaul(&["errors", "list"]).says(0, &["is empty"]);
    stage
        .longhaul(&["errors", "group"])
        .says(0, &["no message matches"]);
    stage
        .longhaul(&["errors", "replay", "--all", "--yes"])
        .says(0, &["replayed 0 of 0"]);
    stage
        .longhaul(&["errors", "replay", "--all"])
        .says(0, &["replayed 0 of 0"]);
    stage
        .longhaul(&["errors", "discard", "--all", "--yes"])
        .says(0, &["discarded 0 of 0"]);
    for command in ["show", "replay", "discard"] {
        stage
            .longhaul(&["errors", command, "m-1"])
            .says(1, &["m-1", "not there"]);
    }
    let body = file(stage.folder.path(), "body.json", "{}");
    stage
        .longhaul(&["errors", "edit", "m-1", "--body", &body])
        .says(1, &["m-1", "not there"]);
    let out = stage.path("out.jsonl").display().to_string();
    stage
        .longhaul(&["errors", "export", "--all", "--out", &out])
        .says(0, &["exported 0 of 0"]);
    stage
        .longhaul(&["errors", "import", &out])
        .says(0, &["imported 0 of 0"]);
    stage.done();
}

async fn when_a_message_is_shown_all_of_it_is(on: On) {
    let stage = Stage::with_failed(on, 3).await;
    let answer = stage.longhaul(&["errors", "show", "m-1"]);
    let parts = [
        "m-1",
        "billing.charge_card.v1",
        "the bank is closed",
        "connection refused",
        "\"order\": 1",
        "order/1",
    ];
    answer.says(0, &parts);
    assert_eq!(
        stage.longhaul(&["errors", "show", "m-2", "--body"]).out,
        "{\"order\":2}"
    );
    let shown = stage.json(&["errors", "show", "m-1"]);
    assert_eq!(shown["failed"]["attempts"], 6);
    assert_eq!(shown["message"]["body"], "{\"order\":1}");
    stage.has(3, 0).await;
    stage.done();
}

async fn when_messages_are_grouped_errors_that_differ_in_numbers_are_one(on: On) {
    let stage = Stage::with_failed(on, 600).await;
    let grouped = stage.json(&["errors", "group"]);
    let groups = grouped["groups"].as_array().unwrap();
    assert_eq!((groups.len(), &grouped["messages"]), (2, &600.into()));
    assert_eq!(
        (&groups[0]["count"], &groups[0]["text"]),
        (&400.into(), &"charge # EUR: the bank is closed".into())
    );
    stage
        .longhaul(&["errors", "group"])
        .says(0, &["COUNT", "400", "200", "find the order #"]);
    stage.has(600, 0).await;
    stage.done();
}

async fn when_one_message_is_replayed_it_is_the_same_without_its_errors(on: On) {
    let stage = Stage::with_failed(on, 3).await;
    let failed = stage.messages(&stage.errors, 3).await;
    let failed = failed.iter().find(|failed| id(failed) == "m-1").unwrap();
    stage
        .longhaul(&["errors", "replay", "m-1"])
        .says(0, &["replayed 1 of 1"]);
    stage.has(2, 1).await;
    let replayed = &stage.messages(&stage.source, 1).await[0];
    assert_eq!(
        (id(replayed), &replayed.body[..]),
        ("m-1".to_owned(), &b"{\"order\":1}"[..])
    );
    // Which failure it is for.
    let last = header(failed, "longhaul.error.last-failure");
    assert_eq!(header(replayed, "longhaul.replay"), last);
    assert_eq!(header(replayed, "longhaul.conversation"), Some("c-1"));
    assert!(
        !replayed
            .headers
            .iter()
            .any(|(name, _)| name.starts_with("longhaul.error."))
    );
    let left = stage.messages(&stage.errors, 2).await;
    assert_eq!(left.iter().map(id).collect::<Vec<_>>(), ["m-0", "m-2"]);
    stage.done();
}

async fn when_everything_is_replayed_without_yes_nothing_happens(on: On) {
    let stage = Stage::with_failed(on, 5).await;
    stage
        .longhaul(&["errors", "replay", "--all"])
        .says(2, &["5 messages match", "--yes"]);
    stage
        .longhaul(&["errors", "discard", "--type", "billing.*"])
        .says(2, &["3 messages match", "--yes"]);
    stage.longhaul(&["errors", "replay"]).says(2, &["--all"]);
    stage
        .longhaul(&["errors", "replay", "m-1", "--reason", "x"])
        .says(2, &["not both"]);
    stage.has(5, 0).await;
    stage.done();
}

async fn when_everything_is_replayed_all_of_it_arrives_in_the_order_that_the_broker_keeps(on: On) {
    let stage = Stage::with_failed(on, 700).await;
    let outcome = stage.json(&["errors", "replay", "--all", "--yes", "--rate", "5000"]);
    assert_eq!((&outcome["done"], &outcome["failed"]), (&700.into(), &0.into()));
    stage.has(0, 700).await;
    let replayed = stage.messages(&stage.source, 700).await;
    let mut ids: Vec<_> = replayed.iter().map(id).collect();
    let mut wanted: Vec<_> = (0..700).map(|number| format!("m-{number}")).collect();
    if !matches!(on, On::Embedded | On::RabbitMq) {
        // A standard queue of SQS promises no order.
        ids.sort();
        wanted.sort();
    }
    assert_eq!(ids, wanted);
    stage.done();
}

async fn when_a_replay_is_tried_first_nothing_is_sent(on: On) {
    let stage = Stage::with_failed(on, 6).await;
    let answer = stage.longhaul(&["errors", "replay", "--type", "billing.*", "--dry-run"]);
    answer.says(
        0,
        &["would send 4 of 6 messages", &format!("4 to {}", stage.source)],
    );
    stage
        .longhaul(&["errors", "discard", "--all", "--dry-run"])
        .says(0, &["would discard 6 of 6"]);
    stage.has(6, 0).await;
    stage.done();
}

async fn when_the_source_queue_is_gone_the_messages_stay_and_others_are_replayed(on: On) {
    let stage = Stage::with_failed(on, 2).await;
    let gone = format!("{}-gone", stage.source);
    let answer = stage.longhaul(&["errors", "replay", "m-0", "--to", &gone]);
    answer.says(1, &["replayed 0 of 1", "m-0", "or correct the route"]);
    stage.has(2, 0).await;
    stage
        .longhaul(&["errors", "replay", "m-1"])
        .says(0, &["replayed 1 of 1"]);
    stage.has(1, 1).await;
    stage.done();
}

async fn when_one_of_several_ids_is_not_there_the_others_are_done_and_it_ends_with_one(on: On) {
    let stage = Stage::with_failed(on, 4).await;
    let absent = ["m-8", "not there"];
    for command in ["replay", "discard"] {
        stage
            .longhaul(&["errors", command, "m-0", "m-8", "--dry-run"])
            .says(1, &absent);
    }
    stage.has(4, 0).await;
    let answer = stage.longhaul(&["errors", "replay", "m-0", "m-8"]);
    answer.says(1, &["replayed 1 of 1", absent[0], absent[1]]);
    assert!(!answer.err.contains("m-0"), "{answer:?}");
    let outcome = stage.json(&["errors", "discard", "m-1", "m-8"]);
    assert_eq!(
        (&outcome["done"], &outcome["missing"][0]),
        (&1.into(), &"m-8".into())
    );
    let out = stage.path("out.jsonl").display().to_string();
    for out in [out.as_str(), "-"] {
        stage
            .longhaul(&["errors", "export", "m-2", "m-8", "--out", out])
            .says(1, &absent);
    }
    stage.has(2, 1).await;
    stage.done();
}

async fn when_an_edited_message_is_refused_by_the_broker_it_ends_with_one(on: On) {
    let stage = Stage::with_failed(on, 2).await;
    let gone = format!("{}-gone", stage.source);
    let body = file(stage.folder.path(), "body.json", "{}");
    stage
        .longhaul(&["errors", "edit", "m-1", "--body", &body, "--to", &gone])
        .says(1, &["m-1", &gone]);
    stage.has(2, 0).await;
    stage.done();
}

async fn when_a_message_is_edited_a_new_one_takes_its_place(on: On) {
    let stage = Stage::with_failed(on, 2).await;
    let body = file(stage.folder.path(), "body.json", "{\"order\":77}");
    let tried = stage.json(&["errors", "edit", "m-1", "--body", &body, "--dry-run"]);
    assert_eq!(tried["sent"], false);
    stage.has(2, 0).await;
    let edited = stage.json(&["errors", "edit", "m-1", "--body", &body]);
    assert_eq!(tried["id"], edited["id"]);
    stage.has(1, 1).await;
    let sent = &stage.messages(&stage.source, 1).await[0];
    assert_eq!(
        (id(sent), &sent.body[..]),
        (edited["id"].as_str().unwrap().to_owned(), &b"{\"order\":77}"[..])
    );
    assert_eq!(header(sent, "longhaul.causation"), Some("m-1"));
    assert_eq!(header(sent, "longhaul.replay"), None);
    stage.done();
}

async fn when_an_edited_body_is_no_json_nothing_is_sent(on: On) {
    let stage = Stage::with_failed(on, 2).await;
    for bad in ["{\"order\":", "{\"a\":1,\"a\":2}", "\u{feff}{}", ""] {
        let body = file(stage.folder.path(), "body.json", bad);
        stage
            .longhaul(&["errors", "edit", "m-1", "--body", &body])
            .says(2, &["m-1", "correct the body"]);
    }
    stage
        .longhaul(&["errors", "edit", "m-1", "--body", "/nowhere/body.json"])
        .says(2, &["/nowhere/body.json"]);
    stage.has(2, 0).await;
    stage.done();
}

async fn when_messages_are_discarded_only_those_are_gone(on: On) {
    let stage = Stage::with_failed(on, 6).await;
    stage
        .longhaul(&["errors", "discard", "m-0", "m-5"])
        .says(0, &["discarded 2 of 2"]);
    stage
        .longhaul(&["errors", "discard", "--type", "billing.*", "--yes"])
        .says(0, &["discarded 3 of 3"]);
    let left = stage.messages(&stage.errors, 1).await;
    assert_eq!(left.iter().map(id).collect::<Vec<_>>(), ["m-3"]);
    stage.done();
}

async fn when_messages_are_exported_and_imported_they_are_the_same(on: On) {
    let stage = Stage::with_failed(on, 300).await;
    let parts = |all: Vec<longhaul_core::envelope::Incoming>| -> Vec<_> {
        all.into_iter()
            .map(|mut one| {
                one.headers.sort();
                (one.id, one.headers, one.body)
            })
            .collect()
    };
    let before = parts(stage.messages(&stage.errors, 300).await);
    let out = stage.path("out.jsonl");
    let name = out.display().to_string();
    stage
        .longhaul(&["errors", "export", "--all", "--out", &name])
        .says(0, &["exported 300 of 300"]);
    stage.has(300, 0).await;
    stage
        .longhaul(&["errors", "export", "--all", "--out", &name])
        .says(2, &["is there already"]);
    std::fs::remove_file(&out).unwrap();
    stage
        .longhaul(&["errors", "export", "--all", "--out", &name, "--remove"])
        .says(2, &["300 messages match"]);
    stage
        .longhaul(&["errors", "export", "--all", "--out", &name, "--remove", "--yes"])
        .says(0, &["exported 300 of 300"]);
    stage.has(0, 0).await;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(
            std::fs::metadata(&out).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    stage
        .longhaul(&["errors", "import", &name, "--dry-run"])
        .says(0, &["would import 300"]);
    stage
        .longhaul(&["errors", "import", &name])
        .says(0, &["imported 300 of 300"]);
    assert_eq!(parts(stage.messages(&stage.errors, 300).await), before);
    let lines = stage.longhaul(&["errors", "export", "m-7", "--out", "-"]);
    assert_eq!((lines.code, lines.out.lines().count()), (0, 1));
    stage.done();
}

async fn when_an_imported_file_has_a_bad_line_nothing_is_sent(on: On) {
    let stage = Stage::with_failed(on, 2).await;
    let name = stage.path("out.jsonl").display().to_string();
    stage
        .longhaul(&["errors", "export", "--all", "--out", &name])
        .says(0, &[]);
    let mut text = std::fs::read_to_string(&name).unwrap();
    text.push_str("{\"longhaul_export\":9}\n");
    std::fs::write(&name, text).unwrap();
    stage.longhaul(&["errors", "import", &name]).says(2, &["line 3"]);
    stage
        .longhaul(&["errors", "import", "/nowhere.jsonl"])
        .says(2, &["/nowhere.jsonl"]);
    stage.has(2, 0).await;
    stage.done();
}
