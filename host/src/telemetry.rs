//! Logs on standard error, and with the feature `otlp` spans and metrics for a collector.

use std::io::IsTerminal;

use longhaul_core::endpoint::EndpointBuilder;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::config::{Config, LogFormat};
use crate::host::HostError;

/// Keeps telemetry going; dropped, it sends what is left.
#[derive(Debug)]
#[must_use = "dropped at once, it sends nothing"]
pub struct Telemetry {
    #[cfg(feature = "otlp")]
    exporters: Option<crate::otlp::Exporters>,
}

#[cfg(feature = "otlp")]
impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(exporters) = self.exporters.take() {
            exporters.shut_down();
        }
    }
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts to log for the whole process.
pub(crate) fn init(config: &Config) -> Result<Telemetry, HostError> {
    let filter = || {
        EnvFilter::try_new(&config.log.filter)
            .map_err(|error| HostError::config(format!("use `log.filter` {:?}: {error}", config.log.filter)))
    };
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines: BoxedLayer = match config.log.format {
        LogFormat::Text => lines
            .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .with_filter(filter()?)
            .boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter()?).boxed(),
    };
    #[cfg_attr(not(feature = "otlp"), expect(unused_mut, reason = "only OTLP adds one"))]
    let mut layers = vec![lines];
    #[cfg(feature = "otlp")]
    let exporters = match &config.otlp.endpoint {
        None => None,
        Some(address) => {
            let (layer, exporters) = crate::otlp::start(address, &config.otlp)?;
            layers.push(layer.with_filter(filter()?).boxed());
            Some(exporters)
        }
    };
    let started = tracing_subscriber::registry().with(layers).try_init();
    started
        .map_err(|error| HostError::config(format!("start to log: {error}; let only one library do it")))?;
    Ok(Telemetry {
        #[cfg(feature = "otlp")]
        exporters,
    })
}

/// The steps that telemetry needs.
#[cfg(feature = "otlp")]
pub(crate) fn steps(config: &Config, endpoint: EndpointBuilder) -> EndpointBuilder {
    if config.otlp.endpoint.is_some() {
        endpoint.step(crate::otlp::TraceContext::new())
    } else {
        endpoint
    }
}

#[cfg(not(feature = "otlp"))]
pub(crate) fn steps(_: &Config, endpoint: EndpointBuilder) -> EndpointBuilder {
    endpoint
}
