//! Queues, completions, the manual, help.

use crate::stage::{On, Stage, answer, bare, run, silent};

#[test]
fn when_queues_are_listed_their_depths_are_shown() {
    run(async {
        let stage = Stage::with_failed(On::Embedded, 4).await;
        let listed = stage.json(&["queues", "list"]);
        assert_eq!(listed["queues"].as_array().unwrap().len(), 2);
        stage.done();
        let stage = Stage::with_failed(On::RabbitMq, 4).await;
        stage.has(4, 0).await;
        let listed = stage.json(&["queues", "list"]);
        assert_eq!(
            (&listed["queues"][0]["queue"], &listed["queues"][0]["ready"]),
            (&stage.errors.as_str().into(), &4.into())
        );
        let missing = format!("{}-missing", stage.errors);
        let answer = stage.longhaul(&["queues", "list", stage.source.as_str(), &missing]);
        answer.says(1, &[stage.source.as_str(), &missing, "none of that name"]);
        stage.done();
    });
}

/// Every command, in words. The manual has a page for each: `longhaul-errors-list.1` for one.
pub(crate) fn commands() -> Vec<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    answer(bare(&["man", &folder.path().display().to_string()])).says(0, &[]);
    let pages = std::fs::read_dir(folder.path()).unwrap();
    let names: Vec<String> = pages
        .map(|page| page.unwrap().file_name().into_string().unwrap())
        .filter_map(|page| Some(page.strip_suffix(".1")?.to_owned()))
        .collect();
    assert!(names.len() > 30, "{names:?}");
    let has_more = |name: &str| {
        let rest = |other: &String| Some(other.strip_prefix(name)?.starts_with('-'));
        names.iter().any(|other| rest(other) == Some(true))
    };
    let leaves = names.iter().filter(|name| !has_more(name));
    let leaves = leaves.filter_map(|name| name.strip_prefix("longhaul-"));
    let leaves = leaves.filter(|words| words.split('-').all(|word| word != "help"));
    // `retry-step` is one word.
    let words = leaves.map(|words| match words.split_once('-') {
        Some((group, command)) if names.contains(&format!("longhaul-{group}")) => vec![group, command],
        _ => vec![words],
    });
    words
        .map(|words| words.into_iter().map(str::to_owned).collect())
        .collect()
}

#[test]
fn when_help_is_asked_for_it_has_examples() {
    for command in commands() {
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let example = format!("longhaul {}", command.join(" "));
        answer(bare(&[&command[..], &["--help"]].concat())).says(0, &["Example", &example]);
    }
    answer(bare(&["--help"])).says(0, &["Exit codes"]);
    answer(bare(&["--version"])).says(0, &[env!("CARGO_PKG_VERSION")]);
}

#[test]
fn when_completions_and_the_manual_are_made_they_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        answer(bare(&["completions", shell])).says(0, &["replay", "discard"]);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    answer(bare(&["man", &path])).says(0, &[]);
    let page = std::fs::read_to_string(folder.path().join("longhaul-errors-replay.1")).unwrap();
    assert!(page.contains("rate"), "{page}");
    answer(bare(&["man", "/nowhere"])).says(2, &["/nowhere"]);
}

#[test]
fn when_nobody_reads_the_answer_to_its_end_it_does_not_complain() {
    run(async {
        let stage = Stage::with_failed(On::Embedded, 2000).await;
        let mut command = stage.command(&["errors", "list", "--limit", "2000"]);
        command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(output.status.success());
        stage.done();
    });
}

