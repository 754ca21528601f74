//! Runs an endpoint as a process of its own: settings from a file and the environment, `/health/live` and `/health/ready`
//! that are true, a graceful stop on SIGTERM, a paused start, logs, and, behind features, metrics for Prometheus and
//! traces and metrics for an OpenTelemetry collector.
//!
//! ```no_run
//! use longhaul_core::endpoint::Endpoint;
//! use longhaul_host::Host;
//!
//! # async fn transport() -> longhaul_local::LocalBroker {
//! #     longhaul_local::LocalBroker::in_memory(std::sync::Arc::new(longhaul_core::clock::SystemClock))
//! # }
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let host = Host::from_environment()?;
//! let _telemetry = host.init_telemetry()?;
//! let endpoint = Endpoint::builder("sales").transport(transport().await);
//! host.run(endpoint).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Settings
//!
//! `LONGHAUL_CONFIG` names a TOML file; without it `longhaul.toml` in the current directory counts, if there is one. Every
//! key can be given, or overruled, as an environment variable: `LONGHAUL_` with the section and the key in capitals, such
//! as `LONGHAUL_HEALTH_LISTEN` or `LONGHAUL_ENDPOINT_STOP_LIMIT`. See [`Config`] for all of them. A key that is not known
//! is an error that names the file and the line.

mod config;
mod describe;
mod health;
mod host;
mod rehearse;
mod said;
mod state;
mod telemetry;

#[cfg(feature = "otlp")]
mod otlp;
#[cfg(feature = "prometheus")]
mod prometheus;

pub use config::{Config, EndpointConfig, HealthConfig, LogConfig, LogFormat, OtlpConfig};
pub use host::{Host, HostError};
pub use telemetry::Telemetry;

#[cfg(feature = "otlp")]
pub use otlp::TraceContext;
