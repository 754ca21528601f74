//! What an endpoint has stored, looked at while it is down.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use longhaul::prelude::*;
use longhaul_core::store::{Persistence as _, RecordChange, RecordKey, UnitOfWork};
use longhaul_sagas::Instance;
use serde::{Deserialize, Serialize};

use crate::stage::{On, Stage, answer, rabbit, run, until, url};

#[derive(Clone, Copy, Command, Serialize, Deserialize)]
#[message("sales.place_order.v1")]
struct PlaceOrder {
    order: u64,
}

#[derive(Command, Serialize, Deserialize)]
#[message("billing.charge_card.v1")]
struct ChargeCard {
    order: u64,
}

/// Waits for a payment that never comes.
#[derive(Serialize, Deserialize)]
struct Order {
    order: u64,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Deadline {
    PaymentOverdue,
}

impl Saga for Order {
    const NAME: &'static str = "order";
    type Id = u64;
    type Timeout = Deadline;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &PlaceOrder| m.order, Self::start);
        saga.times_out(Self::on_deadline);
    }
}

impl Order {
    fn start(placed: PlaceOrder, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        // Nobody has that queue, so it stays in the outbox.
        ctx.send(ChargeCard { order: placed.order });
        ctx.request_timeout(Duration::from_secs(86_400), Deadline::PaymentOverdue);
        Ok(Self { order: placed.order })
    }

    fn on_deadline(&mut self, deadline: Deadline, ctx: &mut SagaContext<Self>) -> HandlerResult {
        match deadline {
            Deadline::PaymentOverdue => ctx.complete(),
        }
        Ok(())
    }
}

/// One life of the endpoint, until nothing is left to do now.
async fn life(stage: &Stage, orders: std::ops::Range<u64>) {
    let database = Database::open(stage.data()).unwrap();
    let broker = LocalBroker::durable(database.clone(), Arc::new(SystemClock)).unwrap();
    let endpoint = Endpoint::builder(stage.source.as_str())
        .transport(broker.clone())
        .persistence(Sled::on(database.clone()))
        .error_queue(stage.errors.as_str())
        .saga::<Order>()
        .route::<PlaceOrder>(stage.source.as_str())
        .route::<ChargeCard>("nowhere")
        .build()
        .await
        .unwrap();
    let session = endpoint.session();
    let monitor = endpoint.monitor();
    let (done, stop) = tokio::sync::oneshot::channel::<()>();
    let running = endpoint.run_until(async {
        drop(stop.await);
    });
    let steps: std::pin::Pin<Box<dyn Future<Output = ()>>> = Box::pin(async {
        for order in orders.clone() {
            session.send(PlaceOrder { order }).await.unwrap();
        }
        let wait = async {
            let busy = || {
                let length = broker.queue_lengths()[&stage.source];
                length.ready + length.unsettled > 0
            };
            while busy() || monitor.stats().handled < orders.end - orders.start {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait)
            .await
            .expect("in time");
        drop(done);
    });
    let (ran, ()) = tokio::join!(Box::pin(running), steps);
    ran.unwrap();
    drop((broker, session));
    database.close().unwrap();
}

/// One life of the endpoint on RabbitMQ, with its store in the directory, until all orders are taken.
async fn life_on_rabbitmq(stage: &Stage, orders: std::ops::Range<u64>) {
    let database = Database::open(stage.data()).unwrap();
    let endpoint = Endpoint::builder(stage.source.as_str())
        .transport(rabbit().await)
        .persistence(Sled::on(database.clone()))
        .error_queue(stage.errors.as_str())
        .saga::<Order>()
        .route::<PlaceOrder>(stage.source.as_str())
        .route::<ChargeCard>(stage.nowhere().as_str())
        .build()
        .await
        .unwrap();
    let (session, monitor) = (endpoint.session(), endpoint.monitor());
    let (done, stop) = tokio::sync::oneshot::channel::<()>();
    let running = endpoint.run_until(async {
        drop(stop.await);
    });
    let steps: std::pin::Pin<Box<dyn Future<Output = ()>>> = Box::pin(async {
        for order in orders.clone() {
            session.send(PlaceOrder { order }).await.unwrap();
        }
        let taken = orders.end - orders.start;
        until("all orders are taken", async || monitor.stats().handled >= taken).await;
        drop(done);
    });
    let (ran, ()) = tokio::join!(Box::pin(running), steps);
    ran.unwrap();
    drop(session);
    database.close().unwrap();
}

/// What can be asked about an endpoint of `stage` on RabbitMQ, with its store in the directory.
fn asked<'a>(stage: &Stage, what: &[&'a str], endpoint: &'a str, data: &'a str) -> Vec<&'a str> {
    assert_eq!(stage.on, On::RabbitMq);
    let of = ["--endpoint", endpoint, "--data", data, "--broker", "rabbitmq"];
    [what, &of].concat()
}

