//! Every command that speaks with a broker, where there is none, where it refuses the login, and where what it names is not there.

use std::process::Command;

use crate::extras::commands;
use crate::stage::{Answer, On, Stage, answer, bare, file, run, silent, url};

const SECRET: &str = "s3cr3t";

/// What is looked at or changed on a broker. What is in capitals is a file.
const EVERY: [&[&str]; 32] = [
    &["errors", "list"],
    &["errors", "group"],
    &["errors", "show", "m"],
    &["errors", "replay", "--all", "--yes"],
    &["errors", "discard", "--all", "--yes"],
    &["errors", "edit", "m", "--body", "BODY"],
    &["errors", "export", "--all", "--out", "NEW"],
    &["errors", "import", "FAILED"],
    &["errors", "let-pass", "m", "--endpoint", "sales"],
    &["queues", "list", "sales"],
    &["doctor"],
    &["delays", "create"],
    &["delays", "verify"],
    &["delays", "depth"],
    &["delays", "redeliver"],
    &["delays", "drain", "--now", "--yes"],
    &["delays", "import", "DELAYED"],
    &["sagas", "list", "order", "--endpoint", "sales"],
    &[
        "sagas",
        "retry-step",
        "order",
        "7",
        "--endpoint",
        "sales",
        "--by",
        "me",
    ],
    &["sagas", "show", "order", "7", "--endpoint", "sales"],
    &["sagas", "history", "order", "7", "--endpoint", "sales"],
    &["sagas", "diagram", "order", "7", "--endpoint", "sales"],
    &[
        "sagas",
        "skip-step",
        "order",
        "7",
        "--step",
        "s",
        "--reason",
        "r",
        "--yes",
        "--by",
        "me",
        "--endpoint",
        "sales",
    ],
    &[
        "sagas",
        "fail",
        "order",
        "7",
        "--reason",
        "r",
        "--yes",
        "--by",
        "me",
        "--endpoint",
        "sales",
    ],
    &["delays", "drain", "--out", "NEW", "--yes"],
    &["delays", "drain", "--wait", "1s"],
    &["timeouts", "move", "t", "--in", "1h", "--endpoint", "sales"],
    &["timeouts", "list", "--endpoint", "sales"],
    &["timeouts", "cancel", "t", "--endpoint", "sales"],
    &["outbox", "list", "--endpoint", "sales"],
    &["outbox", "flush", "--endpoint", "sales"],
    &["delays", "transfer", "--to-prefix", "other", "--yes"],
];

/// Those that are about the error queue.
fn of_errors(command: &[&str]) -> bool {
    command[0] == "errors" && command[1] != "let-pass"
}

/// Its files.
struct Files {
    _folder: tempfile::TempDir,
    failed: String,
    delayed: String,
    body: String,
    new: String,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let line = r#"{"longhaul_export":1,"id":"m","headers":[["longhaul.type","a.b.v1"]],"body":"{}""#;
        let delayed = format!("{line},\"to\":\"sales\",\"due\":\"2100-01-01T00:00:00Z\"}}\n");
        Self {
            failed: file(folder.path(), "failed.jsonl", &format!("{line}}}\n")),
            delayed: file(folder.path(), "delayed.jsonl", &delayed),
            body: file(folder.path(), "body.json", "{}"),
            new: folder.path().join("new.jsonl").to_str().unwrap().to_owned(),
            _folder: folder,
        }
    }

    fn filled<'a>(&'a self, command: &[&'a str]) -> Vec<&'a str> {
        let fill = |&part: &&'a str| match part {
            "FAILED" => &*self.failed,
            "DELAYED" => &*self.delayed,
            "BODY" => &*self.body,
            "NEW" => &*self.new,
            part => part,
        };
        command.iter().map(fill).collect()
    }
}

fn said(answer: &Answer) -> String {
    format!("{}{}", answer.out, answer.err)
}

/// It ends with 1, says that, and not the secret.
fn refused(command: Command, says: &str) {
    let shown = format!("{:?}", command.get_args().collect::<Vec<_>>());
    let answer = answer(command);
    let said = said(&answer);
    assert_eq!(answer.code, 1, "{shown}: {said}");
    assert!(said.contains(says), "{shown}: {said}");
    assert!(
        !said.contains(SECRET) && !said.contains("panicked"),
        "{shown}: {said}"
    );
}

