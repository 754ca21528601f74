//! `/metrics`, in the text format of Prometheus.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use longhaul_core::endpoint::{Durations, EndpointError, Monitor, Stats};
use longhaul_core::store::Sizes;
use longhaul_core::transport::Health;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::state::{Phase, State};

/// Of the text that [`metrics`] makes.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// How long the store may take to count: a scrape has a limit of its own.
const COUNTING: Duration = Duration::from_secs(5);

/// All metrics of the process as text; or why there are none.
pub(crate) async fn metrics(state: &State) -> Result<String, String> {
    let mut registry = Registry::with_prefix("longhaul");
    registry.register_collector(Box::new(Snapshot::take(state).await));
    let mut out = String::new();
    text::encode(&mut out, &registry).map_err(|fmt::Error| String::from("could not write the metrics"))?;
    Ok(out)
}

/// What is told of one endpoint.
#[derive(Debug)]
struct Snapshot {
    counters: Vec<(&'static str, &'static str, u64)>,
    gauges: Vec<(&'static str, &'static str, u64)>,
    times: Vec<(&'static str, &'static str, Durations)>,
    /// How many instances of a saga came to a status.
    sagas: Vec<(Cow<'static, str>, &'static str, u64)>,
    endpoint: String,
}

impl Snapshot {
    async fn take(state: &State) -> Self {
        let is_ready = u64::from(state.ready().is_ok());
        let is_running = u64::from(state.phase() == Phase::Running);
        let mut snapshot = Self {
            counters: Vec::new(),
            gauges: vec![
                ("ready", "Whether the endpoint handles messages", is_ready),
                (
                    "running",
                    "Whether the endpoint was started and not asked to stop",
                    is_running,
                ),
            ],
            times: Vec::new(),
            sagas: Vec::new(),
            endpoint: String::new(),
        };
        if let Some(monitor) = state.monitor() {
            snapshot.add(&monitor).await;
        }
        snapshot
    }

    async fn add(&mut self, monitor: &Monitor) {
        let (stats, timings) = (monitor.stats(), monitor.timings());
        self.endpoint = monitor.name().to_string();
        let counters = COUNTERS.iter();
        self.counters
            .extend(counters.map(|(name, help, of)| (*name, *help, of(&stats))));
        for (saga, statuses) in monitor.statuses() {
            let statuses = statuses.into_iter();
            self.sagas
                .extend(statuses.map(|(status, count)| (saga.clone(), status, count)));
        }
        let is_connected = *monitor.transport_health().borrow() == Health::Connected;
        self.gauges.extend([
            (
                "broker_connected",
                "Whether the broker can be reached",
                u64::from(is_connected),
            ),
            (
                "outbox_backlog",
                "Committed messages not yet at the broker, as far as the process knows",
                monitor.backlog() as u64,
            ),
        ]);
        self.times.extend([
            (
                "handling",
                "From the beginning of the attempt that succeeded to its commit",
                timings.handling,
            ),
            (
                "critical_time",
                "From when a message was sent, or was due, to the commit of what it caused",
                timings.critical,
            ),
        ]);
        if let Some(Some(sizes)) = counted(monitor.sizes()).await {
            let sizes = SIZES.iter().map(|(name, help, of)| (*name, *help, of(&sizes)));
            self.gauges.extend(sizes);
        }
        if let Some(Some(overdue)) = counted(monitor.overdue()).await {
            let help = "Timeouts that are due and have not fired; at most 1000 are counted";
            self.gauges.push(("timeouts_overdue", help, overdue));
        }
    }
}

/// What the store counted, if it did in time.
async fn counted<T>(asked: impl Future<Output = Result<T, EndpointError>>) -> Option<T> {
    match tokio::time::timeout(COUNTING, asked).await {
        Ok(Ok(counted)) => Some(counted),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the metrics are without the store's");
            None
        }
        Err(_) => {
            tracing::warn!("the metrics are without the store's: it did not answer in time");
            None
        }
    }
}

/// Name, help, and where the value is.
type Of<T> = (&'static str, &'static str, fn(&T) -> u64);