/// Tells a saga of the endpoint something; not really.
const TOLD: [&str; 7] = ["sagas", "retry-step", "order", "1", "--dry-run", "--by", "alice"];

fn count(list: &serde_json::Value) -> usize {
    list.as_array().unwrap().len()
}

#[test]
fn when_an_endpoint_on_rabbitmq_is_down_what_it_has_stored_is_shown() {
    run(async {
        let stage = Stage::new(On::RabbitMq).await;
        life_on_rabbitmq(&stage, 0..2).await;
        let data = stage.data();
        let data = data.to_str().unwrap();
        let sales = stage.source.to_string();
        let sagas = asked(&stage, &["sagas", "list", "order"], &sales, data);
        let timeouts = asked(&stage, &["timeouts", "list"], &sales, data);
        assert_eq!(count(&stage.json(&sagas)["sagas"]), 2);
        assert_eq!(count(&stage.json(&timeouts)["timeouts"]), 2);
        // Of another endpoint nothing is there: it can't be shown, and can be told something all the same.
        let other = stage.errors.to_string();
        stage
            .longhaul(&asked(&stage, &["timeouts", "list"], &other, data))
            .says(1, &["has stored nothing there"]);
        let unseen = &["would tell", "can't be looked at from here"][..];
        stage
            .longhaul(&asked(&stage, &TOLD, &other, data))
            .says(0, unseen);
        stage
            .longhaul(&asked(&stage, &TOLD, &sales, "/nowhere"))
            .says(0, unseen);
        // So in a process that has it open and does not listen.
        let database = Database::open(stage.data()).unwrap();
        stage.longhaul(&sagas).says(1, &["Socket::listen"]);
        stage
            .longhaul(&asked(&stage, &TOLD, &sales, data))
            .says(0, unseen);
        database.close().unwrap();
        stage.done();
    });
}

