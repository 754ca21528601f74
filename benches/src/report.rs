//! What one run measured.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Who does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Side {
    /// A hand-written lapin loop with its state in a map.
    Raw,
    /// Longhaul with its inbox, outbox and saga state on sled, synced.
    Longhaul,
    /// Longhaul with its store in memory, as if it were durable: what the store costs.
    LonghaulMemory,
}

impl Side {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Longhaul => "longhaul",
            Self::LonghaulMemory => "longhaul-memory",
        }
    }
}

/// What one run measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) side: Side,
    pub(crate) orders: u64,
    pub(crate) seconds: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) peak_rss_mib: f64,
    pub(crate) cpu_seconds: f64,
}

impl Report {
    pub(crate) fn orders_per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let orders = self.orders as f64;
        orders / self.seconds
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<16} {:>8} orders in {:>7.2} s = {:>7.0} orders/s, latency p50 {:>8.2} ms p99 {:>8.2} ms, peak RSS {:>6.1} MiB, CPU {:>6.1} s",
            self.side.as_str(),
            self.orders,
            self.seconds,
            self.orders_per_second(),
            self.p50_ms,
            self.p99_ms,
            self.peak_rss_mib,
            self.cpu_seconds
        )
    }
}

/// When each order was placed, and how long it took.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    state: Mutex<Times>,
    done: Notify,
}

#[derive(Debug)]
struct Times {
    begun: HashMap<u64, Instant>,
    first: Option<Instant>,
    last: Option<Instant>,
    taken: Histogram<u64>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark measures the machine's own time"
)]
fn now() -> Instant {
    Instant::now()
}

impl Stopwatch {
    pub(crate) fn new() -> Result<Self> {
        let times = Times {
            begun: HashMap::new(),
            first: None,
            last: None,
            taken: Histogram::new_with_bounds(1, 3_600_000_000, 3)?,
        };
        Ok(Self {
            state: Mutex::new(times),
            done: Notify::new(),
        })
    }

    /// Forgets everything, for the next run.
    pub(crate) fn reset(&self) {
        let mut times = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        times.begun.clear();
        times.taken.reset();
        (times.first, times.last) = (None, None);
    }

    pub(crate) fn placed(&self, order: u64) {
        let at = now();
        let mut times = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        times.first.get_or_insert(at);
        times.begun.insert(order, at);
    }

    pub(crate) fn completed(&self, order: u64) {
        let at = now();
        let mut times = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(begun) = times.begun.remove(&order) else {
            return;
        };
        let micros = u64::try_from((at - begun).as_micros()).unwrap_or(u64::MAX);
        times.taken.saturating_record(micros);
        times.last = Some(at);
        self.done.notify_one();
    }

    fn count(&self) -> u64 {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .taken
            .len()
    }

    /// Waits until fewer than `most` of `placed` orders are under way.
    pub(crate) async fn under_way_below(&self, placed: u64, most: u64) {
        while placed.saturating_sub(self.count()) >= most {
            self.done.notified().await;
        }
    }

    /// Waits until `orders` are complete, or nothing has moved for a while.
    pub(crate) async fn wait(&self, orders: u64) -> Result<()> {
        while self.count() < orders {
            let moved = tokio::time::timeout(Duration::from_secs(60), self.done.notified()).await;
            anyhow::ensure!(
                moved.is_ok(),
                "nothing moved for a minute: {} of {orders} orders are complete",
                self.count()
            );
        }
        Ok(())
    }

    pub(crate) fn report(&self, side: Side, orders: u64) -> Report {
        let times = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = times
            .first
            .zip(times.last)
            .map_or(Duration::ZERO, |(first, last)| last - first);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds for people")]
        let millis = |quantile| times.taken.value_at_quantile(quantile) as f64 / 1000.0;
        Report {
            side,
            orders,
            seconds: taken.as_secs_f64(),
            p50_ms: millis(0.5),
            p99_ms: millis(0.99),
            peak_rss_mib: peak_rss_mib(),
            cpu_seconds: cpu_seconds(),
        }
    }
}

/// The most memory that this process had resident, from the kernel's own count; 0 where it has none.
fn peak_rss_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: Option<f64> = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// User and system time of this process, in the kernel's ticks of 10 ms; 0 where it has none.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    ticks / 100.0
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
