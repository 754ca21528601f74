//! Delayed messages on RabbitMQ: into a file and back, into their queues, to other delay levels, and killed in between.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longhaul::prelude::*;
use longhaul_core::address::Address;
use longhaul_core::ids::{Randomness, SeededRandomness};
use longhaul_core::transport::{Declare, ReceiverOptions, Topology, Transport};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::levels::{Levels, all_of, lines};
use crate::stage::{On, Stage, answer, bare, file, id, rabbit, run, until, url};

const HOUR: Duration = Duration::from_secs(3_600);
const SOON: Duration = Duration::from_secs(60);

#[test]
fn when_delayed_messages_are_drained_into_a_file_they_go_back_as_they_were_on_any_broker() {
    run(async {
        let levels = Levels::new().await;
        let dues: Vec<_> = (0..300)
            .map(|number| SystemClock.now() + HOUR * (1 + number % 7) + Duration::from_secs(number.into()))
            .collect();
        levels.send(&dues).await;
        levels
            .longhaul(&levels.from, &["drain", "--out", "/tmp/never", "--dry-run"])
            .says(
                0,
                &[
                    "would write to the file and take out 300 messages",
                    "delay-level-",
                ],
            );
        let first = levels.drained(&levels.from, "first.jsonl");
        assert_eq!(first.keys().cloned().collect::<BTreeSet<_>>(), all_of(300));
        for (number, due) in dues.iter().enumerate() {
            let line = &first[&format!("d-{number}")];
            assert_eq!(line["due"], due.to_string());
            assert_eq!(line["to"], levels.stage.source.as_str());
            assert!(!line.to_string().contains("x-"), "the broker's own: {line}");
        }
        let path = levels.stage.path("first.jsonl");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let path = path.display().to_string();
        levels
            .longhaul(&levels.from, &["drain", "--out", &path, "--yes"])
            .says(2, &["is there already"]);
        levels
            .longhaul(&levels.to, &["import", &path, "--dry-run"])
            .says(0, &["would import 300"]);
        levels
            .longhaul(&levels.to, &["import", &path])
            .says(0, &["imported 300 of 300"]);
        assert_eq!(levels.drained(&levels.to, "second.jsonl"), first);

        // The embedded broker has no levels, and keeps them all the same.
        let data = levels.stage.data();
        let database = Database::open(&data).unwrap();
        let broker = LocalBroker::durable(database.clone(), Arc::new(SystemClock)).unwrap();
        let topology = Topology {
            queues: vec![levels.stage.source.clone()],
            ..Topology::default()
        };
        broker.prepare(&topology, Declare::Declare).await.unwrap();
        drop(broker);
        database.close().unwrap();
        let data = data.display().to_string();
        answer(bare(&["delays", "import", &path, "--data", &data])).says(0, &["imported 300 of 300"]);
        let listed = answer(bare(&["queues", "list", "--data", &data, "--json"]));
        let listed: Value = serde_json::from_str(&listed.out).unwrap();
        assert_eq!(listed["queues"][0]["delayed"], 300);
        levels.stage.done();
    });
}

#[test]
fn when_delayed_messages_are_transferred_they_come_when_they_are_due_and_never_before() {
    run(async {
        let levels = Levels::new().await;
        let now = SystemClock.now();
        let soon = (0..20).map(|number| now + Duration::from_millis(3_000 + 150 * number));
        let late = (0..40).map(|number| now + HOUR * 24 * (1 + number));
        let dues: Vec<_> = soon.chain(late).collect();
        levels.send(&dues).await;
        levels
            .longhaul(
                &levels.from,
                &["transfer", "--to-prefix", &levels.to, "--dry-run"],
            )
            .says(0, &["would move"]);
        levels
            .longhaul(&levels.from, &["transfer", "--to-prefix", &levels.to])
            .says(2, &["messages match", "--yes"]);
        levels
            .longhaul(&levels.from, &["transfer", "--to-prefix", &levels.to, "--yes"])
            .says(0, &["moved", "0 are left"]);
        let rabbit = levels.transport(&levels.to).await;
        let options = ReceiverOptions::default();
        let mut receiver = rabbit.receiver(&levels.stage.source, options).await.unwrap();
        let mut came = BTreeSet::new();
        while came.len() < 20 {
            let next = tokio::time::timeout(SOON, receiver.receive()).await;
            let (incoming, settlement) = next.expect("it comes").unwrap().into_parts();
            let at = SystemClock.now();
            let number: usize = id(&incoming).strip_prefix("d-").unwrap().parse().unwrap();
            assert!(
                at >= dues[number],
                "d-{number} came at {at}, before {}",
                dues[number]
            );
            assert!(incoming.headers.iter().all(|(name, _)| !name.starts_with("x-")));
            settlement.acknowledge().await.unwrap();
            assert!(came.insert(number), "d-{number} came twice");
        }
        assert_eq!(came, (0..20).collect());
        receiver.close().await.unwrap();
        rabbit.close().await;
        let left = levels.drained(&levels.to, "left.jsonl");
        assert_eq!(left.len(), 40);
        for number in 20..60 {
            assert_eq!(left[&format!("d-{number}")]["due"], dues[number].to_string());
        }
        levels.stage.done();
    });
}

