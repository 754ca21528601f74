//! A small SQS in memory, on virtual time: delays, visibility, retention, FIFO groups and deduplication as AWS documents
//! them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Double, Reply};

const DEDUPLICATED_FOR: Duration = Duration::from_secs(300);

#[derive(Debug)]
struct Message {
    body: Value,
    attributes: Value,
    group: Option<String>,
    sent: Instant,
    visible: Instant,
    receipt: Option<String>,
}

#[derive(Debug)]
struct Queue {
    is_fifo: bool,
    delay: Duration,
    retention: Duration,
    messages: Vec<Message>,
    deduplicated: BTreeMap<String, Instant>,
}

#[derive(Debug, Default)]
struct State {
    queues: BTreeMap<String, Queue>,
    receipts: u64,
    /// How many of the next batches are taken without an answer.
    unanswered: usize,
    refuses_changes: bool,
}

/// Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model(Arc<Mutex<State>>);

impl Model {
    pub(crate) fn double(&self) -> Double {
        let model = self.clone();
        Double::plain(move |name, body| model.lock().answer(name, body))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The next batches take effect, but nobody hears of it.
    pub(crate) fn leave_unanswered(&self, batches: usize) {
        self.lock().unanswered = batches;
    }

    /// Leases can't be renewed, and messages not be given back.
    pub(crate) fn refuse_changes(&self, refuses: bool) {
        self.lock().refuses_changes = refuses;
    }

    /// Whether there is a queue of this name.
    pub(crate) fn has(&self, queue: &str) -> bool {
        self.lock().queues.contains_key(queue)
    }

    /// How many messages are in a queue, visible or not.
    pub(crate) fn remove(&self, queue: &str) {
        self.lock().queues.remove(queue);
    }

    pub(crate) fn length(&self, queue: &str) -> usize {
        let mut state = self.lock();
        let queue = state.queues.get_mut(queue).unwrap();
        queue.forget(Instant::now());
        queue.messages.len()
    }
}

fn seconds(value: &Value) -> Duration {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    Duration::from_secs(number.unwrap_or(0))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Queue {
    fn new(attributes: &Value) -> Self {
        Self {
            is_fifo: attributes["FifoQueue"] == "true",
            delay: seconds(&attributes["DelaySeconds"]),
            retention: seconds(&attributes["MessageRetentionPeriod"]),
            messages: Vec::new(),
            deduplicated: BTreeMap::new(),
        }
    }

    fn forget(&mut self, now: Instant) {
        self.messages
            .retain(|message| message.sent + self.retention > now);
        self.deduplicated.retain(|_, at| *at + DEDUPLICATED_FOR > now);
    }

    fn send(&mut self, entry: &Value, now: Instant) -> Result<(), &'static str> {
        let group = entry["MessageGroupId"].as_str().map(str::to_owned);
        let own = &entry["DelaySeconds"];
        if self.is_fifo && (group.is_none() || !own.is_null()) || seconds(own) > Duration::from_secs(900) {
            return Err("InvalidParameterValue");
        }
        if self.is_fifo {
            let id = text(&entry["MessageDeduplicationId"]);
            if self.deduplicated.contains_key(&id) {
                return Ok(());
            }
            self.deduplicated.insert(id, now);
        }
        let delay = if own.is_null() { self.delay } else { seconds(own) };
        self.messages.push(Message {
            body: entry["MessageBody"].clone(),
            attributes: entry["MessageAttributes"].clone(),
            group,
            sent: now,
            visible: now + delay,
            receipt: None,
        });
        Ok(())
    }

    /// Messages that can be had now, by place; a group waits for the one before.
    fn visible(&self, now: Instant, most: usize) -> Vec<usize> {
        let mut blocked: BTreeSet<&str> = BTreeSet::new();
        let mut found = Vec::new();
        for (at, message) in self.messages.iter().enumerate() {
            let group = message.group.as_deref();
            if found.len() == most || group.is_some_and(|group| blocked.contains(group)) {
                continue;
            }
            if message.visible <= now {
                found.push(at);
            } else if message.receipt.is_some() {
                blocked.extend(group);
            }
        }
        found
    }
}

impl State {
    fn answer(&mut self, name: &str, body: &Value) -> Reply {
        let now = Instant::now();
        if name == "CreateQueue" {
            let queue = text(&body["QueueName"]);
            self.queues.insert(queue.clone(), Queue::new(&body["Attributes"]));
            return Reply::ok(json!({ "QueueUrl": url(&queue) }));
        }
        let queue = match name {
            "GetQueueUrl" => text(&body["QueueName"]),
            _ => text(&body["QueueUrl"]).rsplit('/').next().unwrap().to_owned(),
        };
        let Some(found) = self.queues.get_mut(&queue) else {
            return Reply::error(400, "QueueDoesNotExist");
        };
        found.forget(now);
        match name {
            "GetQueueUrl" => Reply::ok(json!({ "QueueUrl": url(&queue) })),
            "SendMessageBatch" => {
                let (mut done, mut failed) = (Vec::new(), Vec::new());
                for entry in body["Entries"].as_array().unwrap() {
                    let id = entry["Id"].as_str().unwrap();
                    match found.send(entry, now) {
                        Ok(()) => done.push(super::done(id)),
                        Err(code) => failed.push(super::failed(id, code, true)),
                    }
                }
                if self.unanswered > 0 {
                    self.unanswered -= 1;
                    return Reply::Never;
                }
                Reply::ok(json!({ "Successful": done, "Failed": failed }))
            }
            "GetQueueAttributes" => {
                let count = found.messages.len().to_string();
                Reply::ok(json!({ "Attributes": { "ApproximateNumberOfMessages": count } }))
            }
            "ReceiveMessage" => self.receive(&queue, body, now),
            "DeleteMessageBatch" => {
                for entry in body["Entries"].as_array().unwrap() {
                    let receipt = text(&entry["ReceiptHandle"]);
                    found
                        .messages
                        .retain(|message| message.receipt.as_ref() != Some(&receipt));
                }
                super::all_done(body)
            }
            "ChangeMessageVisibilityBatch" if self.refuses_changes => Reply::error(400, "RequestThrottled"),
            "ChangeMessageVisibilityBatch" => {
                for entry in body["Entries"].as_array().unwrap() {
                    let receipt = text(&entry["ReceiptHandle"]);
                    let of_receipt = |message: &&mut Message| message.receipt.as_ref() == Some(&receipt);
                    if let Some(message) = found.messages.iter_mut().find(of_receipt) {
                        message.visible = now + seconds(&entry["VisibilityTimeout"]);
                    }
                }
                super::all_done(body)
            }
            _ => Reply::ok(json!({})),
        }
    }

