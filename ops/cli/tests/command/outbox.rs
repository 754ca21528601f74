//! What an endpoint that is down has not sent yet, sent by the command.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use longhaul::prelude::*;
use longhaul_core::address::Address;
use longhaul_core::ids::{Randomness, SeededRandomness};
use longhaul_core::transport::{Declare, Topology, Transport};
use serde::{Deserialize, Serialize};

use crate::stage::{Answer, On, Stage, header, id, run};

const ORDERS: u64 = 30;

#[derive(Command, Serialize, Deserialize)]
#[message("sales.place_order.v1")]
struct PlaceOrder {
    order: u64,
}

#[derive(Command, Serialize, Deserialize)]
#[message("billing.charge_card.v1")]
struct ChargeCard {
    order: u64,
}

/// Passes orders on, to a queue that is not there.
struct Sales;

impl Handler<PlaceOrder> for Sales {
    async fn handle(&self, placed: PlaceOrder, ctx: &mut Context) -> HandlerResult {
        ctx.send(ChargeCard { order: placed.order });
        Ok(())
    }
}

fn nowhere(stage: &Stage) -> Address {
    Address::new(format!("{}-nowhere", stage.source)).unwrap()
}

/// One life of the endpoint, with its store in the directory; it ends when all orders are handled.
async fn life(stage: &Stage, orders: u64) {
    let database = Database::open(stage.data()).unwrap();
    let transport: Arc<dyn Transport> = if stage.on == On::Embedded {
        Arc::new(LocalBroker::durable(database.clone(), Arc::new(SystemClock)).unwrap())
    } else {
        stage.open().await.transport
    };
    let endpoint = Endpoint::builder(stage.source.as_str())
        .transport(transport)
        .persistence(Sled::on(database.clone()))
        .error_queue(stage.errors.as_str())
        .handler::<PlaceOrder>(Sales)
        .route::<PlaceOrder>(stage.source.as_str())
        .route::<ChargeCard>(nowhere(stage).as_str())
        .build()
        .await
        .unwrap();
    let session = endpoint.session();
    for order in 0..orders {
        session.send(PlaceOrder { order }).await.unwrap();
    }
    let monitor = endpoint.monitor();
    let all = async move {
        while monitor.stats().handled < orders {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ran = tokio::time::timeout(Duration::from_secs(60), endpoint.run_until(all)).await;
    ran.expect("in time").unwrap();
    drop(session);
    database.close().unwrap();
}

/// Makes the queue that was missing.
async fn make_queue(stage: &Stage) {
    let open = stage.open().await;
    let topology = Topology {
        queues: vec![nowhere(stage)],
        ..Topology::default()
    };
    open.transport.prepare(&topology, Declare::Declare).await.unwrap();
    open.close().await;
}

const fn name(on: On) -> &'static str {
    match on {
        On::Embedded => "embedded",
        On::RabbitMq => "rabbitmq",
        #[cfg(feature = "sqs")]
        On::Sqs => "sqs",
    }
}

/// `longhaul outbox …` of the endpoint.
fn outbox(stage: &Stage, what: &str, more: &[&str]) -> Answer {
    let data = stage.data().display().to_string();
    stage.longhaul(&arguments(stage, what, &data, more))
}

fn arguments<'a>(stage: &'a Stage, what: &'a str, data: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let source = stage.source.as_str();
    let of = ["--endpoint", source, "--data", data, "--broker", name(stage.on)];
    [&["outbox", what], &of[..], more].concat()
}

#[test]
fn when_an_endpoint_on_the_embedded_broker_is_down_its_outbox_is_sent_once_its_queue_is_there() {
    run(sent_once_its_queue_is_there(On::Embedded));
}

#[test]
fn when_an_endpoint_on_rabbitmq_is_down_its_outbox_is_sent_once_its_queue_is_there() {
    run(sent_once_its_queue_is_there(On::RabbitMq));
}