#[test]
fn when_the_levels_are_waited_for_nothing_is_touched_and_it_ends_once_they_are_empty() {
    run(async {
        let levels = Levels::new().await;
        let now = SystemClock.now();
        levels.send(&[now + Duration::from_secs(2), now + HOUR]).await;
        levels.stage.has(0, 1).await;
        levels
            .longhaul(&levels.from, &["drain", "--wait", "1s"])
            .says(1, &["1 messages are left"]);
        assert_eq!(levels.drained(&levels.from, "left.jsonl").len(), 1);
        levels
            .longhaul(&levels.from, &["drain", "--wait", "3s"])
            .says(0, &["0 are left"]);
        levels.stage.has(0, 1).await;
        levels.stage.done();
    });
}

#[test]
fn when_a_drain_into_files_is_killed_at_random_moments_all_messages_are_in_the_files() {
    run(async {
        const MESSAGES: usize = 3_000;
        let levels = Levels::new().await;
        levels.send(&vec![SystemClock.now() + HOUR * 30; MESSAGES]).await;
        let moments = SeededRandomness::new(23);
        let mut files = Vec::new();
        for number in 0..5 {
            let path = levels
                .stage
                .path(&format!("{number}.jsonl"))
                .display()
                .to_string();
            let arguments = Levels::arguments(&levels.from, &["drain", "--out", &path, "--yes"]);
            kill_after(&levels, &arguments, 60 + moments.next_u64() % 150).await;
            files.extend(std::fs::exists(&path).unwrap().then_some(path));
        }
        // What a process held that was killed comes back a little after it.
        until("all of them are in files", async || {
            let last = levels.stage.path(&format!("{}.jsonl", files.len() + 5));
            let last = last.display().to_string();
            let drain = levels.longhaul(&levels.from, &["drain", "--out", &last, "--yes"]);
            files.extend(std::fs::exists(&last).unwrap().then_some(last));
            let written: BTreeSet<_> = files.iter().flat_map(|path| lines(path).into_keys()).collect();
            written.len() == MESSAGES && drain.out.contains("drained 0 messages, 0 are left")
        })
        .await;
        for path in &files {
            levels
                .longhaul(&levels.to, &["import", path, "--torn-end"])
                .says(0, &["imported"]);
        }
        let back = levels.drained(&levels.to, "back.jsonl");
        assert_eq!(back.keys().cloned().collect::<BTreeSet<_>>(), all_of(MESSAGES));
        levels.stage.done();
    });
}

async fn kill_after(levels: &Levels, arguments: &[&str], millis: u64) {
    let mut command = tokio::process::Command::from(levels.stage.command(arguments));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    // It may have come to its end by then.
    drop(tokio::time::timeout(Duration::from_millis(millis), child.wait()).await);
    child.kill().await.unwrap();
}

#[derive(Command, Serialize, Deserialize)]
#[message("billing.charge_card.v1")]
struct ChargeCard {
    order: u64,
}

/// The ledger has no unique keys: what is done twice stands there twice.
struct Gateway(Arc<Mutex<Vec<u64>>>);