#[test]
fn when_a_command_is_added_it_is_tried_here() {
    let needs_no_broker = |command: &Vec<String>| matches!(&*command[0], "completions" | "man" | "demo");
    for command in commands().iter().filter(|command| !needs_no_broker(command)) {
        let is_tried = EVERY
            .iter()
            .any(|tried| tried.iter().zip(command).all(|(word, wanted)| word == wanted));
        assert!(is_tried, "{command:?}");
    }
}

#[test]
fn when_no_rabbitmq_answers_every_command_says_so() {
    run(async {
        let files = Files::new();
        let (_silent, port) = silent();
        for arguments in EVERY {
            let mut command = bare(&files.filled(arguments));
            command.env(
                "LONGHAUL_AMQP_URL",
                format!("amqp://ops:{SECRET}@127.0.0.1:{port}"),
            );
            refused(command, "check the");
        }
    });
}

#[test]
fn when_rabbitmq_refuses_the_login_every_command_says_so() {
    let files = Files::new();
    let host = url()
        .rsplit_once('@')
        .expect("an address with a login")
        .1
        .to_owned();
    for arguments in EVERY {
        let mut command = bare(&files.filled(arguments));
        command.env("LONGHAUL_AMQP_URL", format!("amqp://guest:{SECRET}@{host}"));
        refused(command, "ACCESS_REFUSED");
    }
}

#[cfg(feature = "sqs")]
#[test]
fn when_no_sqs_answers_every_command_says_so() {
    run(async {
        let files = Files::new();
        let (_silent, port) = silent();
        let delays = |command: &&&[&str]| command[0] == "delays" && command[1] != "import";
        let stored = |command: &&&[&str]| {
            let looks = ["list", "show", "history", "diagram"];
            matches!(command[0], "timeouts" | "outbox")
                || command[0] == "sagas" && looks.contains(&command[1])
        };
        for arguments in EVERY
            .iter()
            .filter(|command| command[0] != "delays" && !stored(command))
        {
            let mut command = bare(&files.filled(arguments));
            command
                .env("LONGHAUL_SQS_ENDPOINT", format!("http://127.0.0.1:{port}"))
                .env("AWS_SECRET_ACCESS_KEY", SECRET);
            refused(command, "check the network");
        }
        // What only RabbitMQ has, and what only an embedded directory has, is said to be so without asking anybody.
        for arguments in EVERY.iter().filter(|command| delays(command) || stored(command)) {
            let mut command = bare(&files.filled(arguments));
            command.env("LONGHAUL_SQS_ENDPOINT", format!("http://127.0.0.1:{port}"));
            let answer = answer(command);
            assert_eq!(answer.code, 2, "{arguments:?}: {answer:?}");
            assert!(answer.err.contains("only "), "{arguments:?}: {answer:?}");
        }
    });
}

#[test]
fn when_there_is_no_such_queue_every_command_says_so_and_makes_none() {
    run(async {
        let files = Files::new();
        for on in [
            On::Embedded,
            On::RabbitMq,
            #[cfg(feature = "sqs")]
            On::Sqs,
        ] {
            let stage = Stage::new(on).await;
            let missing = format!("{}-missing", stage.errors);
            // Twice: the first time made none.
            for arguments in EVERY.iter().chain(&EVERY) {
                let arguments = files.filled(arguments);
                if of_errors(&arguments) || arguments[0] == "doctor" {
                    let of = [&arguments[..], &["--error-queue", &missing]].concat();
                    let command = stage.command(&of);
                    refused(
                        command,
                        if of_errors(&arguments) {
                            "none of that name"
                        } else {
                            &missing
                        },
                    );
                }
            }
            refused(stage.command(&["queues", "list", &missing]), &missing);
            let told = [
                "sagas",
                "fail",
                "order",
                "7",
                "--reason",
                "r",
                "--yes",
                "--by",
                "me",
                "--endpoint",
                &missing,
            ];
            refused(stage.command(&told), &missing);
            refused(
                stage.command(&["errors", "let-pass", "m", "--endpoint", &missing]),
                &missing,
            );
            stage.done();
        }
    });
}