#[cfg(feature = "sqs")]
#[test]
fn when_an_endpoint_on_sqs_is_down_its_outbox_is_sent_once_its_queue_is_there() {
    run(sent_once_its_queue_is_there(On::Sqs));
}

async fn sent_once_its_queue_is_there(on: On) {
    let stage = Stage::new(on).await;
    let queue = nowhere(&stage);
    life(&stage, ORDERS).await;
    outbox(&stage, "flush", &["--dry-run"]).says(0, &["would send 30 of 30", &format!("30 to {queue}")]);
    outbox(&stage, "flush", &[]).says(1, &["sent 0 of 30", "or correct the route"]);
    make_queue(&stage).await;
    let listed = outbox(&stage, "list", &["--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
    outbox(&stage, "flush", &[]).says(0, &["sent 30 of 30", &format!("30 to {queue}")]);
    outbox(&stage, "flush", &[]).says(0, &["sent 0 of 0"]);
    outbox(&stage, "list", &[]).says(0, &["everything is sent"]);
    let sent = stage.messages(&queue).await;
    assert_eq!(sent.len(), 30);
    for message in &sent {
        let id = id(message);
        let was_listed = |row: &serde_json::Value| row["id"] == id.as_str();
        assert!(
            listed["outbox"].as_array().unwrap().iter().any(was_listed),
            "{id}"
        );
        assert_eq!(header(message, "longhaul.type"), Some("billing.charge_card.v1"));
    }
    stage.done();
}

#[test]
fn when_a_flush_is_killed_at_random_moments_each_message_is_sent() {
    const MANY: u64 = 500;
    const MOST_KILLS: u64 = 200;
    run(async {
        let stage = Stage::new(On::RabbitMq).await;
        life(&stage, MANY).await;
        make_queue(&stage).await;
        let data = stage.data().display().to_string();
        let moments = SeededRandomness::new(5);
        // Later each time, until it is killed in the middle: how long it takes to begin depends on the machine.
        let mut midway = false;
        for kills in 0..MOST_KILLS {
            let mut flush =
                tokio::process::Command::from(stage.command(&arguments(&stage, "flush", &data, &[])));
            let mut child = flush.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let moment = Duration::from_millis(10 + kills * 4 + moments.next_u64() % 8);
            // It may have come to its end by then.
            drop(tokio::time::timeout(moment, child.wait()).await);
            child.kill().await.unwrap();
            let left = outbox(&stage, "flush", &["--dry-run", "--json"]);
            let left: serde_json::Value = serde_json::from_str(&left.out).unwrap();
            let seen = left["seen"].as_u64().unwrap();
            midway = 0 < seen && seen < MANY;
            if midway || seen == 0 {
                break;
            }
        }
        assert!(midway, "it was not killed in the middle");
        outbox(&stage, "flush", &[]).says(0, &[]);
        outbox(&stage, "list", &[]).says(0, &["everything is sent"]);
        // What was sent twice has the same id.
        let sent: BTreeSet<_> = stage.messages(&nowhere(&stage)).await.iter().map(id).collect();
        assert_eq!(sent.len() as u64, MANY);
        stage.done();
    });
}

#[test]
fn when_there_is_no_such_endpoint_no_store_is_made_for_it() {
    run(async {
        for on in [On::Embedded, On::RabbitMq] {
            let stage = Stage::new(on).await;
            // A directory, but nothing of this endpoint's.
            drop(Database::open(stage.data()).unwrap());
            let data = stage.data().display().to_string();
            let broker = name(on);
            let of = ["--endpoint", "nobody", "--data", &data, "--broker", broker];
            for _ in 0..2 {
                stage
                    .longhaul(&[&["outbox", "flush"], &of[..]].concat())
                    .says(1, &["nobody", "has stored nothing"]);
            }
            stage.done();
        }
        let stage = Stage::new(On::RabbitMq).await;
        stage
            .longhaul(&["outbox", "flush", "--endpoint", "sales"])
            .says(2, &["--data"]);
        stage.done();
    });
}