impl Handler<ChargeCard> for Gateway {
    async fn handle(&self, charge: ChargeCard, _: &mut Context) -> HandlerResult {
        self.0.lock().unwrap().push(charge.order);
        Ok(())
    }
}

#[test]
fn when_a_transfer_is_killed_at_random_moments_each_effect_happens_once() {
    run(async {
        const MESSAGES: usize = 600;
        let levels = Levels::new().await;
        levels.send(&vec![SystemClock.now() + HOUR * 50; MESSAGES]).await;
        let ledger: Arc<Mutex<Vec<u64>>> = Arc::default();
        let endpoint = Endpoint::builder(levels.stage.source.as_str())
            .transport(rabbit().await)
            .persistence(Memory::new())
            .error_queue(levels.stage.errors.as_str())
            .handler::<ChargeCard>(Gateway(Arc::clone(&ledger)))
            .route::<ChargeCard>(levels.stage.source.as_str())
            .build()
            .await
            .unwrap();
        let session = endpoint.session();
        let (done, stop) = tokio::sync::oneshot::channel::<()>();
        let running = endpoint.run_until(async {
            drop(stop.await);
        });
        let steps = async {
            let moments = SeededRandomness::new(5);
            let transfer = ["transfer", "--to-prefix", &levels.to, "--yes"];
            let slowly = [&transfer[..], &["--rate", "800"]].concat();
            for _ in 0..6 {
                let arguments = Levels::arguments(&levels.from, &slowly);
                kill_after(&levels, &arguments, 60 + moments.next_u64() % 250).await;
            }
            // What a process held that was killed comes back a little after it.
            until("all are transferred", async || {
                let answer = levels.longhaul(&levels.from, &transfer);
                answer.out.contains("moved 0 messages, 0 are left")
            })
            .await;
            // Killed too, and into the queue, where they are handled at once.
            let now = ["drain", "--now", "--yes"];
            for _ in 0..3 {
                let slowly = [&now[..], &["--rate", "800"]].concat();
                let arguments = Levels::arguments(&levels.to, &slowly);
                kill_after(&levels, &arguments, 60 + moments.next_u64() % 250).await;
            }
            until("all are done, and nothing is left in the levels", async || {
                let moved = levels.longhaul(&levels.from, &transfer);
                let sent = levels.longhaul(&levels.to, &now);
                moved.out.contains("moved 0 messages, 0 are left")
                    && sent.out.contains("sent 0 messages, 0 are left")
                    && ledger.lock().unwrap().len() >= MESSAGES
            })
            .await;
            // What was sent twice is handled by now too: it lies before the next message.
            session.send(ChargeCard { order: u64::MAX }).await.unwrap();
            until("the last one is done", async || {
                ledger.lock().unwrap().contains(&u64::MAX)
            })
            .await;
            drop(done);
        };
        let (ran, ()) = tokio::join!(Box::pin(running), Box::pin(steps));
        ran.unwrap();
        let mut orders = ledger.lock().unwrap().clone();
        orders.sort_unstable();
        let mut wanted: Vec<u64> = (0..MESSAGES as u64).collect();
        wanted.push(u64::MAX);
        assert_eq!(orders, wanted);
        levels.stage.done();
    });
}

