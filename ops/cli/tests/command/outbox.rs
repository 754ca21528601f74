//! What an endpoint that is down has not sent yet, sent by the command.

use std::collections::BTreeSet;
use std::ops::Range;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use longhaul::prelude::*;
use longhaul_core::envelope::Envelope;
use longhaul_core::headers::Headers;
use longhaul_core::ids::{Randomness, SeededRandomness};
use longhaul_core::store::{PendingChange, PendingKind, PendingRow, Persistence as _, UnitOfWork};
use longhaul_core::transport::{Declare, Destination, Topology, Transport};
use serde::{Deserialize, Serialize};

use crate::stage::{Answer, On, Stage, header, id, run, until};

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
        .route::<ChargeCard>(stage.nowhere().as_str())
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
        queues: vec![stage.nowhere()],
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
    let queue = stage.nowhere();
    life(&stage, ORDERS).await;
    outbox(&stage, "flush", &["--dry-run"]).says(0, &["would send 30 of 30", &format!("30 to {queue}")]);
    outbox(&stage, "flush", &[]).says(1, &["sent 0 of 30", "or correct the route"]);
    make_queue(&stage).await;
    let listed = outbox(&stage, "list", &["--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
    outbox(&stage, "flush", &[]).says(0, &["sent 30 of 30", &format!("30 to {queue}")]);
    outbox(&stage, "flush", &[]).says(0, &["sent 0 of 0"]);
    outbox(&stage, "list", &[]).says(0, &["everything is sent"]);
    let sent = stage.messages(&queue, 30).await;
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

/// Adds rows to the outbox, as an endpoint leaves them that is killed before it can send.
async fn leave_unsent(stage: &Stage, orders: Range<u64>) {
    const AT_ONCE: usize = 1_000;
    let row = |order: u64| {
        let id = MessageId::new(format!("m-{order}")).unwrap();
        let headers = Headers::from_iter([
            ("longhaul.type", "billing.charge_card.v1"),
            ("longhaul.content-type", "application/json"),
            ("longhaul.intent", "send"),
        ]);
        let body = format!("{{\"order\":{order}}}");
        PendingRow {
            envelope: Envelope::new(id.clone(), headers, body.into()),
            id,
            kind: PendingKind::Message,
            owner: None,
            name: String::new(),
            to: Destination::Queue(stage.nowhere()),
            due: None,
            attention: Timestamp::UNIX_EPOCH,
            token: 0,
            alarm_sent: false,
            parked: None,
        }
    };
    let database = Database::open(stage.data()).unwrap();
    let store = Sled::on(database.clone()).open(&stage.source).await.unwrap();
    let mut rows = orders.map(row).peekable();
    while rows.peek().is_some() {
        let some = rows.by_ref().take(AT_ONCE);
        let work = UnitOfWork {
            pending: some.map(|row| PendingChange::Add(Box::new(row))).collect(),
            ..UnitOfWork::default()
        };
        store.commit(work).await.unwrap();
    }
    drop(store);
    database.close().unwrap();
}

/// How many messages the outbox still has.
fn left(stage: &Stage) -> u64 {
    let left = outbox(stage, "flush", &["--dry-run", "--json"]);
    let left: serde_json::Value = serde_json::from_str(&left.out).unwrap();
    left["seen"].as_u64().unwrap()
}

/// Starts to flush, and kills that as soon as the broker has something of it and a while has passed.
async fn flush_and_kill(stage: &Stage, after: Duration) {
    let open = stage.open().await;
    let depth = async || open.admin.depth(&stage.nowhere()).await.unwrap().ready;
    let before = depth().await;
    let data = stage.data().display().to_string();
    let command = stage.command(&arguments(stage, "flush", &data, &[]));
    let mut flush = tokio::process::Command::from(command);
    let mut child = flush.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("it sends, or ends", async || {
        depth().await > before || child.try_wait().unwrap().is_some()
    })
    .await;
    // It may have come to its end by then.
    drop(tokio::time::timeout(after, child.wait()).await);
    child.kill().await.unwrap();
    open.close().await;
}

#[test]
fn when_a_flush_is_killed_at_random_moments_each_message_is_sent() {
    const MANY: u64 = 5_000;
    const MIDWAY: u32 = 3;
    const MOST_KILLS: u32 = 20;
    run(async {
        let stage = Stage::new(On::RabbitMq).await;
        make_queue(&stage).await;
        let moments = SeededRandomness::new(5);
        let (mut filled, mut before) = (0, 0);
        let (mut midway, mut kills) = (0, 0);
        while midway < MIDWAY {
            assert!(kills < MOST_KILLS, "it was killed midway {midway} times only");
            if before == 0 {
                // It had come to its end: there is more to do for the next one.
                leave_unsent(&stage, filled..filled + MANY).await;
                filled += MANY;
                before = MANY;
            }
            flush_and_kill(&stage, Duration::from_millis(moments.next_u64() % 150)).await;
            kills += 1;
            let after = left(&stage);
            midway += u32::from(0 < after && after < before);
            before = after;
        }
        outbox(&stage, "flush", &[]).says(0, &[]);
        outbox(&stage, "list", &[]).says(0, &["everything is sent"]);
        // What was sent twice has the same id.
        let wanted: BTreeSet<_> = (0..filled).map(|order| format!("m-{order}")).collect();
        assert_eq!(stage.ids_until(&stage.nowhere(), wanted.len()).await, wanted);
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
