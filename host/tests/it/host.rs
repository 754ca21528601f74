//! A host from start to stop, asked over HTTP as a supervisor does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use longhaul_core::clock::SystemClock;
use longhaul_core::endpoint::{Endpoint, EndpointBuilder};
use longhaul_core::handler::{Context, Handler, HandlerError, HandlerResult};
use longhaul_core::recoverability::BreakerPolicy;
use longhaul_core::{Command, address::Address};
use longhaul_host::{Config, Host};
use longhaul_local::LocalBroker;
use longhaul_memory::Memory;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

#[derive(Debug, Command, Serialize, Deserialize)]
#[message("host.work.v1")]
struct Work;

/// Blocks its thread until it is told to go on.
struct Blocks(std::sync::Mutex<mpsc::Receiver<()>>);

impl Handler<Work> for Blocks {
    async fn handle(&self, _: Work, _: &mut Context) -> HandlerResult {
        self.0.lock().expect("whole").recv().expect("somebody tells");
        Ok(())
    }
}

/// Takes anything.
struct Takes;

impl Handler<Work> for Takes {
    async fn handle(&self, _: Work, _: &mut Context) -> HandlerResult {
        Ok(())
    }
}

/// Fails until it is told otherwise, and blames nobody.
struct Fails(Arc<AtomicBool>);

impl Handler<Work> for Fails {
    async fn handle(&self, _: Work, _: &mut Context) -> HandlerResult {
        if self.0.load(Ordering::SeqCst) {
            return Err(HandlerError::transient("work: the disk is full"));
        }
        Ok(())
    }
}

/// Settings under which no pause of the machine is taken for an endpoint that is stuck.
fn config(text: &str) -> Config {
    config_with("20s", text)
}

fn config_with(stuck_after: &str, text: &str) -> Config {
    let text = format!("[health]\nlisten = \"127.0.0.1:0\"\nstuck-after = \"{stuck_after}\"\n{text}");
    Config::parse(&text, "test.toml").expect("it is right")
}

fn endpoint(handler: impl Handler<Work>) -> (LocalBroker, EndpointBuilder) {
    let broker = LocalBroker::in_memory(Arc::new(SystemClock));
    let endpoint = Endpoint::builder("work")
        .transport(broker.clone())
        .persistence(Memory::new())
        .handler::<Work>(handler);
    (broker, endpoint)
}

async fn send_work(broker: &LocalBroker) {
    let sender = Endpoint::builder("sender")
        .transport(broker.clone())
        .route::<Work>("work")
        .build()
        .await
        .expect("builds");
    sender.session().send(Work).await.expect("sends");
}

/// The status and the body of the answer.
async fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("reads");
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("has a status");
    let (_, body) = answer.split_once("\r\n\r\n").expect("has a body");
    (status, body.to_owned())
}

/// Asks until the status is the one that is awaited.
async fn until(address: SocketAddr, path: &str, status: u16) -> String {
    let look = async {
        loop {
            let (got, body) = ask(address, "GET", path).await;
            if got == status {
                return body;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), look)
        .await
        .expect("comes")
}

/// Runs the host in a task; returns where health is, how to stop it, and how it ends.
fn run(
    host: Host,
    endpoint: EndpointBuilder,
) -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<bool>) {
    let address = host.health_address().expect("listens");
    let (stop, stopped) = oneshot::channel::<()>();
    let run = tokio::spawn(async move {
        let stopped = async { drop(stopped.await) };
        host.run_until(endpoint, stopped).await.is_ok()
    });
    (address, stop, run)
}

#[tokio::test]
async fn when_an_endpoint_runs_it_is_live_and_ready_and_a_stop_ends_it() {
    let (_, endpoint) = endpoint(Takes);
    let (address, stop, run) = run(Host::new(config("")).expect("binds"), endpoint);
    assert_eq!(
        until(address, "/health/ready", 200).await,
        r#"{"ok":true,"status":"running"}"#
    );
    assert_eq!(ask(address, "GET", "/health/live").await.0, 200);
    assert_eq!(ask(address, "POST", "/health/live").await.0, 405);
    assert_eq!(ask(address, "POST", "/control/resume").await.0, 409);
    assert_eq!(ask(address, "GET", "/nothing").await.0, 404);
    stop.send(()).expect("runs");
    assert!(run.await.expect("ends"));
    assert!(
        TcpStream::connect(address).await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test]
async fn when_a_host_has_ended_its_port_is_free_at_once() {
    let (_, endpoint) = endpoint(Takes);
    let host = Host::new(config("")).expect("binds");
    let address = host.health_address().expect("listens");
    assert!(host.run_until(endpoint, std::future::ready(())).await.is_ok());
    // Nothing else runs on this thread in between.
    std::net::TcpListener::bind(address).expect("nobody has it any more");
}

#[tokio::test]
async fn when_a_host_is_dropped_while_it_runs_nobody_listens_for_long() {
    let (_, endpoint) = endpoint(Takes);
    let host = Host::new(config("")).expect("binds");
    let address = host.health_address().expect("listens");
    let ready = until(address, "/health/ready", 200);
    tokio::select! {
        ended = host.run_until(endpoint, std::future::pending()) => panic!("it ended: {ended:?}"),
        _ = ready => {}
    }
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), refused).await;
    in_time.expect("nobody listens any more");
}