#[test]
fn when_it_is_asked_for_wrongly_nothing_is_done() {
    run(async {
        let levels = Levels::new().await;
        levels.send(&[SystemClock.now() + HOUR]).await;
        for (arguments, says) in [
            (&["drain"][..], "--out"),
            (&["drain", "--now", "--wait", "1s"], "cannot be used with"),
            (&["drain", "--wait", "1s", "--rate", "5"], "--now"),
            (&["drain", "--now"], "1 messages match"),
            (&["drain", "--out", "-", "--yes"], "--out needs a file"),
            (&["transfer", "--yes"], "--to-url"),
            (
                &["transfer", "--to-prefix", &levels.from, "--yes"],
                "the target is the source",
            ),
            (
                &["transfer", "--to-url", "amqp://a:canary@h", "--yes"],
                "LONGHAUL_",
            ),
            (
                &["transfer", "--to-config", "/nowhere.toml", "--yes"],
                "/nowhere.toml",
            ),
            (&["import", "/nowhere.jsonl"], "/nowhere.jsonl"),
        ] {
            let answer = levels.longhaul(&levels.from, arguments);
            answer.says(2, &[says]);
            assert!(!format!("{answer:?}").contains("canary"), "{answer:?}");
        }
        // The same place by another name is still the same.
        let elsewhere = url().replace("127.0.0.1", "localhost");
        let settings = format!(
            "[rabbitmq]\nurl = \"{elsewhere}\"\nprefix = \"{}\"\n",
            levels.from
        );
        let settings = file(levels.stage.folder.path(), "same.toml", &settings);
        levels
            .longhaul(&levels.from, &["transfer", "--to-config", &settings, "--yes"])
            .says(2, &["the target is the source"]);

        let missing = format!("{}-missing", levels.from);
        for arguments in [
            &["drain", "--now", "--yes"][..],
            &["drain", "--wait", "1s"],
            &["transfer", "--to-prefix", &levels.to, "--yes"],
        ] {
            levels
                .longhaul(&missing, arguments)
                .says(1, &["find delay levels", &missing]);
        }
        levels
            .longhaul(&levels.from, &["transfer", "--to-prefix", &missing, "--yes"])
            .says(1, &["use the target's delay levels", &missing]);
        assert_eq!(levels.drained(&levels.from, "all.jsonl").len(), 1);
        levels
            .longhaul(&levels.from, &["drain", "--now", "--yes"])
            .says(0, &["sent 0"]);

        let stage = Stage::new(On::Embedded).await;
        stage
            .longhaul(&["delays", "drain", "--now", "--yes"])
            .says(2, &["only RabbitMQ"]);
        stage.done();
        levels.stage.done();
    });
}

#[test]
fn when_another_operator_is_at_the_levels_the_second_one_is_told() {
    run(async {
        let levels = Levels::new().await;
        levels.send(&[SystemClock.now() + HOUR]).await;
        let rabbit = levels.transport(&levels.from).await;
        let pass = rabbit.look_through_delays().await.unwrap();
        levels
            .longhaul(&levels.from, &["drain", "--now", "--yes"])
            .says(1, &["another operator"]);
        pass.close().await.unwrap();
        rabbit.close().await;
        levels
            .longhaul(&levels.from, &["drain", "--now", "--yes"])
            .says(0, &["sent 1 messages, 0 are left"]);
        levels.stage.done();
    });
}

#[test]
fn when_a_file_is_damaged_or_of_another_kind_or_its_queue_is_gone_it_says_so() {
    run(async {
        let levels = Levels::new().await;
        let folder = levels.stage.folder.path();
        let line = |to: &Address| {
            format!(
                "{{\"longhaul_export\":1,\"id\":\"d-1\",\"headers\":[],\"body\":\"{{}}\",\"to\":\"{to}\",\
                 \"due\":\"2031-11-21T00:00:00Z\"}}\n"
            )
        };
        let good = line(&levels.stage.source);
        let torn = file(folder, "torn.jsonl", &format!("{good}{}", &good[..40]));
        levels
            .longhaul(&levels.from, &["import", &torn])
            .says(2, &["line 2", "--torn-end"]);
        levels
            .longhaul(&levels.from, &["import", &torn, "--torn-end"])
            .says(0, &["imported 1 of 1"]);
        let damaged = file(folder, "damaged.jsonl", &format!("{}\n{good}", &good[..40]));
        levels
            .longhaul(&levels.from, &["import", &damaged, "--torn-end"])
            .says(2, &["line 1"]);
        let delayed = file(folder, "delayed.jsonl", &good);
        levels
            .stage
            .longhaul(&["errors", "import", &delayed])
            .says(2, &["line 1", "longhaul delays import"]);
        let failed = "{\"longhaul_export\":1,\"id\":\"m-1\",\"headers\":[],\"body\":\"{}\"}\n";
        let failed = file(folder, "failed.jsonl", failed);
        levels
            .longhaul(&levels.from, &["import", &failed])
            .says(2, &["line 1", "longhaul errors import"]);
        let gone = Address::new(format!("{}-gone", levels.stage.source)).unwrap();
        let gone = file(folder, "gone.jsonl", &line(&gone));
        levels
            .longhaul(&levels.from, &["import", &gone])
            .says(1, &["d-1"]);
        levels.stage.done();
    });
}