const COUNTERS: [Of<Stats>; 23] = [
    (
        "messages_received",
        "Messages taken from the broker, and timeouts that fired without it",
        |stats| stats.received,
    ),
    (
        "messages_handled",
        "Messages whose handling was committed",
        |stats| stats.handled,
    ),
    ("duplicates", "Messages that were handled already", |stats| {
        stats.duplicates
    }),
    (
        "stale_alarms",
        "Alarms of timeouts that were cancelled, moved, or had fired",
        |stats| stats.stale_alarms,
    ),
    ("ignored", "Messages for something finished", |stats| {
        stats.ignored
    }),
    ("failures", "Attempts that failed", |stats| stats.failures),
    (
        "expected_failures",
        "Attempts that failed, as they may",
        |stats| stats.expected_failures,
    ),
    (
        "unexpected_failures",
        "Attempts that failed as nobody foresaw",
        |stats| stats.unexpected_failures,
    ),
    (
        "delayed_retries",
        "Delayed retries that were scheduled",
        |stats| stats.delayed_retries,
    ),
    (
        "put_off",
        "Messages put off because nothing takes them yet",
        |stats| stats.put_off,
    ),
    (
        "messages_held",
        "Messages that waited for a circuit breaker or a limit",
        |stats| stats.held,
    ),
    (
        "messages_deferred",
        "Messages put off because too many waited for a circuit breaker or a limit, or one did for too long",
        |stats| stats.deferred,
    ),
    (
        "breaker_openings",
        "Times that a circuit breaker opened",
        |stats| stats.breaker_openings,
    ),
    (
        "messages_set_aside",
        "Messages set aside to wait in order behind one that failed",
        |stats| stats.set_aside,
    ),
    (
        "messages_discarded",
        "Failed messages that were forgotten, because a rule says so",
        |stats| stats.discarded,
    ),
    ("moved_to_errors", "Messages moved to the error queue", |stats| {
        stats.moved_to_errors
    }),
    ("conflicts", "Lost races that were run again", |stats| {
        stats.conflicts
    }),
    ("messages_sent", "Messages sent and confirmed", |stats| stats.sent),
    (
        "events_without_subscribers",
        "Events that nobody subscribes to",
        |stats| stats.without_subscribers,
    ),
    (
        "send_failures",
        "Sends that the broker did not confirm",
        |stats| stats.send_failures,
    ),
    (
        "overdue_timeouts_fired",
        "Overdue timeouts that fired without the broker",
        |stats| stats.overdue,
    ),
    ("rows_parked", "Rows set aside for people", |stats| stats.parked),
    (
        "messages_released",
        "Messages given back to the broker",
        |stats| stats.released,
    ),
];

const SIZES: [Of<Sizes>; 5] = [
    ("inbox_entries", "Known message ids", |sizes| sizes.inbox),
    (
        "records",
        "Records, those of finished things included until they expire",
        |sizes| sizes.records,
    ),
    (
        "outbox_rows",
        "Messages that the store has and that are not yet sent",
        |sizes| sizes.unsent,
    ),
    ("timeouts_pending", "Timeouts not yet fired", |sizes| {
        sizes.timeouts
    }),
    ("rows_set_aside", "Rows that wait for people", |sizes| {
        sizes.parked
    }),
];

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let labels = [("endpoint", self.endpoint.as_str())];
        for (name, help, value) in &self.counters {
            let metric = ConstCounter::new(*value);
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            metric.encode(family.encode_family(&labels)?)?;
        }
        if !self.sagas.is_empty() {
            let help = "Instances of sagas that came to a status since the process began";
            let mut family = encoder.encode_descriptor("sagas", help, None, MetricType::Counter)?;
            for (saga, status, count) in &self.sagas {
                let labels = [
                    ("endpoint", self.endpoint.as_str()),
                    ("saga", saga.as_ref()),
                    ("status", status),
                ];
                ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
            }
        }
        for (name, help, value) in &self.gauges {
            let metric = ConstGauge::new(i64::try_from(*value).unwrap_or(i64::MAX));
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            metric.encode(family.encode_family(&labels)?)?;
        }
        for (name, help, durations) in &self.times {
            let metric = Times(durations);
            let mut family =
                encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
            metric.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// A histogram in seconds.
#[derive(Debug)]
struct Times<'a>(&'a Durations);

impl EncodeMetric for Times<'_> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let buckets: Vec<_> = self
            .0
            .buckets()
            .map(|(bound, count)| (bound.map_or(f64::INFINITY, |bound| bound.as_secs_f64()), count))
            .collect();
        encoder.encode_histogram::<NoLabelSet>(self.0.sum().as_secs_f64(), self.0.count(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
