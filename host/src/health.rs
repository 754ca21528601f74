//! The HTTP listener: `/health/live`, `/health/ready`, `/metrics` and `/control/resume`. Small answers, few connections, and
//! a limit on the time of each.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

use crate::state::{Phase, State};

/// The most connections at once; more wait.
const CONNECTIONS: usize = 32;
/// How long a caller may take to ask.
const ASKING: Duration = Duration::from_secs(5);
/// How long one connection may last.
const LASTING: Duration = Duration::from_secs(60);

/// The body of every answer about health.
#[derive(Serialize)]
struct Answer<'a> {
    ok: bool,
    status: &'a str,
}

/// Answers on a thread of its own until it is dropped: a handler that blocks the threads of the endpoint's runtime, or the one that
/// waits for the network there, does not keep it from saying so. Dropping it blocks for milliseconds; then the port is free.
pub(crate) struct Serving {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    pub(crate) fn start(listener: std::net::TcpListener, state: Arc<State>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("longhaul health".to_owned());
        let thread = thread.spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, state) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            drop(thread.join());
        }
    }
}

/// Answers until it is dropped.
async fn serve(listener: TcpListener, state: Arc<State>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Too many open files, for one: it passes.
                tracing::warn!(%error, "could not take a connection for health");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            connection(stream, state).await;
            drop(permit);
        });
    }
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let state = Arc::clone(&state);
        async move {
            #[cfg(feature = "prometheus")]
            if is_read(&request) && request.uri().path() == "/metrics" {
                return Ok(metrics(&state).await);
            }
            Ok::<_, Infallible>(answer(&request, &state))
        }
    });
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(ASKING)
        .max_buf_size(16 << 10);
    let serve = server.serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(LASTING, serve).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a caller for health went away"),
    }
}

fn is_read(request: &Request<Incoming>) -> bool {
    request.method() == Method::GET || request.method() == Method::HEAD
}

#[cfg(feature = "prometheus")]
async fn metrics(state: &State) -> Response<Full<Bytes>> {
    match crate::prometheus::metrics(state).await {
        Ok(text) => respond(StatusCode::OK, crate::prometheus::CONTENT_TYPE, text),
        Err(why) => json(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

fn answer(request: &Request<Incoming>, state: &State) -> Response<Full<Bytes>> {
    let reads = is_read(request);
    match request.uri().path() {
        "/health/live" if reads => told(state.live()),
        "/health/ready" if reads => told(state.ready()),
        "/control/resume" if request.method() == Method::POST => {
            if state.phase() == Phase::Paused {
                state.resumed.notify_one();
                json(StatusCode::OK, "resumed")
            } else {
                json(StatusCode::CONFLICT, "the endpoint is not paused")
            }
        }
        "/metrics" if cfg!(not(feature = "prometheus")) => json(
            StatusCode::NOT_FOUND,
            "metrics need a build with the feature `prometheus`",
        ),
        "/health/live" | "/health/ready" | "/control/resume" | "/metrics" => {
            json(StatusCode::METHOD_NOT_ALLOWED, "another method")
        }
        _ => json(
            StatusCode::NOT_FOUND,
            "there are /health/live, /health/ready, /metrics (feature prometheus) and POST /control/resume",
        ),
    }
}

fn told(result: Result<&'static str, String>) -> Response<Full<Bytes>> {
    match result {
        Ok(status) => json(StatusCode::OK, status),
        Err(why) => json(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

fn json(code: StatusCode, status: &str) -> Response<Full<Bytes>> {
    let ok = code.is_success();
    let body = serde_json::to_vec(&Answer { ok, status }).unwrap_or_default();
    respond(code, "application/json", body)
}

fn respond(code: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
