//! Logs on standard error, and with the feature `otlp` spans and metrics for a collector.

use std::io::IsTerminal;

use longhaul_core::endpoint::EndpointBuilder;
use tracing_subscriber::filter::Directive;
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

/// What is logged. Warnings of lapin hold whole messages: unless the directives name it, it says nothing.
///
/// Its error does not repeat a directive, since anything may have been put there.
fn filter(directives: &str) -> Result<EnvFilter, HostError> {
    let all: Vec<&str> = directives.split(',').map(str::trim).collect();
    let is_wrong = |directive: &&str| !directive.is_empty() && directive.parse::<Directive>().is_err();
    if let Some(at) = all.iter().position(is_wrong) {
        let text = format!(
            "use `log.filter`: its directive number {} is none; write directives like `info,my_program=debug`",
            at + 1
        );
        return Err(HostError::config(text));
    }
    let is_of_lapin = |directive: &&str| {
        let target = directive.split(['=', '[']).next().unwrap_or_default();
        target == "lapin" || target.starts_with("lapin::")
    };
    let silence = (!all.iter().any(is_of_lapin)).then_some("lapin=off");
    let all: Vec<&str> = silence.into_iter().chain(all).collect();
    let filter = EnvFilter::try_new(all.join(","));
    filter.map_err(|_| HostError::config("use `log.filter`: write directives like `info,my_program=debug`"))
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts to log for the whole process.
pub(crate) fn init(config: &Config) -> Result<Telemetry, HostError> {
    let filter = || filter(&config.log.filter);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_the_filter_is_wrong_the_error_says_where_and_does_not_repeat_it() {
        for (directives, number) in [("longhaul=hunter2", 1), ("info, my_program=hunter2", 2)] {
            let error = filter(directives).expect_err("it is wrong").to_string();
            assert!(error.contains(&format!("directive number {number}")), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn when_the_filter_does_not_name_lapin_it_says_nothing() {
        for directives in ["info", "debug,my_program=trace", "info,my_lapin_bridge=debug", ""] {
            let filter = filter(directives).expect("it is right").to_string();
            assert!(filter.contains("lapin=off"), "{filter}");
        }
        for directives in ["info,lapin=warn", "info, lapin::channel=warn"] {
            let filter = filter(directives).expect("it is right").to_string();
            assert!(
                filter.contains("=warn") && !filter.contains("lapin=off"),
                "{filter}"
            );
        }
    }
}
