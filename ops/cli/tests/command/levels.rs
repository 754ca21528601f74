//! Two sets of delay levels of one test.

use std::collections::{BTreeMap, BTreeSet};

use longhaul::prelude::*;
use longhaul_core::envelope::Envelope;
use longhaul_core::headers::Headers;
use longhaul_core::transport::{Destination, Dispatch, Transport};
use serde_json::Value;

use crate::stage::{Answer, On, Stage, url};

/// Two sets of delay levels on the broker, and a queue.
pub(crate) struct Levels {
    pub(crate) stage: Stage,
    pub(crate) from: String,
    pub(crate) to: String,
}

impl Levels {
    pub(crate) async fn new() -> Self {
        let stage = Stage::new(On::RabbitMq).await;
        let levels = Self {
            from: format!("{}.from", stage.errors),
            to: format!("{}.to", stage.errors),
            stage,
        };
        for prefix in [&levels.from, &levels.to] {
            levels.stage.owns_levels(prefix);
            levels.longhaul(prefix, &["create"]).says(0, &["are there"]);
        }
        levels
    }

    pub(crate) fn arguments<'a>(prefix: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
        [&["delays"], arguments, &["--prefix", prefix]].concat()
    }

    /// `longhaul delays …` on the levels of a prefix.
    pub(crate) fn longhaul(&self, prefix: &str, arguments: &[&str]) -> Answer {
        self.stage.longhaul(&Self::arguments(prefix, arguments))
    }

    pub(crate) async fn transport(&self, prefix: &str) -> RabbitMq {
        RabbitMq::builder(url()).prefix(prefix).connect().await.unwrap()
    }

    /// Messages `d-0`, `d-1`, …, due at these times.
    pub(crate) async fn send(&self, dues: &[Timestamp]) {
        let rabbit = self.transport(&self.from).await;
        let dispatch = |(number, due): (usize, &Timestamp)| {
            let headers = Headers::from_iter([
                ("longhaul.type", "billing.charge_card.v1".to_owned()),
                ("longhaul.intent", "send".to_owned()),
                ("longhaul.content-type", "application/json".to_owned()),
                ("longhaul.conversation", "c".to_owned()),
                ("longhaul.time-sent", SystemClock.now().to_string()),
                ("tenant", "größe".to_owned()),
            ]);
            let body = format!("{{\"order\":{number}}}");
            Dispatch {
                envelope: Envelope::new(
                    MessageId::new(format!("d-{number}")).unwrap(),
                    headers,
                    body.into(),
                ),
                to: Destination::Queue(self.stage.source.clone()),
                due: Some(*due),
            }
        };
        let batch: Vec<_> = dues.iter().enumerate().map(dispatch).collect();
        for result in rabbit.dispatch(&batch).await {
            result.unwrap();
        }
        rabbit.close().await;
    }

    /// The levels of a prefix are emptied into a new file; what is in it by id.
    pub(crate) fn drained(&self, prefix: &str, name: &str) -> BTreeMap<String, Value> {
        let path = self.stage.path(name).display().to_string();
        self.longhaul(prefix, &["drain", "--out", &path, "--yes"])
            .says(0, &["0 are left"]);
        lines(&path)
    }
}

/// The lines of an export by id, without one that ends in the middle.
pub(crate) fn lines(path: &str) -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let read = |line: &str| serde_json::from_str::<Value>(line).ok();
    let by_id = |line: Value| (line["id"].as_str().unwrap().to_owned(), line);
    text.lines().filter_map(read).map(by_id).collect()
}

pub(crate) fn all_of(count: usize) -> BTreeSet<String> {
    (0..count).map(|number| format!("d-{number}")).collect()
}
