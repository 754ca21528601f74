//! The order saga on SQS beside a hand-written SDK loop: orders a second, and requests an order, which is what AWS bills.

mod endpoints;
mod raw;

use std::fmt;

use anyhow::{Context, Result};
use aws_config::BehaviorVersion;
use aws_sdk_sqs::Client;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use serde::{Deserialize, Serialize};

use crate::endpoints::Keeping;
use crate::report::{self, Report, Side};

/// Messages of an order: the command that places it, three commands, three replies.
const MESSAGES: f64 = 7.0;
/// What a million requests cost at AWS, in dollars: standard queues, most regions, beyond the free tier.
const DOLLARS_A_MILLION: f64 = 0.40;

/// What one side measured.
#[derive(Debug, Serialize, Deserialize)]
struct Measured {
    report: Report,
    /// Requests to SQS between the first order and the last completion, polls among them.
    requests: u64,
    /// Messages in a batch that was sent, in a poll, in a batch that was settled; where the side counts them.
    filled: Option<[f64; 3]>,
}

impl Measured {
    fn requests_an_order(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = self.requests as f64 / self.report.orders as f64;
        rate
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let an_order = self.requests_an_order();
        write!(
            f,
            "{}, {an_order:.2} requests an order ({:.2} a message)",
            self.report,
            an_order / MESSAGES
        )?;
        if let Some([sent, polled, settled]) = self.filled {
            write!(
                f,
                ", {sent:.1} messages a send, {polled:.1} a poll, {settled:.1} a settlement"
            )?;
        }
        Ok(())
    }
}

/// Measures both sides in turn, each in a process of its own.
pub(crate) async fn run(orders: u64, runs: usize) -> Result<()> {
    const SIDES: [Side; 3] = [Side::Raw, Side::Longhaul, Side::LonghaulMemory];
    let (mut rates, mut requests) = ([const { Vec::new() }; 3], [const { Vec::new() }; 3]);
    for run in 0..runs.max(1) {
        for (at, side) in SIDES.into_iter().enumerate() {
            let measured = child(side, orders).await?;
            println!("run {}: {measured}", run + 1);
            rates[at].push(measured.report.orders_per_second());
            requests[at].push(measured.requests_an_order());
        }
    }
    let rates = rates.map(report::median);
    let requests = requests.map(report::median);
    println!(
        "\norders/s (median of {}): raw {:.0}, longhaul on sled {:.0}, longhaul in memory {:.0}",
        runs.max(1),
        rates[0],
        rates[1],
        rates[2]
    );
    println!(
        "ratio: longhaul on sled / raw {:.2}, in memory / raw {:.2}",
        rates[1] / rates[0],
        rates[2] / rates[0]
    );
    println!(
        "requests an order: raw {:.2}, longhaul on sled {:.2}; a message: raw {:.2}, longhaul on sled {:.2}",
        requests[0],
        requests[1],
        requests[0] / MESSAGES,
        requests[1] / MESSAGES
    );
    println!(
        "a million orders at ${DOLLARS_A_MILLION:.2} a million requests: raw ${:.2}, longhaul on sled ${:.2}",
        requests[0] * DOLLARS_A_MILLION,
        requests[1] * DOLLARS_A_MILLION
    );
    Ok(())
}

/// Measures one side in this process, and tells it as JSON.
pub(crate) async fn run_side(side: Side, orders: u64) -> Result<()> {
    let at = std::env::var("LONGHAUL_SQS_ENDPOINT")
        .context("set LONGHAUL_SQS_ENDPOINT and the rest that `scripts/sqs.sh env NAME` prints")?;
    let measured = match side {
        Side::Raw => raw::run(&at, orders).await?,
        Side::Longhaul => Box::pin(endpoints::run(&at, Keeping::Sled, orders)).await?,
        Side::LonghaulMemory => Box::pin(endpoints::run(&at, Keeping::Memory, orders)).await?,
    };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

async fn child(side: Side, orders: u64) -> Result<Measured> {
    let output = tokio::process::Command::new(std::env::current_exe()?)
        .args(["sqs-side", side.as_str(), "--orders", &orders.to_string()])
        .stderr(std::process::Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await?;
    let how = output.status;
    anyhow::ensure!(how.success(), "the {} side failed: {how}", side.as_str());
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A plain client of the SDK.
async fn client(at: &str) -> Client {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .endpoint_url(at)
        .load()
        .await;
    Client::new(&config)
}

/// Removes what a side has made, so that the emulator does not grow from run to run.
async fn remove(client: &Client, prefix: &str) -> Result<()> {
    let found = client.list_queues().queue_name_prefix(prefix).send().await?;
    for url in found.queue_urls.unwrap_or_default() {
        client.delete_queue().queue_url(url).send().await?;
    }
    Ok(())
}