/// A program that is asked what would become of messages, and says the same of each.
#[cfg(unix)]
fn program(stage: &Stage, steps: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = crate::stage::file(stage.folder.path(), "program", &format!("#!/bin/sh\n{steps}\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

#[cfg(unix)]
#[test]
fn when_no_message_would_pass_none_is_said_to_be_missing() {
    run(async {
        let stage = Stage::with_failed(On::Embedded, 2).await;
        let says = r#"echo '{"id":"m-1","type":"t","verdict":"fails","why":"the bank is closed"}'"#;
        let program = program(&stage, says);
        let replay = ["errors", "replay", "--only-passing", "--program", &program];
        for which in [&["m-1"][..], &["--all", "--yes"]] {
            let answer = stage.longhaul(&[&replay, which].concat());
            answer.says(0, &["replayed 0 of 0", "left out: 1", "the bank is closed"]);
            assert!(!answer.err.contains("error"), "{answer:?}");
        }
        stage.has(2, 0).await;
        stage.done();
    });
}

#[cfg(unix)]
#[test]
fn when_a_program_is_asked_the_settings_of_the_command_are_not_its_own() {
    run(async {
        let stage = Stage::with_failed(On::Embedded, 1).await;
        let says = r#"printf '{"id":"m-0","type":"t","verdict":"fails","why":"%s, %s"}\n' "${LONGHAUL_OPS_CONFIG-none}" "$LONGHAUL_CONFIG""#;
        let program = program(&stage, says);
        let settings = crate::stage::file(stage.folder.path(), "ops.toml", "broker = \"embedded\"");
        let mut command = stage.command(&["errors", "replay", "m-0", "--dry-run", "--program", &program]);
        command.env("LONGHAUL_OPS_CONFIG", settings);
        // That of an endpoint is of another form.
        command.env("LONGHAUL_CONFIG", "/etc/sales.toml");
        answer(command).says(1, &["none, /etc/sales.toml"]);
        stage.done();
    });
}

#[test]
fn when_an_import_could_not_read_a_message_back_it_is_not_taken_out() {
    run(async {
        let stage = Stage::with_failed(On::Embedded, 1).await;
        // Each of these bytes is six in JSON.
        stage.fail_with("m-large", vec![1; 11 << 20]).await;
        let name = stage.path("out.jsonl").display().to_string();
        let remove = ["errors", "export", "--all", "--remove", "--yes", "--out", &name];
        stage
            .longhaul(&remove)
            .says(1, &["exported 1 of 2", "m-large", "read it back"]);
        stage.has(1, 0).await;
        stage
            .longhaul(&["errors", "import", &name])
            .says(0, &["imported 1 of 1"]);
        stage.done();
    });
}

#[test]
fn when_a_file_is_named_without_a_directory_it_is_made_in_this_one() {
    run(async {
        let stage = Stage::with_failed(On::Embedded, 1).await;
        let mut command = stage.command(&["errors", "export", "--all", "--out", "out.jsonl"]);
        command.current_dir(stage.folder.path());
        answer(command).says(0, &["exported 1 of 1"]);
        assert!(stage.path("out.jsonl").is_file());
        stage.done();
    });
}

#[test]
fn when_the_delay_levels_are_looked_at_they_are_created_checked_and_counted() {
    run(async {
        let stage = Stage::new(On::RabbitMq).await;
        let prefix = format!("{}.levels", stage.errors);
        stage.owns_levels(&prefix);
        let of = ["--prefix", prefix.as_str()];
        let delays = |what| stage.longhaul(&[&["delays", what], &of[..]].concat());
        delays("create").says(0, &["are there"]);
        delays("verify").says(0, &["as they should be"]);
        let depth = stage.json(&[&["delays", "depth"], &of[..]].concat());
        assert!(depth["queues"].as_array().unwrap().len() >= 28, "{depth}");
        delays("redeliver").says(0, &["sent 0 messages"]);
        let missing = stage.longhaul(&["delays", "verify", "--prefix", stage.errors.as_str()]);
        missing.says(1, &["delay-level", "find everything as it should be"]);
        stage.done();
        let stage = Stage::new(On::Embedded).await;
        stage.longhaul(&["delays", "create"]).says(2, &["only RabbitMQ"]);
        stage.done();
    });
}

#[test]
fn when_the_doctor_is_asked_it_says_what_is_wrong_and_what_to_do() {
    run(async {
        for on in [
            On::Embedded,
            On::RabbitMq,
            #[cfg(feature = "sqs")]
            On::Sqs,
        ] {
            let stage = Stage::with_failed(on, 3).await;
            stage.longhaul(&["doctor"]).says(
                0,
                &[
                    "answers",
                    "3 messages",
                    "no failure lies in the future",
                    "set-up: ",
                ],
            );
            let missing = format!("{}-missing", stage.errors);
            let answer = stage.longhaul(&["doctor", "--error-queue", &missing]);
            answer.says(1, &["answers", "bad", &missing, "--error-queue"]);
            stage.done();
        }
        let stage = Stage::with_failed(On::Embedded, 1_000).await;
        let told = stage.json(&["doctor"]);
        assert_eq!(told["findings"][1]["state"], "warning");
        stage.done();
        let (_silent, port) = silent();
        let mut command = bare(&["doctor", "--json"]);
        command.env("LONGHAUL_AMQP_URL", format!("amqp://127.0.0.1:{port}"));
        let told = answer(command);
        assert_eq!(told.code, 1, "{told:?}");
        let told: serde_json::Value = serde_json::from_str(&told.out).unwrap();
        assert_eq!(
            (&told["works"], &told["findings"][0]["state"]),
            (&false.into(), &"bad".into())
        );
    });
}
