//! An endpoint as a process of its own: settings from a file and the environment, health, metrics, traces, a graceful stop.
//!
//! ```sh
//! LONGHAUL_HEALTH_LISTEN=127.0.0.1:9620 cargo run --features prometheus --example hosted
//! curl http://127.0.0.1:9620/health/ready
//! curl http://127.0.0.1:9620/metrics
//! ```
//!
//! `LONGHAUL_OTLP_ENDPOINT=http://127.0.0.1:4317` (feature `otlp`) sends spans and metrics to a collector.
//! `docs/deploy` has a unit for systemd and a file for a container.

use std::process::ExitCode;
use std::sync::Arc;

use longhaul::host::{Host, HostError};
use longhaul::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[message("greeter.greet.v1")]
struct Greet {
    name: String,
}

struct Greeter;

impl Handler<Greet> for Greeter {
    async fn handle(&self, greet: Greet, _: &mut Context) -> HandlerResult {
        println!("Hello, {}!", greet.name);
        Ok(())
    }
}

/// The application's own settings, in the section `[app]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct App {
    /// Who is greeted at the start.
    greet: Vec<String>,
}

async fn run() -> Result<(), HostError> {
    let host = Host::from_environment()?;
    let app: App = host.config().app()?;
    // Dropped at the end, it sends what is left.
    let _telemetry = host.init_telemetry()?;
    if let Some(address) = host.health_address() {
        eprintln!("health: http://{address}/health/ready");
    }
    let broker = LocalBroker::in_memory(Arc::new(SystemClock));
    let greeter = Endpoint::builder("greeter")
        .transport(broker)
        .persistence(Memory::new())
        .handler::<Greet>(Greeter);
    host.run_with(greeter, |session| async move {
        for name in app.greet {
            if let Err(error) = session.send(Greet { name }).await {
                eprintln!("could not send a greeting: {error}");
            }
        }
    })
    .await
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            // 2 is for settings that have to be corrected, which no restart mends.
            ExitCode::from(if error.endpoint().is_some() { 1 } else { 2 })
        }
    }
}
