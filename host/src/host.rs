//! Runs one endpoint as a process: pause, start, health, stop.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use longhaul_core::endpoint::{EndpointBuilder, EndpointError, Session};
use longhaul_core::signals::stop_signal;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::Config;
use crate::describe;
use crate::health::Serving;
use crate::rehearse;
use crate::state::{Phase, State};
use crate::telemetry::{self, Telemetry};

/// How often the endpoint's task shows that it moves.
const BEAT: Duration = Duration::from_secs(1);

/// Runs an endpoint as a process.
#[derive(Debug)]
#[must_use = "nothing happens before `run`"]
pub struct Host {
    config: Config,
    listener: Option<std::net::TcpListener>,
    /// What it was asked to rehearse instead of running.
    rehearse: Option<PathBuf>,
    /// Whether it was asked to describe itself instead of running.
    describe: bool,
}

impl Host {
    /// A host with the settings of the environment; see [`Config::from_environment`]. If the program was called with
    /// `--rehearse FILE`, or `LONGHAUL_REHEARSE` names one, it reads failed messages from that file (`-`: standard input), as
    /// `longhaul errors export` writes them, and `run` writes what would become of each to standard output, a line of JSON each:
    /// handled against the state that is stored, with nothing sent and nothing written. Then it ends. Called with
    /// `--describe` it writes how its sagas look, a line of JSON each with diagrams for Mermaid and Graphviz, and ends.
    ///
    /// Its health listener is bound now, so that a port in use shows at once.
    ///
    /// # Errors
    /// The settings are wrong, or the address of the listener can't be bound.
    pub fn from_environment() -> Result<Self, HostError> {
        let rehearse = rehearse::asked()?;
        let describe = describe::asked();
        let mut config = Config::from_environment()?;
        if rehearse.is_some() || describe {
            // It does not run, so nothing about it is asked.
            config.health.listen = None;
            config.endpoint.start_paused = false;
        }
        Ok(Self {
            rehearse,
            describe,
            ..Self::new(config)?
        })
    }

    /// A host with these settings.
    ///
    /// # Errors
    /// The address of the health listener can't be bound.
    pub fn new(config: Config) -> Result<Self, HostError> {
        let listener = config.health.listen.map(bind).transpose()?;
        Ok(Self {
            config,
            listener,
            rehearse: None,
            describe: false,
        })
    }

    /// The settings.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Where health is asked for, with the port that the system chose for port 0; `None` if nothing listens.
    #[must_use]
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.listener.as_ref()?.local_addr().ok()
    }

    /// Starts to log to standard error, and with the feature `otlp` to send spans and metrics to the collector, for the
    /// whole process. Keep what comes back until the process ends: dropped, it sends what is left, within five seconds.
    ///
    /// # Errors
    /// The filter or the collector's address is wrong, or something logs already.
    pub fn init_telemetry(&self) -> Result<Telemetry, HostError> {
        telemetry::init(&self.config)
    }

    /// Runs the endpoint until the process is asked to stop (SIGTERM or SIGINT), and finishes what was begun, within the limit.
    ///
    /// # Errors
    /// The endpoint could not be built, or stopped by itself.
    pub async fn run(self, endpoint: EndpointBuilder) -> Result<(), HostError> {
        self.run_until(endpoint, stop_signal()).await
    }

    /// Like [`Host::run`], with code of the application beside the endpoint once it is built: a web server that sends
    /// messages, for one. When that code ends the endpoint goes on; when the endpoint stops, the code is dropped.
    ///
    /// # Errors
    /// See [`Host::run`].
    pub async fn run_with<F>(
        self,
        endpoint: EndpointBuilder,
        beside: impl FnOnce(Session) -> F + Send,
    ) -> Result<(), HostError>
    where
        F: Future<Output = ()> + Send,
    {
        self.run_both(endpoint, beside, stop_signal()).await
    }

    /// Like [`Host::run`], until `stop` resolves.
    ///
    /// # Errors
    /// See [`Host::run`].
    pub async fn run_until(
        self,
        endpoint: EndpointBuilder,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), HostError> {
        self.run_both(endpoint, |_| std::future::ready(()), stop).await
    }

    async fn run_both<F>(
        self,
        endpoint: EndpointBuilder,
        beside: impl FnOnce(Session) -> F + Send,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), HostError>
    where
        F: Future<Output = ()> + Send,
    {
        if self.describe {
            return describe::run(&endpoint);
        }
        if let Some(file) = &self.rehearse {
            return Box::pin(rehearse::run(file, self.config.endpoint.apply(endpoint))).await;
        }
        let state = Arc::new(State::new(self.config.health.stuck_after));
        // Dropped with this, it ends too.
        let serving = self
            .listener
            .map(|listener| Serving::start(listener, Arc::clone(&state)));
        let serving = serving.transpose();
        let serving = serving.map_err(|error| HostError::config(format!("listen for health: {error}")))?;
        let endpoint = telemetry::steps(&self.config, self.config.endpoint.apply(endpoint));
        // A large future: on the heap, once.
        let run = Box::pin(start_and_run(
            &state,
            self.config.endpoint.start_paused,
            endpoint,
            beside,
            stop,
        ));
        let result = beating(&state, run).await;
        // Nobody is told of health by a host that has ended, and its port is free.
        drop(serving);
        result
    }
}

