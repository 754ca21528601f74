//! The other side: a hand-written loop over the SDK that moves the same seven messages an order in the same batches: it
//! polls three times at once, sends what follows in tens, and deletes in tens, while it polls on. Its state is a map. No inbox, no outbox,
//! no renewal of leases.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, ensure};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, Message, MessageAttributeValue, SendMessageBatchRequestEntry,
};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::{Measured, client, remove};
use crate::orders::note;
use crate::raw::{Body, ROLES, UNDER_WAY, follow};
use crate::report::{Side, Stopwatch};

/// How many polls a role makes at a time, as Longhaul's receivers do.
const POLLS: usize = 3;
/// The most entries of a request.
const TEN: usize = 10;
/// How many batches are moved on at the same time.
const OVERLAP: usize = 8;
/// How long a poll waits, in seconds.
const WAIT: i32 = 1;

/// A message to send: its id, its kind, its body.
type Entry = (String, &'static str, String);

/// What a role has taken, and what follows from it.
struct Batch {
    sends: BTreeMap<&'static str, Vec<Entry>>,
    receipts: Vec<String>,
    completed: Vec<u64>,
}

impl Batch {
    fn of(came: Vec<Message>, state: &mut HashMap<u64, u8>) -> Result<Self> {
        let mut batch = Self {
            sends: BTreeMap::new(),
            receipts: Vec::new(),
            completed: Vec::new(),
        };
        for message in came {
            let kind = message
                .message_attributes
                .as_ref()
                .and_then(|all| all.get("kind"));
            let kind = kind.and_then(|kind| kind.string_value()).unwrap_or_default();
            let body: Body = serde_json::from_str(message.body().unwrap_or_default())?;
            match follow(kind, state, body.order) {
                Some((to, kind)) => batch.sends.entry(to).or_default().push((
                    format!("{}-{kind}", body.order),
                    kind,
                    serde_json::to_string(&body)?,
                )),
                None => batch.completed.push(body.order),
            }
            let receipt = message.receipt_handle.context("a message has a receipt")?;
            batch.receipts.push(receipt);
        }
        Ok(batch)
    }
}

/// What all roles share.
struct Shared {
    client: Client,
    urls: HashMap<&'static str, String>,
    requests: AtomicU64,
    stopwatch: Stopwatch,
}

pub(crate) async fn run(at: &str, orders: u64) -> Result<Measured> {
    let prefix = format!("raw{}-", std::process::id());
    let client = client(at).await;
    let mut urls = HashMap::new();
    for role in ROLES {
        let made = client
            .create_queue()
            .queue_name(format!("{prefix}{role}"))
            .send()
            .await?;
        urls.insert(role, made.queue_url.context("a queue has a URL")?);
    }
    let shared = Arc::new(Shared {
        client,
        urls,
        requests: AtomicU64::new(0),
        stopwatch: Stopwatch::new()?,
    });
    let mut roles = Vec::new();
    for role in ROLES {
        let shared = Arc::clone(&shared);
        roles.push(tokio::spawn(shared.play(role)));
    }
    shared.place(orders).await?;
    tokio::select! {
        waited = shared.stopwatch.wait(orders) => waited?,
        ended = futures_util::future::select_all(&mut roles) => ended.0??,
    }
    let measured = Measured {
        report: shared.stopwatch.report(Side::Raw, orders),
        requests: shared.requests.load(Ordering::Relaxed),
        filled: None,
    };
    for role in roles {
        role.abort();
    }
    remove(&shared.client, &prefix).await?;
    Ok(measured)
}

impl Shared {
    fn count(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    async fn poll(&self, role: &str) -> Result<Vec<Message>> {
        self.count();
        let request = self.client.receive_message().queue_url(&self.urls[role]);
        let request = request.max_number_of_messages(10).wait_time_seconds(WAIT);
        let came = request.message_attribute_names("All").send().await?;
        Ok(came.messages.unwrap_or_default())
    }

    /// One role: three loops poll; what they bring is moved on in batches that overlap, whatever is there at a time.
    async fn play(self: Arc<Self>, role: &'static str) -> Result<()> {
        let (hand, mut handed) = mpsc::channel(POLLS);
        let polling = try_join_all((0..POLLS).map(|_| self.poll_on(role, hand.clone())));
        let moving = async {
            let mut state: HashMap<u64, u8> = HashMap::new();
            let mut under_way = FuturesUnordered::new();
            loop {
                tokio::select! {
                    Some(moved) = under_way.next(), if !under_way.is_empty() => { let (): () = moved?; }
                    Some(first) = handed.recv(), if under_way.len() < OVERLAP => {
                        let mut came: Vec<Message> = first;
                        while came.len() < 100 && let Ok(more) = handed.try_recv() {
                            came.extend(more);
                        }
                        under_way.push(self.move_on(role, Batch::of(came, &mut state)?));
                    }
                }
            }
        };
        tokio::select! {
            polled = polling => polled.map(drop),
            moved = moving => moved,
        }
    }

    async fn poll_on(&self, role: &str, hand: mpsc::Sender<Vec<Message>>) -> Result<()> {
        loop {
            let came = self.poll(role).await?;
            if !came.is_empty() {
                hand.send(came).await?;
            }
        }
    }

    /// Sends what follows, and deletes what came once SQS has that.
    async fn move_on(&self, role: &'static str, batch: Batch) -> Result<()> {
        let sends = batch.sends.iter();
        let sends = sends.flat_map(|(to, entries)| entries.chunks(TEN).map(|entries| self.send(to, entries)));
        try_join_all(sends).await?;
        for order in batch.completed {
            self.stopwatch.completed(order);
        }
        let deletes = batch
            .receipts
            .chunks(TEN)
            .map(|receipts| self.delete(role, receipts));
        try_join_all(deletes).await.map(drop)
    }

    async fn send(&self, to: &str, entries: &[Entry]) -> Result<()> {
        self.count();
        let mut request = self.client.send_message_batch().queue_url(&self.urls[to]);
        for (at, (id, kind, body)) in entries.iter().enumerate() {
            let text = |value: &str| {
                let value = MessageAttributeValue::builder().string_value(value);
                value.data_type("String").build()
            };
            let entry = SendMessageBatchRequestEntry::builder()
                .id(at.to_string())
                .message_body(body)
                .message_attributes("id", text(id)?)
                .message_attributes("kind", text(kind)?);
            request = request.entries(entry.build()?);
        }
        let answer = request.send().await?;
        ensure!(answer.failed.is_empty(), "not sent: {:?}", answer.failed);
        Ok(())
    }

    async fn delete(&self, role: &str, receipts: &[String]) -> Result<()> {
        self.count();
        let mut request = self.client.delete_message_batch().queue_url(&self.urls[role]);
        for (at, receipt) in receipts.iter().enumerate() {
            let entry = DeleteMessageBatchRequestEntry::builder().id(at.to_string());
            request = request.entries(entry.receipt_handle(receipt).build()?);
        }
        let answer = request.send().await?;
        ensure!(answer.failed.is_empty(), "not deleted: {:?}", answer.failed);
        Ok(())
    }

    async fn place(&self, orders: u64) -> Result<()> {
        let mut number = 0;
        while number < orders {
            self.stopwatch.under_way_below(number, UNDER_WAY).await;
            let mut entries = Vec::new();
            for _ in 0..100.min(orders - number) {
                self.stopwatch.placed(number);
                let body = Body {
                    order: number,
                    cents: 100 + number,
                    note: note(),
                };
                entries.push((format!("{number}-place"), "place", serde_json::to_string(&body)?));
                number += 1;
            }
            try_join_all(entries.chunks(TEN).map(|entries| self.send("sales", entries))).await?;
        }
        Ok(())
    }
}