#[tokio::test]
async fn when_it_starts_paused_it_touches_nothing_until_it_is_resumed() {
    let (broker, endpoint) = endpoint(Takes);
    let host = Host::new(config("[endpoint]\nstart-paused = true\n")).expect("binds");
    let (address, stop, run) = run(host, endpoint);
    assert_eq!(
        until(address, "/health/ready", 503).await,
        r#"{"ok":false,"status":"paused"}"#
    );
    assert_eq!(
        until(address, "/health/live", 200).await,
        r#"{"ok":true,"status":"paused"}"#
    );
    assert_eq!(
        broker.len(&Address::new("work").expect("valid")),
        None,
        "its queue is not declared"
    );
    assert_eq!(ask(address, "GET", "/control/resume").await.0, 405);
    assert_eq!(ask(address, "POST", "/control/resume").await.0, 200);
    until(address, "/health/ready", 200).await;
    stop.send(()).expect("runs");
    assert!(run.await.expect("ends"));
}

#[tokio::test]
async fn when_it_is_stopped_while_paused_it_ends() {
    let (_, endpoint) = endpoint(Takes);
    let host = Host::new(config("[endpoint]\nstart-paused = true\n")).expect("binds");
    let (address, stop, run) = run(host, endpoint);
    until(address, "/health/live", 200).await;
    stop.send(()).expect("runs");
    assert!(run.await.expect("ends"));
}

#[tokio::test]
async fn when_a_handler_blocks_the_only_thread_of_its_runtime_health_says_so_until_it_moves_again() {
    let (go_on, blocked) = mpsc::channel();
    let (broker, endpoint) = endpoint(Blocks(std::sync::Mutex::new(blocked)));
    let host = Host::new(config_with("2s", "")).expect("binds");
    let address = host.health_address().expect("listens");
    let (stop, stopped) = oneshot::channel::<()>();
    let process = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let run = host.run_until(endpoint, async { drop(stopped.await) });
        runtime.expect("starts").block_on(run).is_ok()
    });
    until(address, "/health/ready", 200).await;
    send_work(&broker).await;
    let why = until(address, "/health/live", 503).await;
    assert!(why.contains("has not moved"), "{why}");
    assert_eq!(ask(address, "GET", "/health/ready").await.0, 503);
    go_on.send(()).expect("it waits");
    until(address, "/health/ready", 200).await;
    stop.send(()).expect("runs");
    assert!(process.join().expect("ends"));
}

#[tokio::test]
async fn when_the_breaker_of_the_endpoint_is_open_it_is_live_and_not_ready_until_it_closes() {
    let is_down = Arc::new(AtomicBool::new(true));
    let (broker, endpoint) = endpoint(Fails(Arc::clone(&is_down)));
    let endpoint = endpoint.settings(|settings| {
        settings.breaker = Some(BreakerPolicy {
            failures: 1,
            probe_delay: Duration::from_millis(20),
        });
    });
    let (address, stop, run) = run(Host::new(config("")).expect("binds"), endpoint);
    until(address, "/health/ready", 200).await;
    send_work(&broker).await;
    let why = until(address, "/health/ready", 503).await;
    assert!(why.contains("circuit breaker"), "{why}");
    assert_eq!(ask(address, "GET", "/health/live").await.0, 200);
    is_down.store(false, Ordering::SeqCst);
    until(address, "/health/ready", 200).await;
    stop.send(()).expect("runs");
    assert!(run.await.expect("ends"));
}

#[tokio::test]
async fn when_the_endpoint_is_put_together_wrongly_the_host_says_so() {
    let host = Host::new(config("")).expect("binds");
    let error = host
        .run_until(Endpoint::builder(""), std::future::pending())
        .await
        .expect_err("it is wrong");
    assert!(error.endpoint().is_some());
    assert!(error.to_string().contains("there is no broker"), "{error}");
}

