//! The contract suite for transports, on a real broker.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::LocalBoxFuture;
use longhaul_core::{
    address::Address,
    admin::QueueAdmin,
    clock::{Clock, SystemClock},
    envelope::Incoming,
    transport::Transport,
};
use longhaul_rabbitmq::RabbitMq;
use longhaul_testing::{admin_suite::AdminFixture, transport_suite::TransportFixture};
use tokio::sync::OnceCell;

use crate::support::{
    proxy::Proxy,
    raw::Raw,
    scratch::unique,
    wild::{self, HEADERS, MESSAGE_ID},
};

/// All cases share the delay levels of this prefix, which stay on the broker: to create them for each takes longer
/// than the cases do.
const PREFIX: &str = "longhaul-contract";

struct Fixture {
    run: String,
    names: Mutex<Vec<String>>,
    proxy: OnceCell<Proxy>,
}

impl Fixture {
    fn new() -> Self {
        Self {
            run: unique(),
            names: Mutex::default(),
            proxy: OnceCell::new(),
        }
    }

    async fn proxy(&self) -> &Proxy {
        self.proxy.get_or_init(Proxy::start).await
    }

    /// Deletes what the case has named, with every end and beginning that cases put to a name.
    async fn clean(&self) {
        let raw = Raw::connect().await;
        let names = std::mem::take(&mut *self.names.lock().unwrap());
        for name in names {
            for queue in [
                &name,
                &format!("Foo.{name}"),
                &format!("{name}.Foo"),
                &format!("Foo.Foo.{name}"),
            ] {
                raw.delete_queue(queue).await;
                raw.delete_exchange(&format!("{PREFIX}.event.{queue}")).await;
            }
            for queue in [
                format!("0.1.{name}"),
                format!("日本.{name}"),
                format!("größe 注文.{name}"),
            ] {
                raw.delete_queue(&queue).await;
            }
            if let Some(more) = Address::MAX_BYTES.checked_sub(name.len()) {
                raw.delete_queue(&format!("{name}{}", "x".repeat(more))).await;
            }
        }
    }
}

#[async_trait]
impl TransportFixture for Fixture {
    async fn transport(&self) -> Arc<dyn Transport> {
        let builder = RabbitMq::builder(&self.proxy().await.url);
        let builder = builder.prefix(PREFIX).delay_unit(Duration::from_millis(20));
        Arc::new(builder.connect().await.unwrap())
    }

    fn unique(&self, hint: &str) -> String {
        let name = format!("{hint}-{}", self.run);
        self.names.lock().unwrap().push(name.clone());
        name
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(SystemClock)
    }

    fn short_delay(&self) -> Duration {
        Duration::from_millis(500)
    }

    fn block_on(&self, case: LocalBoxFuture<'_, ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            case.await;
            self.clean().await;
        });
    }

    async fn cut_connections(&self) -> bool {
        self.proxy().await.cut();
        true
    }

    async fn put_raw(&self, queue: &Address, incoming: &Incoming) -> bool {
        let mut table = Vec::new();
        for (name, value) in &incoming.headers {
            table.extend([&wild::short(name.as_bytes())[..], b"S", &wild::long(value)].concat());
        }
        let mut flags = HEADERS;
        let mut properties = wild::long(&table);
        if let Some(id) = &incoming.id {
            flags |= MESSAGE_ID;
            properties.extend(wild::short(id));
        }
        wild::publish(queue.as_str(), flags, &properties, &incoming.body).await;
        true
    }

    async fn delete_queue(&self, queue: &Address) -> bool {
        Raw::connect().await.delete_queue(queue.as_str()).await;
        true
    }
}

#[async_trait]
impl AdminFixture for Fixture {
    async fn admin(&self) -> (Arc<dyn Transport>, Arc<dyn QueueAdmin>) {
        let builder = RabbitMq::builder(&self.proxy().await.url).prefix(PREFIX);
        let rabbit = Arc::new(builder.connect().await.unwrap());
        (Arc::clone(&rabbit) as Arc<dyn Transport>, rabbit)
    }
}

longhaul_testing::transport_contract_suite!(Fixture::new());
longhaul_testing::admin_contract_suite!(Fixture::new());
