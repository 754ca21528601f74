//! The contract suite for transports, on an emulator.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::LocalBoxFuture;
use longhaul_core::{
    address::Address,
    admin::QueueAdmin,
    clock::{Clock, SystemClock},
    envelope::Incoming,
    headers::Headers,
    transport::Transport,
};
use longhaul_sqs::Sqs;
use longhaul_testing::{admin_suite::AdminFixture, transport_suite::TransportFixture};

use crate::support::{address, builder_at, endpoint, raw, unique};

const PREFIX: &str = "c-";

/// What the cases call the queues that are to keep order. Error queues don't.
const ORDERED: [&str; 9] = [
    "sales", "Sales", "first", "second", "billing", "late", "missing", "nowhere", "foreign",
];

struct Fixture {
    run: String,
    /// Its queues are FIFO queues.
    is_ordered: bool,
}

impl Fixture {
    fn new() -> Self {
        Self {
            run: unique(),
            is_ordered: false,
        }
    }

    fn ordered() -> Self {
        Self {
            is_ordered: true,
            ..Self::new()
        }
    }

    async fn connect(&self) -> Sqs {
        // The cases expect messages in order, which a standard queue does not promise and the emulator keeps.
        let builder = builder_at(&endpoint()).prefix(PREFIX).pollers(1);
        if !self.is_ordered {
            return builder.connect().await.unwrap();
        }
        let names = ORDERED.map(|hint| self.unique(hint));
        let more = ["Foo.", "Foo.Foo.", "0.1.", "日本."].map(|start| format!("{start}{}", names[1]));
        let all = names.into_iter().chain(more).map(|name| address(&name));
        let all: Vec<Address> = all.collect();
        builder.ordered(&all).connect().await.unwrap()
    }

    async fn queue(&self, queue: &Address) -> String {
        name_of(&self.connect().await, queue)
    }
}

/// What the queue of an address is called.
fn name_of(sqs: &Sqs, queue: &Address) -> String {
    let topology = longhaul_core::transport::Topology {
        queues: vec![queue.clone()],
        ..Default::default()
    };
    sqs.plan(&topology).unwrap().queues.remove(0).name
}

#[async_trait]
impl TransportFixture for Fixture {
    async fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(self.connect().await)
    }

    /// A FIFO queue drops what it has had within five minutes.
    fn tells_copies_apart(&self) -> bool {
        !self.is_ordered
    }

    fn unique(&self, hint: &str) -> String {
        format!("{hint}-{}", self.run)
    }

    fn longest_address(&self) -> usize {
        80 - PREFIX.len()
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(SystemClock)
    }

    fn short_delay(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn silence(&self) -> Duration {
        Duration::from_millis(1500)
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }

    fn block_on(&self, case: LocalBoxFuture<'_, ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(case);
    }

    async fn put_raw(&self, queue: &Address, incoming: &Incoming) -> bool {
        let Ok(body) = std::str::from_utf8(&incoming.body) else {
            return false;
        };
        let id = incoming.id.as_deref().map(std::str::from_utf8);
        let headers = incoming.headers.iter();
        let headers: Option<Headers> = headers
            .map(|(name, value)| Some((name.clone(), std::str::from_utf8(value).ok()?.to_owned())))
            .collect::<Option<Vec<_>>>()
            .map(|pairs| pairs.into_iter().collect());
        // Neither an empty attribute nor bytes that are no text can be in a queue.
        let (Some(headers), false, None | Some(Ok("raw"))) = (headers, body.contains('\0'), id) else {
            return false;
        };
        let pairs: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name:?}:{value:?}"))
            .collect();
        let message = format!(r#"{{"v":1,"headers":{{{}}}}}"#, pairs.join(","));
        let mut attributes = Vec::new();
        if let Some(Ok(id)) = id {
            attributes.extend([("longhaul.id", id), ("longhaul.message", message.as_str())]);
        }
        raw::put(&self.queue(queue).await, body, &attributes).await;
        true
    }

    async fn delete_queue(&self, queue: &Address) -> bool {
        raw::delete(&self.queue(queue).await).await;
        true
    }

    /// Where the emulator keeps its messages, the environment says how it is killed and started again.
    async fn restart(&self) -> bool {
        let Ok(command) = std::env::var("LONGHAUL_SQS_RESTART") else {
            return false;
        };
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let mut restart = std::process::Command::new("bash");
        let ended = restart.args(["-c", &command]).current_dir(root).status();
        assert!(ended.unwrap().success(), "{command}");
        true
    }
}

#[async_trait]
impl AdminFixture for Fixture {
    async fn admin(&self) -> (Arc<dyn Transport>, Arc<dyn QueueAdmin>) {
        let sqs = Arc::new(self.connect().await);
        (Arc::clone(&sqs) as Arc<dyn Transport>, sqs)
    }

    fn counts(&self) -> bool {
        false
    }
}

longhaul_testing::transport_contract_suite!(Fixture::new());
longhaul_testing::admin_contract_suite!(Fixture::new());

/// The same where the cases' queues keep order.
mod ordered {
    use super::Fixture;

    longhaul_testing::transport_contract_suite!(Fixture::ordered());
    longhaul_testing::admin_contract_suite!(Fixture::ordered());
}
