//! What can't be done: clear words, the right exit code, and never a secret.

use std::time::Duration;

use crate::stage::{On, Stage, answer, bare, file, run, silent, url};

const SECRET: &str = "hunter2-canary";

fn silent_about_secrets(answer: &crate::stage::Answer) {
    assert!(
        !answer.out.contains(SECRET) && !answer.err.contains(SECRET),
        "{answer:?}"
    );
}

#[test]
fn when_nothing_is_set_up_it_says_what_to_set() {
    answer(bare(&["errors", "list"])).says(2, &["LONGHAUL_AMQP_URL", "--data"]);
}

#[test]
fn when_two_brokers_are_set_up_it_asks_which() {
    let mut command = bare(&["errors", "list"]);
    command
        .env("LONGHAUL_AMQP_URL", "amqp://localhost")
        .env("LONGHAUL_DATA", "/nowhere");
    answer(command).says(2, &["--broker"]);
}

#[test]
fn when_the_password_is_among_the_arguments_it_is_refused_and_not_repeated() {
    let uri = format!("amqp://ops:{SECRET}@localhost");
    for arguments in [
        &["errors", "list", "--url", &uri][..],
        &["errors", "list", &uri],
        &["--broker", &uri, "errors", "list"],
        &["errors", &uri],
    ] {
        let answer = answer(bare(arguments));
        answer.says(2, &["LONGHAUL_AMQP_URL", "password_file"]);
        silent_about_secrets(&answer);
    }
}

#[test]
fn when_no_broker_answers_it_says_so_without_the_password() {
    let (kept, port) = silent();
    let mut command = bare(&["errors", "list"]);
    command.env(
        "LONGHAUL_AMQP_URL",
        format!("amqp://ops:{SECRET}@127.0.0.1:{port}"),
    );
    let answer = answer(command);
    drop(kept);
    answer.says(1, &["127.0.0.1", "check the broker and the network"]);
    silent_about_secrets(&answer);
}

#[test]
fn when_the_password_is_wrong_it_says_so_without_it() {
    let host = url()
        .rsplit_once('@')
        .expect("an address with a login")
        .1
        .to_owned();
    for (uri, password) in [
        (format!("amqp://guest:{SECRET}@{host}"), None),
        (format!("amqp://guest@{host}"), Some(SECRET)),
    ] {
        let mut command = bare(&["errors", "list"]);
        command.env("LONGHAUL_AMQP_URL", uri);
        if let Some(password) = password {
            command.env("LONGHAUL_AMQP_PASSWORD", password);
        }
        let answer = answer(command);
        answer.says(1, &["ACCESS_REFUSED"]);
        silent_about_secrets(&answer);
    }
}

#[test]
fn when_the_broker_is_far_away_and_without_tls_it_is_refused() {
    let mut command = bare(&["errors", "list"]);
    command.env("LONGHAUL_AMQP_URL", format!("amqp://ops:{SECRET}@broker.example"));
    let answer = answer(command);
    answer.says(1, &["amqps"]);
    silent_about_secrets(&answer);
}

#[test]
fn when_an_input_queue_is_taken_for_the_error_queue_it_is_refused() {
    run(async {
        let stage = Stage::new(On::RabbitMq).await;
        let answer = stage.longhaul(&["errors", "list", "--error-queue", stage.source.as_str()]);
        answer.says(1, &["not declared as an error queue"]);
        stage.done();
    });
}

#[test]
fn when_another_operator_is_at_it_the_second_one_is_told() {
    run(async {
        let stage = Stage::with_failed(On::RabbitMq, 3).await;
        let open = stage.open().await;
        let pass = open.admin.look_through(&stage.errors).await.unwrap();
        stage.longhaul(&["errors", "list"]).says(1, &["another operator"]);
        pass.close().await.unwrap();
        open.close().await;
        stage.longhaul(&["errors", "list"]).says(0, &["m-0", "m-2"]);
        stage.done();
    });
}

#[test]
fn when_an_endpoint_has_the_directory_open_it_says_which_process() {
    run(async {
        let stage = Stage::with_failed(On::Embedded, 1).await;
        let open = stage.open().await;
        let in_use = format!("in use by process {}", std::process::id());
        stage.longhaul(&["errors", "list"]).says(1, &[&in_use]);
        open.close().await;
        stage.longhaul(&["errors", "list"]).says(0, &["m-0"]);
        stage.done();
    });
}

#[test]
fn when_a_directory_is_no_database_none_is_made() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["", "missing"] {
        let path = folder.path().join(name);
        let shown = path.display().to_string();
        answer(bare(&["errors", "list", "--data", &shown])).says(1, &["no database of Longhaul"]);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn when_a_setting_is_unknown_or_wrong_the_line_is_named_and_no_secret_shown() {
    let folder = tempfile::tempdir().unwrap();
    for (text, parts) in [
        (
            "# mine\nerror_queue = \"e\"\n\n[rabbitmq]\nulr = \"x\"\n",
            &[":5:", "ulr"][..],
        ),
        (
            &format!("rabbitmq = \"amqp://u:{SECRET}@h\"\n"),
            &[":1:", "wrong type"],
        ),
        (
            &format!("[rabbitmq]\nurl = amqp://u:{SECRET}@h\n"),
            &[":2:", "TOML"],
        ),
        ("broker = \"kafka\"\n", &[":1:", "kafka", "rabbitmq"]),
        (
            "error_queue = \"a\"\nerror_queue = \"b\"\n",
            &[":2:", "duplicate"],
        ),
    ] {
        let path = file(folder.path(), "longhaul.toml", text);
        let answer = answer(bare(&["--config", &path, "errors", "list"]));
        answer.says(2, parts);
        answer.says(2, &[&path]);
        silent_about_secrets(&answer);
    }
    answer(bare(&["--config", "/nowhere.toml", "errors", "list"])).says(2, &["/nowhere.toml"]);
}

#[test]
fn when_settings_are_in_a_file_they_count_and_a_readable_password_is_warned_of() {
    run(async {
        let stage = Stage::with_failed(On::RabbitMq, 1).await;
        let text = format!(
            "broker = \"rabbitmq\"\nerror_queue = \"{}\"\n[rabbitmq]\nurl = \"{}\"\n",
            stage.errors,
            url()
        );
        let path = file(stage.folder.path(), "longhaul.toml", &text);
        answer(bare(&["--config", &path, "errors", "list"])).says(0, &["m-0", "chmod 600"]);
        stage.done();
    });
}

#[test]
fn when_arguments_are_wrong_the_exit_code_is_two() {
    for arguments in [
        &["errors"][..],
        &["errors", "list", "--limit", "0"],
        &["errors", "list", "--older-than", "5 parsecs"],
        &["errors", "replay", "--all", "--rate", "0"],
        &["errors", "replay", "--all", "--to", "a.*"],
        &["errors", "export", "--all"],
        &["errors", "export", "--all", "--remove", "--out", "-"],
        &["nonsense"],
        &["errors", "list", "--data", "/nowhere", "--error-queue", ""],
    ] {
        let answer = answer(bare(arguments));
        assert_eq!(answer.code, 2, "{arguments:?}: {answer:?}");
    }
}

#[test]
fn when_nobody_answers_on_the_port_it_ends_in_time() {
    // It takes connections and never speaks.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut command = bare(&["errors", "list"]);
    command.env("LONGHAUL_AMQP_URL", format!("amqp://127.0.0.1:{port}"));
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let ended = run(async {
        let wait = async {
            loop {
                if let Some(status) = child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(25), wait).await
    });
    assert_eq!(ended.expect("it ends").code(), Some(1));
}
