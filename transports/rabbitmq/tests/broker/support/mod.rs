//! What the tests share: names of their own on the broker, messages, waiting with a deadline.

pub(crate) mod messages;
pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod scratch;
pub(crate) mod wild;

use std::time::Duration;

/// How long anything may take before a test fails.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The broker's address.
pub(crate) fn url() -> String {
    std::env::var("LONGHAUL_AMQP_URL").expect("set LONGHAUL_AMQP_URL or run ./test")
}

/// Waits for an event; fails when it does not come soon.
pub(crate) async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    let Ok(event) = tokio::time::timeout(SOON, event).await else {
        panic!("{what} did not happen within {SOON:?}")
    };
    event
}

/// Asks again and again until the answer is there; fails when it does not come soon.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    soon(what, async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}
