//! Spans and metrics for an OpenTelemetry collector, over gRPC, and the W3C trace context on messages.

use std::fmt;
use std::time::Duration;

use longhaul_core::envelope::{Envelope, Incoming};
use longhaul_core::handler::HandlerResult;
use longhaul_core::headers::{TRACEPARENT, TRACESTATE, TYPE};
use longhaul_core::pipeline::{Handled, PipelineStep};
use opentelemetry::metrics::{Counter, Histogram};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Layer, Registry};

use crate::config::OtlpConfig;
use crate::host::HostError;

/// How long one call of the collector may take.
const CALL: Duration = Duration::from_secs(5);

/// What sends, until the process ends.
#[derive(Debug)]
pub(crate) struct Exporters {
    traces: SdkTracerProvider,
    metrics: SdkMeterProvider,
}

impl Exporters {
    /// Sends what is left.
    pub(crate) fn shut_down(&self) {
        let ended = [
            self.traces
                .shutdown_with_timeout(CALL)
                .map_err(|error| error.to_string()),
            self.metrics
                .shutdown_with_timeout(CALL)
                .map_err(|error| error.to_string()),
        ];
        for why in ended.into_iter().filter_map(Result::err) {
            tracing::warn!(why, "some telemetry was not sent");
        }
    }
}

/// Starts to send to the collector at `address`; what comes first takes spans.
pub(crate) fn start(
    address: &str,
    config: &OtlpConfig,
) -> Result<(impl Layer<Registry> + Send + Sync, Exporters), HostError> {
    // An address may hold a login, and errors repeat it.
    let wrong = || {
        HostError::config("send telemetry to `otlp.endpoint`: it is no address like http://127.0.0.1:4317")
    };
    let spans = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(address)
        .with_timeout(CALL)
        .build();
    let spans = spans.map_err(|_| wrong())?;
    let metrics = MetricExporter::builder()
        .with_tonic()
        .with_endpoint(address)
        .with_timeout(CALL)
        .build();
    let metrics = metrics.map_err(|_| wrong())?;
    let resource = Resource::builder().build();
    let traces = SdkTracerProvider::builder()
        .with_batch_exporter(spans)
        .with_resource(resource.clone())
        .build();
    let reader = PeriodicReader::builder(metrics)
        .with_interval(config.metrics_interval)
        .build();
    let metrics = SdkMeterProvider::builder()
        .with_reader(reader)
        .with_resource(resource)
        .build();
    global::set_meter_provider(metrics.clone());
    let layer = tracing_opentelemetry::layer().with_tracer(traces.tracer("longhaul"));
    Ok((layer, Exporters { traces, metrics }))
}

/// Carries the W3C trace context from message to message, so that everything that follows from one order is one trace, and
/// measures how long messages take. [`Host`](crate::Host) adds it by itself where `otlp.endpoint` is set.
pub struct TraceContext {
    propagator: TraceContextPropagator,
    handled: Counter<u64>,
    sagas: Counter<u64>,
    handling: Histogram<f64>,
    critical: Histogram<f64>,
}

impl TraceContext {
    /// With the meter of the process.
    #[must_use]
    pub fn new() -> Self {
        let meter = global::meter("longhaul");
        let seconds = |name, description| {
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(description)
                .build()
        };
        Self {
            propagator: TraceContextPropagator::new(),
            handled: meter
                .u64_counter("longhaul.messages.handled")
                .with_description("Messages whose handling was committed")
                .build(),
            sagas: meter
                .u64_counter("longhaul.sagas")
                .with_description("Instances of sagas that came to a status")
                .build(),
            handling: seconds(
                "longhaul.handling.duration",
                "From the beginning of the attempt that succeeded to its commit",
            ),
            critical: seconds(
                "longhaul.critical_time",
                "From when a message was sent, or was due, to the commit of what it caused",
            ),
        }
    }
}

impl Default for TraceContext {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceContext").finish_non_exhaustive()
    }
}

impl PipelineStep for TraceContext {
    fn name(&self) -> &str {
        "trace context"
    }

    fn begun(&self, incoming: &Incoming, span: &tracing::Span) {
        let came = Came(incoming);
        // Once it has begun, a span keeps its name.
        if let Some(name) = came.get(TYPE).and_then(|types| types.split(',').next()) {
            span.record("otel.name", name.trim());
        }
        let parent = self.propagator.extract(&came);
        if parent.span().span_context().is_valid() && span.set_parent(parent).is_err() {
            tracing::debug!("the span has a parent already");
        }
    }

    fn handled(&self, handled: Handled<'_>) {
        let attributes = [
            KeyValue::new("endpoint", handled.endpoint.to_owned()),
            KeyValue::new("type", handled.type_name.to_owned()),
        ];
        self.handled.add(1, &attributes);
        self.handling.record(handled.handling.as_secs_f64(), &attributes);
        if let Some(critical) = handled.critical {
            self.critical.record(critical.as_secs_f64(), &attributes);
        }
        for became in handled.became {
            let attributes = [
                KeyValue::new("endpoint", handled.endpoint.to_owned()),
                KeyValue::new("saga", became.what.to_string()),
                KeyValue::new("status", became.status),
            ];
            self.sagas.add(1, &attributes);
        }
    }

    fn outgoing(&self, envelope: &mut Envelope) -> HandlerResult {
        let context = tracing::Span::current().context();
        if context.span().span_context().is_valid() {
            self.propagator.inject_context(&context, &mut Goes(envelope));
        }
        Ok(())
    }
}

struct Came<'a>(&'a Incoming);

impl Extractor for Came<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let (_, value) = self.0.headers.iter().find(|(name, _)| name == key)?;
        std::str::from_utf8(value).ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.headers.iter().map(|(name, _)| name.as_str()).collect()
    }
}

struct Goes<'a>(&'a mut Envelope);

impl Injector for Goes<'_> {
    fn set(&mut self, key: &str, value: String) {
        let name = match key {
            TRACEPARENT => TRACEPARENT,
            TRACESTATE => TRACESTATE,
            _ => return,
        };
        if value.is_empty() {
            self.0.headers.remove(name);
        } else {
            self.0.headers.set(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_the_address_is_wrong_the_error_does_not_repeat_it() {
        let wrong = start("http://u:hunter2@ x", &OtlpConfig::default());
        let error = wrong.map(drop).expect_err("it is wrong").to_string();
        assert!(
            error.contains("otlp.endpoint") && !error.contains("hunter2"),
            "{error}"
        );
    }
}
