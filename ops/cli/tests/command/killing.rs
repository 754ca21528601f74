//! `kill -9` in the middle of a replay, again and again: nothing is lost, and no effect is doubled.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longhaul::prelude::*;
use longhaul_core::ids::{Randomness, SeededRandomness};
use serde::{Deserialize, Serialize};

use crate::stage::{On, Stage, rabbit, run, until};

const MESSAGES: u64 = 400;
const KILLS: u32 = 6;

#[derive(Command, Serialize, Deserialize)]
#[message("billing.charge_card.v1")]
struct ChargeCard {
    order: u64,
}

/// Refuses everything until it is told otherwise. The ledger has no unique keys: what is done twice stands there twice.
struct Gateway {
    refuses: Arc<AtomicBool>,
    ledger: Arc<Mutex<Vec<u64>>>,
}

impl Handler<ChargeCard> for Gateway {
    async fn handle(&self, charge: ChargeCard, _: &mut Context) -> HandlerResult {
        if self.refuses.load(Ordering::SeqCst) {
            return Err(HandlerError::permanent("charge the card: the bank is closed"));
        }
        self.ledger.lock().unwrap().push(charge.order);
        Ok(())
    }
}

/// Replays with a process that is killed at random moments.
async fn replay_and_kill(stage: &Stage, seed: u64) {
    let moments = SeededRandomness::new(seed);
    for _ in 0..KILLS {
        let mut command = tokio::process::Command::from(
            stage.command(&["errors", "replay", "--all", "--yes", "--rate", "1000"]),
        );
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let moment = Duration::from_millis(30 + moments.next_u64() % 250);
        // It may have come to its end by then.
        drop(tokio::time::timeout(moment, child.wait()).await);
        child.kill().await.unwrap();
    }
}

fn each_once(ledger: &Mutex<Vec<u64>>) {
    let mut times: BTreeMap<u64, u32> = BTreeMap::new();
    for order in ledger.lock().unwrap().iter() {
        *times.entry(*order).or_default() += 1;
    }
    let wrong: Vec<_> = times.iter().filter(|(_, times)| **times != 1).collect();
    assert!(wrong.is_empty(), "not once: {wrong:?}");
    assert_eq!(times.len() as u64, MESSAGES, "lost");
}

#[test]
fn when_a_replay_on_rabbitmq_is_killed_at_random_moments_each_effect_happens_once() {
    run(async {
        let stage = Stage::new(On::RabbitMq).await;
        let (refuses, ledger) = (Arc::new(AtomicBool::new(true)), Arc::default());
        let gateway = Gateway {
            refuses: Arc::clone(&refuses),
            ledger: Arc::clone(&ledger),
        };
        let rabbit = rabbit().await;
        let endpoint = Endpoint::builder(stage.source.as_str())
            .transport(rabbit)
            .persistence(Memory::new())
            .error_queue(stage.errors.as_str())
            .handler::<ChargeCard>(gateway)
            .route::<ChargeCard>(stage.source.as_str())
            .build()
            .await
            .unwrap();
        let session = endpoint.session();
        let steps = async {
            for order in 0..MESSAGES {
                session.send(ChargeCard { order }).await.unwrap();
            }
            let open = stage.open().await;
            let depth = async || open.admin.depth(&stage.errors).await.unwrap().ready;
            until("all fail", async || depth().await == MESSAGES).await;
            refuses.store(false, Ordering::SeqCst);
            replay_and_kill(&stage, 7).await;
            // What a process held that was killed comes back a little after it.
            until("all are done, and nothing is left to replay", async || {
                let answer = stage.longhaul(&["errors", "replay", "--all", "--yes"]);
                answer.says(0, &["replayed"]);
                let all_done = ledger.lock().unwrap().len() as u64 >= MESSAGES;
                all_done && answer.out.contains("replayed 0 of 0") && depth().await == 0
            })
            .await;
            // What was sent twice is handled by now too: it lies before the next message.
            session.send(ChargeCard { order: MESSAGES }).await.unwrap();
            until("the last one is done", async || {
                ledger.lock().unwrap().contains(&MESSAGES)
            })
            .await;
            ledger.lock().unwrap().retain(|order| *order != MESSAGES);
            open.close().await;
        };
        Box::pin(beside(endpoint, steps)).await;
        each_once(&ledger);
        stage.done();
    });
}

#[test]
fn when_a_replay_on_the_embedded_broker_is_killed_at_random_moments_each_effect_happens_once() {
    run(async {
        let stage = Stage::new(On::Embedded).await;
        let refuses = Arc::new(AtomicBool::new(true));
        let ledger: Arc<Mutex<Vec<u64>>> = Arc::default();
        life(&stage, &refuses, &ledger, async |session, _| {
            for order in 0..MESSAGES {
                session.send(ChargeCard { order }).await.unwrap();
            }
        })
        .await;
        stage.has(MESSAGES, 0).await;
        refuses.store(false, Ordering::SeqCst);
        replay_and_kill(&stage, 11).await;
        stage
            .longhaul(&["errors", "replay", "--all", "--yes"])
            .says(0, &[]);
        stage.longhaul(&["errors", "list"]).says(0, &["is empty"]);
        life(&stage, &refuses, &ledger, async |_, _| {}).await;
        each_once(&ledger);
        stage.done();
    });
}

/// One life of the endpoint, until its queue is empty after the steps.
async fn life(
    stage: &Stage,
    refuses: &Arc<AtomicBool>,
    ledger: &Arc<Mutex<Vec<u64>>>,
    steps: impl AsyncFnOnce(Session, &LocalBroker),
) {
    let database = Database::open(stage.data()).unwrap();
    let broker = LocalBroker::durable(database.clone(), Arc::new(SystemClock)).unwrap();
    let gateway = Gateway {
        refuses: Arc::clone(refuses),
        ledger: Arc::clone(ledger),
    };
    let endpoint = Endpoint::builder(stage.source.as_str())
        .transport(broker.clone())
        .persistence(Sled::on(database.clone()))
        .error_queue(stage.errors.as_str())
        .handler::<ChargeCard>(gateway)
        .route::<ChargeCard>(stage.source.as_str())
        .build()
        .await
        .unwrap();
    let session = endpoint.session();
    let all = async {
        steps(session, &broker).await;
        until("the queue is empty", async || {
            broker.len(&stage.source) == Some(0)
        })
        .await;
    };
    beside(endpoint, all).await;
    drop(broker);
    database.close().unwrap();
}

/// Runs an endpoint until the steps are done. (`run_until` wants a future that can move between threads; a test's can't.)
async fn beside(endpoint: Endpoint, steps: impl Future<Output = ()>) {
    let (done, stop) = tokio::sync::oneshot::channel::<()>();
    let running = endpoint.run_until(async {
        drop(stop.await);
    });
    let (ran, ()) = tokio::join!(running, async {
        steps.await;
        drop(done);
    });
    ran.unwrap();
}