async fn start_and_run<F>(
    state: &State,
    is_paused: bool,
    endpoint: EndpointBuilder,
    beside: impl FnOnce(Session) -> F + Send,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), HostError>
where
    F: Future<Output = ()> + Send,
{
    let mut stop = pin!(stop);
    if is_paused {
        state.enter(Phase::Paused);
        tracing::info!("paused: `POST /control/resume` starts the endpoint");
        tokio::select! {
            () = &mut stop => return Ok(()),
            () = state.resumed.notified() => {}
        }
        state.enter(Phase::Starting);
    }
    let endpoint = tokio::select! {
        () = &mut stop => return Ok(()),
        endpoint = endpoint.build() => endpoint?,
    };
    state.watch(endpoint.monitor());
    state.enter(Phase::Running);
    let stop = async {
        stop.await;
        state.enter(Phase::Stopping);
    };
    let beside = beside(endpoint.session());
    let mut run = pin!(endpoint.run_until(stop));
    tokio::select! {
        ended = &mut run => return Ok(ended?),
        () = beside => {}
    }
    Ok(run.await?)
}

/// Runs it in one task with a clock that ticks: while it blocks, the clock does not tick.
async fn beating<T>(state: &State, run: impl Future<Output = T>) -> T {
    let mut run = pin!(run);
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            result = &mut run => return result,
            _ = beat.tick() => state.beat(),
        }
    }
}

fn bind(address: SocketAddr) -> Result<std::net::TcpListener, HostError> {
    let bound = std::net::TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|error| {
        HostError::config(format!(
            "listen for health on {address}: {error}; choose another `health.listen`"
        ))
    })
}

/// Why a host could not start, or ended by itself. Reads after "failed to".
#[derive(Debug)]
pub struct HostError {
    message: String,
    endpoint: Option<EndpointError>,
}

impl HostError {
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            endpoint: None,
        }
    }

    /// What the application's own preparations met: a database that can't be opened, for one.
    #[must_use]
    pub fn other(error: &dyn fmt::Display) -> Self {
        Self::config(format!("start: {error}"))
    }

    /// The endpoint's own error, if it was that; else the settings were wrong, or what the application prepared.
    #[must_use]
    pub const fn endpoint(&self) -> Option<&EndpointError> {
        self.endpoint.as_ref()
    }
}

impl From<EndpointError> for HostError {
    fn from(error: EndpointError) -> Self {
        Self {
            message: String::from("run the endpoint"),
            endpoint: Some(error),
        }
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Some(error) => error.fmt(f),
            None => write!(f, "failed to {}", self.message),
        }
    }
}

impl std::error::Error for HostError {}
