//! Cut connections. A lease is not bound to one, so only those cases of the contract apply that don't say so.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::LocalBoxFuture;
use longhaul_core::{
    clock::{Clock, SystemClock},
    transport::Transport,
};
use longhaul_testing::transport_suite::{TransportFixture, faults};

use crate::support::{builder_at, endpoint, proxy::Proxy, timing, unique};

struct Fixture {
    run: String,
    proxy: Proxy,
}

#[async_trait]
impl TransportFixture for Fixture {
    async fn transport(&self) -> Arc<dyn Transport> {
        // What a lost answer has made invisible is to come again while the case waits for it.
        let mut timing = timing();
        timing.lease = Duration::from_secs(10);
        let builder = builder_at(&self.proxy.url).prefix("k-").pollers(1).timing(timing);
        Arc::new(builder.connect().await.unwrap())
    }

    fn unique(&self, hint: &str) -> String {
        format!("{hint}-{}", self.run)
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(SystemClock)
    }

    fn short_delay(&self) -> Duration {
        Duration::from_millis(250)
    }

    fn silence(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn block_on(&self, _: LocalBoxFuture<'_, ()>) {
        unreachable!("each test has a runtime of its own")
    }

    async fn cut_connections(&self) -> bool {
        self.proxy.cut();
        true
    }
}

async fn fixture() -> Fixture {
    Fixture {
        run: unique(),
        proxy: Proxy::before(&endpoint()).await,
    }
}

#[tokio::test]
async fn when_the_connection_is_cut_a_receiver_comes_back_by_itself() {
    faults::when_the_connection_is_cut_a_receiver_comes_back_by_itself(&fixture().await).await;
}

#[tokio::test]
async fn when_the_connection_is_cut_while_sending_the_results_are_true() {
    faults::when_the_connection_is_cut_while_sending_the_results_are_true(&fixture().await).await;
}

#[tokio::test]
async fn when_the_connection_comes_back_the_health_says_so() {
    faults::when_the_connection_comes_back_the_health_says_so(&fixture().await).await;
}