#[test]
fn when_an_endpoint_on_rabbitmq_listens_what_it_has_stored_is_shown_and_changed() {
    run(async {
        let stage = Stage::new(On::RabbitMq).await;
        life_on_rabbitmq(&stage, 0..2).await;
        let data = stage.data();
        let data = data.to_str().unwrap();
        let sales = stage.source.to_string();
        let database = Database::open(stage.data()).unwrap();
        let broker = Arc::new(rabbit().await);
        let stores = Sled::on(database.clone());
        let socket = longhaul_socket::Socket::listen(&database, &broker, &stores).unwrap();
        // The broker is spoken to from this runtime.
        let answered = async |arguments: &[&str]| {
            let command = stage.command(arguments);
            tokio::task::spawn_blocking(|| answer(command)).await.unwrap()
        };
        let ask = async |arguments: &[&str]| {
            let answer = answered(&[arguments, &["--json"]].concat()).await;
            serde_json::from_str::<serde_json::Value>(&answer.out)
                .unwrap_or_else(|_| panic!("no JSON: {answer:?}"))
        };
        let timeouts = asked(&stage, &["timeouts", "list"], &sales, data);
        assert_eq!(
            count(&ask(&asked(&stage, &["sagas", "list", "order"], &sales, data)).await["sagas"]),
            2
        );
        answered(&asked(&stage, &TOLD, &sales, data))
            .await
            .says(1, &["it is active, and no step of it has failed"]);
        let id = ask(&timeouts).await["timeouts"][0]["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let cancel = asked(&stage, &["timeouts", "cancel", &id], &sales, data);
        assert_eq!(ask(&cancel).await["cancelled"]["id"], id.as_str());
        assert_eq!(count(&ask(&timeouts).await["timeouts"]), 1);
        // The queue is there, on the same broker; the store is not, and is not made.
        let other = stage.errors.to_string();
        answered(&asked(&stage, &["timeouts", "list"], &other, data))
            .await
            .says(1, &["has stored nothing"]);
        assert!(!stores.has(&stage.errors).unwrap());
        // All goes over the socket where no other broker is named.
        let embedded = ["--data", data, "--broker", "embedded"];
        let shown = [
            &["sagas", "show", "order", "1", "--endpoint", &sales],
            &embedded[..],
        ]
        .concat();
        assert_eq!(ask(&shown).await["status"], "active");
        let errors = [&["errors", "list"], &embedded[..]].concat();
        assert_eq!(count(&ask(&errors).await["messages"]), 0);
        drop(socket);
        broker.close().await;
        drop((broker, stores));
        database.close().unwrap();
        stage.done();
    });
}

/// The first of the timeouts was cancelled, the second one moved.
fn instances_know(stage: &Stage, timeouts: &serde_json::Value) {
    let endpoint = stage.source.to_string();
    let of = ["--endpoint", &endpoint];
    let order = |at: usize| {
        let owner = timeouts[at]["owner"].as_str().unwrap();
        owner.rsplit('/').next().unwrap().to_owned()
    };
    let show = |at| stage.json(&[&["sagas", "show", "order", &order(at)], &of[..]].concat());
    assert_eq!(show(0)["timeouts"], serde_json::json!([]));
    let moved = &show(1)["timeouts"][0];
    assert_eq!(moved["id"], timeouts[1]["id"]);
    assert_ne!(moved["due"], timeouts[1]["due"]);
    stage
        .longhaul(&[&["sagas", "history", "order", &order(0)], &of[..]].concat())
        .says(0, &["cancel timeout PaymentOverdue", "operator"]);
}

#[test]
fn when_an_endpoint_is_down_what_it_has_stored_is_shown_and_its_timeouts_can_be_changed() {
    run(async {
        let stage = Stage::new(On::Embedded).await;
        let endpoint = stage.source.to_string();
        life(&stage, 0..3).await;
        let of = ["--endpoint", &endpoint];
        let ask = |arguments: &[&str]| stage.json(&[arguments, &of].concat());

        let sagas = ask(&["sagas", "list", "order"]);
        assert_eq!(sagas["sagas"].as_array().unwrap().len(), 3, "{sagas}");
        assert_eq!(
            (&sagas["sagas"][1]["status"], &sagas["sagas"][1]["timeouts"]),
            (&"active".into(), &1.into())
        );
        assert_eq!(
            ask(&["sagas", "list", "order", "--status", "stuck"])["sagas"]
                .as_array()
                .unwrap()
                .len(),
            0
        );
        let saga = ask(&["sagas", "show", "order", "1"]);
        assert_eq!(
            (&saga["state"]["order"], &saga["status"]),
            (&1.into(), &"active".into())
        );
        stage
            .longhaul(&[&["sagas", "show", "order", "9"], &of[..]].concat())
            .says(1, &["there is none"]);

        let outbox = ask(&["outbox", "list"]);
        assert_eq!(outbox["outbox"].as_array().unwrap().len(), 3, "{outbox}");
        assert_eq!(
            (&outbox["outbox"][0]["to"], &outbox["outbox"][0]["type"]),
            (&"nowhere".into(), &"billing.charge_card.v1".into())
        );

        let timeouts = ask(&["timeouts", "list"]);
        let id = |at: usize| timeouts["timeouts"][at]["id"].as_str().unwrap().to_owned();
        assert_eq!(timeouts["timeouts"].as_array().unwrap().len(), 3, "{timeouts}");
        stage
            .longhaul(&[&["timeouts", "cancel", &id(0)], &of[..]].concat())
            .says(0, &["cancelled", &id(0)]);
        stage
            .longhaul(&[&["timeouts", "move", &id(1), "--in", "0s"], &of[..]].concat())
            .says(0, &["moved"]);
        stage
            .longhaul(&[&["timeouts", "cancel", &id(0)], &of[..]].concat())
            .says(1, &["there is none"]);
        instances_know(&stage, &timeouts["timeouts"]);
        assert_eq!(
            ask(&["timeouts", "list"])["timeouts"].as_array().unwrap().len(),
            2
        );

        // What was moved fires as soon as the endpoint runs; what was cancelled does not.
        life(&stage, 3..4).await;
        let mut statuses = Vec::new();
        for _ in 0..100 {
            let sagas = ask(&["sagas", "list", "order"]);
            statuses = sagas["sagas"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["status"].as_str().unwrap().to_owned())
                .collect();
            // What an earlier life has not come to, the next one does.
            if statuses.len() == 4 && statuses.iter().any(|status| status == "completed") {
                break;
            }
            life(&stage, 0..0).await;
        }
        statuses.sort();
        assert_eq!(statuses, ["active", "active", "active", "completed"]);
        stage.done();
    });
}

#[test]
fn when_there_is_no_such_endpoint_or_no_directory_it_says_so() {
    run(async {
        let stage = Stage::new(On::Embedded).await;
        for arguments in [
            &["sagas", "list", "order"][..],
            &["timeouts", "list"],
            &["outbox", "list"],
        ] {
            let wrong = [arguments, &["--endpoint", "nobody"]].concat();
            stage
                .longhaul(&wrong)
                .says(1, &["nobody", "no queue of that name"]);
            let right = [arguments, &["--endpoint", stage.source.as_str()]].concat();
            stage.longhaul(&right).says(0, &[]);
        }
        stage
            .longhaul(&["timeouts", "move", "t", "--endpoint", "e", "--to", "tomorrow"])
            .says(2, &["UTC"]);
        stage
            .longhaul(&["timeouts", "move", "t", "--endpoint", "e"])
            .says(2, &["--to"]);
        stage.done();
        let mut command = crate::stage::bare(&["timeouts", "list", "--endpoint", "sales"]);
        command.env("LONGHAUL_AMQP_URL", url());
        answer(command).says(2, &["--data"]);
    });
}

#[test]
fn when_an_endpoint_is_on_a_broker_elsewhere_what_it_is_told_lies_in_its_queue() {
    run(async {
        for on in [On::RabbitMq, On::Embedded] {
            let stage = Stage::new(on).await;
            let endpoint = stage.source.to_string();
            let of = ["--endpoint", &endpoint, "--by", "alice"];
            let ask = |arguments: &[&str]| stage.longhaul(&[arguments, &of].concat());
            let skip = [
                "sagas",
                "skip-step",
                "order",
                "7",
                "--step",
                "s-1",
                "--reason",
                "refunded",
            ];
            if on == On::Embedded {
                // Here it can be looked at, and there is none.
                ask(&skip).says(1, &["there is none"]);
                stage.done();
                continue;
            }
            ask(&skip).says(2, &["--yes"]);
            ask(&[&skip[..], &["--dry-run"]].concat()).says(0, &["can't be looked at from here"]);
            stage.has(0, 0).await;
            ask(&[&skip[..], &["--yes", "--life", "m-0"]].concat()).says(0, &["told", &endpoint]);
            ask(&["sagas", "fail", "order", "7", "--reason", "fraud", "--yes"]).says(0, &["told"]);
            stage
                .longhaul(&["errors", "let-pass", "m-1", "m-2", "--endpoint", &endpoint])
                .says(0, &["2 messages"]);
            let told = stage.messages(&stage.source, 4).await;
            let bodies: Vec<serde_json::Value> = told
                .iter()
                .map(|message| serde_json::from_slice(&message.body).unwrap())
                .collect();
            let step = serde_json::json!({ "skip-step": { "step": "s-1" } });
            assert_eq!((&bodies[0]["action"], &bodies[0]["by"]), (&step, &"alice".into()));
            assert_eq!(
                (&bodies[0]["incarnation"], &bodies[0]["reason"]),
                (&"m-0".into(), &"refunded".into())
            );
            assert_eq!(
                (&bodies[1]["action"], &bodies[2]["first"]),
                (&"compensate".into(), &"m-1".into())
            );
            let types = told
                .iter()
                .map(|message| crate::stage::header(message, "longhaul.type").unwrap());
            let types: Vec<_> = types.collect();
            assert_eq!(
                types[..3],
                [
                    "longhaul.operate.order",
                    "longhaul.operate.order",
                    "longhaul.let_pass.v1"
                ]
            );
            let nobody = [&skip[..], &["--endpoint", "cli-nobody", "--by", "alice", "--yes"]].concat();
            stage
                .longhaul(&nobody)
                .says(1, &["cli-nobody", "none of that name"]);
            stage.done();
        }
    });
}

#[test]
fn when_a_record_can_not_be_read_showing_it_ends_with_one() {
    run(async {
        let stage = Stage::new(On::Embedded).await;
        let database = Database::open(stage.data()).unwrap();
        let store = Sled::on(database.clone()).open(&stage.source).await.unwrap();
        let spoilt = RecordChange::Put {
            key: RecordKey::new(Instance::collection("order"), "7"),
            expected: None,
            body: "spoilt".into(),
            expires: None,
        };
        let work = UnitOfWork {
            records: vec![spoilt],
            ..UnitOfWork::default()
        };
        store.commit(work).await.unwrap();
        drop(store);
        database.close().unwrap();
        let of = ["--endpoint", stage.source.as_str()];
        stage
            .longhaul(&[&["sagas", "show", "order", "7"], &of[..]].concat())
            .says(1, &["order"]);
        stage
            .longhaul(&[&["sagas", "list", "order"], &of[..]].concat())
            .says(0, &["7", "unreadable"]);
        stage.done();
    });
}