#[tokio::test]
async fn when_the_port_is_in_use_the_host_says_so_at_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = taken.local_addr().expect("has one");
    let text = format!("[health]\nlisten = \"{address}\"\n");
    let error = Host::new(Config::parse(&text, "f").expect("it is right")).expect_err("it is taken");
    assert!(error.to_string().contains("health.listen"), "{error}");
}

#[tokio::test]
async fn when_callers_send_nothing_or_nonsense_others_are_answered() {
    let (_, endpoint) = endpoint(Takes);
    let (address, stop, run) = run(Host::new(config("")).expect("binds"), endpoint);
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(TcpStream::connect(address).await.expect("connects"));
    }
    let mut nonsense = TcpStream::connect(address).await.expect("connects");
    nonsense.write_all(&[0xff; 100]).await.expect("writes");
    until(address, "/health/ready", 200).await;
    stop.send(()).expect("runs");
    assert!(run.await.expect("ends"));
}

#[cfg(feature = "prometheus")]
#[tokio::test]
async fn when_metrics_are_asked_for_they_tell_what_was_done() {
    let (broker, endpoint) = endpoint(Takes);
    let endpoint = endpoint.stateful(becomes::Order);
    let (address, stop, run) = run(Host::new(config("")).expect("binds"), endpoint);
    until(address, "/health/ready", 200).await;
    send_work(&broker).await;
    let handled = "longhaul_messages_handled_total{endpoint=\"work\"} 1";
    let look = async {
        loop {
            let (status, text) = ask(address, "GET", "/metrics").await;
            assert_eq!(status, 200);
            if text.contains(handled) {
                return text;
            }
            tokio::task::yield_now().await;
        }
    };
    let text = tokio::time::timeout(Duration::from_secs(20), look)
        .await
        .expect("comes");
    let longest = text
        .lines()
        .find(|line| line.starts_with("longhaul_handling_seconds_bucket{") && line.contains("le=\"+Inf\""));
    assert!(longest.is_some_and(|line| line.ends_with(" 1")), "{text}");
    assert!(text.contains("longhaul_ready{endpoint=\"work\"} 1"), "{text}");
    for name in [
        "messages_held",
        "messages_deferred",
        "breaker_openings",
        "messages_set_aside",
        "messages_discarded",
    ] {
        let line = format!("longhaul_{name}_total{{endpoint=\"work\"}} 0");
        assert!(text.contains(&line), "{line} is not in {text}");
    }
    assert!(
        text.contains("longhaul_timeouts_overdue{endpoint=\"work\"} 0"),
        "{text}"
    );
    for (status, count) in [("active", 1), ("completed", 1), ("stuck", 0)] {
        let line =
            format!("longhaul_sagas_total{{endpoint=\"work\",saga=\"order\",status=\"{status}\"}} {count}");
        assert!(text.contains(&line), "{line} is not in {text}");
    }
    assert!(text.ends_with("# EOF\n"), "{text}");
    stop.send(()).expect("runs");
    assert!(run.await.expect("ends"));
}

/// A participant with state, whose instances begin and end.
#[cfg(feature = "prometheus")]
mod becomes {
    use longhaul_core::handler::{HandlerResult, Received};
    use longhaul_core::message::{Message, MessageKind};
    use longhaul_core::stateful::{Accepts, Became, Effects, StatefulHandler, Taken, Work};
    use longhaul_core::store::RecordKey;

    pub(super) struct Order;

    impl StatefulHandler for Order {
        fn name(&self) -> &str {
            "order"
        }

        fn accepts(&self) -> Vec<Accepts> {
            vec![Accepts {
                type_name: super::Work::NAME.into(),
                kind: MessageKind::Command,
            }]
        }

        fn keys(&self, _: &Received) -> HandlerResult<Vec<RecordKey>> {
            Ok(Vec::new())
        }

        fn statuses(&self) -> Vec<Became> {
            let became = |status| Became {
                what: "order".into(),
                status,
            };
            ["active", "completed", "stuck"].map(became).into()
        }

        fn handle(&self, _: &Received, work: Work<'_>) -> HandlerResult<Effects> {
            Ok(Effects {
                outbound: work.outbound,
                records: Vec::new(),
                pending: Vec::new(),
                taken: Taken::Handled,
                became: ["active", "completed"]
                    .map(|status| Became {
                        what: "order".into(),
                        status,
                    })
                    .into(),
            })
        }
    }
}
