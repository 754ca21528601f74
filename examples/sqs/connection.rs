//! What all three programs do first: write logs, find SQS.

use std::io::IsTerminal;

use longhaul::sqs::Sqs;
use tracing_subscriber::EnvFilter;

/// Writes logs to standard error; `RUST_LOG` says how much.
pub(crate) fn write_logs() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

/// Connects to the emulator of `LONGHAUL_SQS_ENDPOINT`; to AWS if that is not set.
pub(crate) async fn connect() -> Result<Sqs, longhaul::Error> {
    let mut sqs = Sqs::builder().prefix("longhaul-example-");
    if let Ok(endpoint) = std::env::var("LONGHAUL_SQS_ENDPOINT") {
        sqs = sqs.endpoint_url(endpoint);
    }
    Ok(sqs.connect().await?)
}