    fn receive(&mut self, name: &str, body: &Value, now: Instant) -> Reply {
        let queue = self.queues.get_mut(name).unwrap();
        let most = body["MaxNumberOfMessages"].as_u64().unwrap();
        let found = queue.visible(now, usize::try_from(most).unwrap());
        let wait = body["WaitTimeSeconds"].as_f64().unwrap();
        if found.is_empty() {
            if wait <= 0.0 {
                return Reply::ok(json!({}));
            }
            let next = queue.messages.iter().map(|message| message.visible);
            let next = next
                .filter(|at| *at > now)
                .min()
                .map_or(1.0, |at| (at - now).as_secs_f64());
            let pause = wait.min(next).min(1.0);
            let mut rest = body.clone();
            rest["WaitTimeSeconds"] = json!(wait - pause);
            return Reply::Again(Duration::from_secs_f64(pause), rest);
        }
        let mut came = Vec::new();
        for at in found {
            self.receipts += 1;
            let receipt = format!("r-{}", self.receipts);
            let message = &mut queue.messages[at];
            message.visible = now + seconds(&body["VisibilityTimeout"]);
            message.receipt = Some(receipt.clone());
            let mut told = json!({ "ApproximateReceiveCount": "1" });
            if let Some(group) = &message.group {
                told["MessageGroupId"] = json!(group);
            }
            came.push(json!({
                "MessageId": format!("sqs-{}", self.receipts), "ReceiptHandle": receipt,
                "Body": message.body, "MessageAttributes": message.attributes, "Attributes": told,
            }));
        }
        Reply::ok(json!({ "Messages": came }))
    }
}

fn url(queue: &str) -> String {
    format!("https://sqs.test/123456789012/{queue}")
}
