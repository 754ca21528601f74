//! Failed messages whose bodies the claim check keeps elsewhere.

use std::collections::BTreeSet;
use std::fs::{File, FileTimes};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use longhaul_core::claim_check::{ClaimCheck, Directory};
use longhaul_core::transport::{ReceiverOptions, Transport};

use crate::stage::{On, Stage, file, header, run};

/// A system with three failed messages whose bodies are in the directory.
async fn stage(on: On) -> (Stage, PathBuf) {
    let stage = Stage::new(on).await;
    let bodies = stage.path("bodies");
    let open = stage.open().await;
    let transport = ClaimCheck::new(Arc::clone(&open.transport), Directory::open(&bodies).unwrap()).over(4);
    let batch: Vec<_> = (0..3).map(|number| stage.failed(number)).collect();
    for result in transport.dispatch(&batch).await {
        result.unwrap();
    }
    drop(transport);
    open.close().await;
    assert_eq!(files(&bodies).len(), 3);
    (stage, bodies)
}

fn files(bodies: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(bodies).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn key_of(stage: &Stage, id: &str) -> String {
    let shown = stage.json(&["errors", "show", id]);
    assert_eq!(shown["failed"]["body_bytes"], 11);
    shown["failed"]["body_key"].as_str().unwrap().to_owned()
}

#[test]
fn when_a_body_is_kept_elsewhere_it_is_said_where_and_shown_from_there() {
    run(async {
        for on in [On::Embedded, On::RabbitMq] {
            let (stage, bodies) = stage(on).await;
            let directory = bodies.display().to_string();
            let key = key_of(&stage, "m-1");
            assert!(bodies.join(&key).exists());
            stage
                .longhaul(&["errors", "show", "m-1"])
                .says(0, &[&key, "11 bytes", "--claim-check"]);
            stage
                .longhaul(&["errors", "show", "m-1", "--claim-check", &directory])
                .says(0, &[&key, "\"order\": 1"]);
            stage
                .longhaul(&["errors", "show", "m-1", "--body"])
                .says(1, &[&key, "--claim-check"]);
            let body = stage.longhaul(&["errors", "show", "m-1", "--body", "--claim-check", &directory]);
            assert_eq!((body.code, body.out.as_str()), (0, "{\"order\":1}"));
            let wrong = stage.path("nothing").display().to_string();
            stage
                .longhaul(&["errors", "show", "m-1", "--claim-check", &wrong])
                .says(2, &[&wrong]);
            assert!(!Path::new(&wrong).exists(), "it was made");
            stage.done();
        }
    });
}

#[test]
fn when_such_messages_are_exported_their_bodies_are_in_the_file_where_they_can_be_read() {
    run(async {
        let (stage, bodies) = stage(On::Embedded).await;
        let directory = bodies.display().to_string();
        let (light, whole) = (stage.path("light.jsonl"), stage.path("whole.jsonl"));
        let (light, whole) = (light.display().to_string(), whole.display().to_string());
        stage
            .longhaul(&["errors", "export", "--all", "--out", &light])
            .says(0, &["exported 3 of 3", "3 of them have their body elsewhere"]);
        let export = ["errors", "export", "--all", "--claim-check", &directory, "--out"];
        stage
            .longhaul(&[&export[..], &[&whole, "--remove", "--yes"]].concat())
            .says(0, &["exported 3 of 3"]);
        let text = |path: &str| std::fs::read_to_string(path).unwrap();
        assert!(text(&light).contains("longhaul.body") && !text(&light).contains("order\\\":1"));
        assert!(!text(&whole).contains("longhaul.body") && text(&whole).contains("order\\\":1"));
        stage
            .longhaul(&["errors", "import", &whole])
            .says(0, &["imported 3 of 3"]);
        stage
            .longhaul(&["errors", "show", "m-2"])
            .says(0, &["\"order\": 2"]);
        stage.done();
    });
}

#[test]
fn when_the_body_of_one_is_gone_an_export_to_standard_output_has_the_others_and_ends_with_one() {
    run(async {
        let (stage, bodies) = stage(On::Embedded).await;
        std::fs::remove_file(bodies.join(key_of(&stage, "m-2"))).unwrap();
        let directory = bodies.display().to_string();
        let export = [
            "errors",
            "export",
            "--all",
            "--out",
            "-",
            "--claim-check",
            &directory,
        ];
        let answer = stage.longhaul(&export);
        answer.says(1, &["error: m-2"]);
        assert_eq!(answer.out.lines().count(), 2);
        stage.done();
    });
}

#[test]
fn when_such_a_message_is_replayed_its_body_is_still_found_and_is_young_again() {
    run(async {
        for on in [On::Embedded, On::RabbitMq] {
            let (stage, bodies) = stage(on).await;
            let directory = bodies.display().to_string();
            let path = bodies.join(key_of(&stage, "m-1"));
            let long_ago = UNIX_EPOCH + Duration::from_secs(1_000_000);
            let kept = File::options().write(true).open(&path).unwrap();
            kept.set_times(FileTimes::new().set_modified(long_ago)).unwrap();
            drop(kept);
            std::fs::remove_file(bodies.join(key_of(&stage, "m-2"))).unwrap();
            stage
                .longhaul(&["errors", "replay", "--all", "--yes", "--claim-check", &directory])
                .says(1, &["replayed 2 of 3", "m-2"]);
            assert_ne!(std::fs::metadata(&path).unwrap().modified().unwrap(), long_ago);
            stage.has(1, 2).await;

            let open = stage.open().await;
            let transport = ClaimCheck::new(Arc::clone(&open.transport), Directory::open(&bodies).unwrap());
            let options = ReceiverOptions::default();
            let mut receiver = transport.receiver(&stage.source, options).await.unwrap();
            let mut bodies = BTreeSet::new();
            for _ in 0..2 {
                let (incoming, settlement) = receiver.receive().await.unwrap().into_parts();
                assert_eq!(header(&incoming, "longhaul.body"), None);
                bodies.insert(incoming.body);
                settlement.acknowledge().await.unwrap();
            }
            // Messages don't wait for each other's bodies.
            assert_eq!(
                bodies,
                BTreeSet::from(["{\"order\":0}".into(), "{\"order\":1}".into()])
            );
            receiver.close().await.unwrap();
            drop(transport);
            open.close().await;
            stage.done();
        }
    });
}

#[test]
fn when_such_a_message_is_edited_the_new_one_brings_its_own_body() {
    run(async {
        let (stage, _) = stage(On::Embedded).await;
        let body = file(stage.folder.path(), "body.json", "{\"order\":77}");
        stage
            .longhaul(&["errors", "edit", "m-1", "--body", &body])
            .says(0, &["sent"]);
        let sent = &stage.messages(&stage.source, 1).await[0];
        assert_eq!(header(sent, "longhaul.body"), None);
        assert_eq!(sent.body, "{\"order\":77}");
        stage.done();
    });
}

/// A bucket of the emulator, which takes it from anybody.
#[cfg(feature = "s3")]
async fn bucket(stage: &Stage) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let name = format!(
        "bodies-{}",
        stage.source.as_str().to_lowercase().replace('.', "-")
    );
    let emulator = crate::stage::emulator();
    let host = emulator.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let request = format!(
        "PUT /{name} HTTP/1.1\r\nhost: {host}\r\nauthorization: AWS4-HMAC-SHA256 Credential=test/20250101/us-east-1/s3/aws4_request\r\n\
         content-length: 0\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    name
}

#[cfg(feature = "s3")]
#[test]
fn when_a_body_is_in_a_bucket_it_is_shown_and_exported_from_there_and_stays_for_a_replay() {
    run(async {
        let stage = Stage::new(On::Sqs).await;
        let (bucket, open) = (bucket(&stage).await, stage.open().await);
        let sqs = longhaul_sqs::Sqs::builder().endpoint_url(crate::stage::emulator());
        let bodies = sqs.connect().await.unwrap().bodies(&bucket).prefix("large/");
        let transport = ClaimCheck::new(Arc::clone(&open.transport), bodies).over(4);
        for result in transport.dispatch(&[stage.failed(1)]).await {
            result.unwrap();
        }
        drop(transport);
        open.close().await;
        let place = format!("s3://{bucket}/large");
        stage
            .longhaul(&["errors", "show", "m-1", "--body"])
            .says(1, &["--claim-check"]);
        let body = stage.longhaul(&["errors", "show", "m-1", "--body", "--claim-check", &place]);
        assert_eq!((body.code, body.out.as_str()), (0, "{\"order\":1}"), "{body:?}");
        let elsewhere = format!("s3://{bucket}/elsewhere/");
        let replay = ["errors", "replay", "--all", "--yes", "--claim-check"];
        stage
            .longhaul(&[&replay[..], &[&elsewhere]].concat())
            .says(1, &["replayed 0 of 1"]);
        let whole = stage.path("whole.jsonl").display().to_string();
        stage
            .longhaul(&[
                "errors",
                "export",
                "--all",
                "--out",
                &whole,
                "--claim-check",
                &place,
            ])
            .says(0, &["exported 1 of 1"]);
        let exported = std::fs::read_to_string(&whole).unwrap();
        assert!(exported.contains("order"), "{exported}");
        stage
            .longhaul(&[&replay[..], &[&place]].concat())
            .says(0, &["replayed 1 of 1"]);
        stage
            .longhaul(&["errors", "show", "m-1", "--claim-check", "s3://"])
            .says(2, &["s3://BUCKET"]);
        stage.done();
    });
}
