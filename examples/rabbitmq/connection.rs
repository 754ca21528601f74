//! What all four programs do first: write logs, find the broker.

use std::io::IsTerminal;

use longhaul::rabbitmq::RabbitMq;
use tracing_subscriber::EnvFilter;

/// Writes logs to standard error; `RUST_LOG` says how much.
pub(crate) fn write_logs() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,lapin=off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

/// Connects to the broker of `LONGHAUL_AMQP_URL`; to the one on this machine if that is not set.
pub(crate) async fn connect(program: &str) -> Result<RabbitMq, longhaul::Error> {
    let url = std::env::var("LONGHAUL_AMQP_URL").unwrap_or_else(|_| String::from("amqp://localhost"));
    Ok(RabbitMq::builder(url).connection_name(program).connect().await?)
}
