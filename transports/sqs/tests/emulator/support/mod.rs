//! What the tests share: a transport on the emulator, names of their own, and the emulator without the transport.

pub(crate) mod proxy;
pub(crate) mod raw;

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use longhaul_core::{
    address::Address,
    clock::{Clock, SystemClock},
};
use longhaul_sqs::{Sqs, SqsBuilder, Timing};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// What MiniStack calls its account.
pub(crate) const ACCOUNT: &str = "000000000000";

/// The emulator's address.
pub(crate) fn endpoint() -> String {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (Some(endpoint), Some(_)) = (set("LONGHAUL_SQS_ENDPOINT"), set("AWS_ACCESS_KEY_ID")) else {
        panic!(
            "LONGHAUL_SQS_ENDPOINT or AWS_ACCESS_KEY_ID is not set: start an emulator with `LONGHAUL_EMULATORS=FOLDER \
             scripts/sqs.sh start test` and take over what `scripts/sqs.sh env test` prints, or run ./test"
        );
    };
    endpoint
}

/// A name that nothing else has.
pub(crate) fn unique() -> String {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let micros = SystemClock.now().as_micros() % 1_000_000;
    format!("{}-{micros}-{number}", std::process::id())
}

/// Polls of a second, so that receivers close soon.
pub(crate) fn timing() -> Timing {
    let mut timing = Timing::default();
    timing.wait = Duration::from_secs(1);
    timing.after_create = Duration::ZERO;
    timing
}

/// A transport on the emulator at this address.
pub(crate) fn builder_at(endpoint: &str) -> SqsBuilder {
    Sqs::builder()
        .endpoint_url(endpoint)
        .account(ACCOUNT)
        .timing(timing())
}

/// An address.
pub(crate) fn address(name: &str) -> Address {
    Address::new(name).unwrap()
}
