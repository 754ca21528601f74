//! Spans and metrics as a collector gets them, over gRPC.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use longhaul_core::Command;
use longhaul_core::address::Address;
use longhaul_core::clock::SystemClock;
use longhaul_core::endpoint::{Endpoint, EndpointBuilder};
use longhaul_core::handler::{Context, Handler, HandlerResult};
use longhaul_host::{Config, Host};
use longhaul_local::LocalBroker;
use longhaul_memory::Memory;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// Takes what exporters send.
#[derive(Clone)]
struct Collector {
    spans: mpsc::UnboundedSender<Span>,
    metrics: mpsc::UnboundedSender<String>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        for span in scopes.flat_map(|scope| scope.spans) {
            self.spans.send(span).expect("somebody looks");
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let resources = request.into_inner().resource_metrics.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_metrics);
        for metric in scopes.flat_map(|scope| scope.metrics) {
            self.metrics.send(metric.name).expect("somebody looks");
        }
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[derive(Debug, Command, Serialize, Deserialize)]
#[message("sales.place_order.v1")]
struct PlaceOrder;

#[derive(Debug, Command, Serialize, Deserialize)]
#[message("billing.charge_card.v1")]
struct ChargeCard;

struct Sales;

impl Handler<PlaceOrder> for Sales {
    async fn handle(&self, _: PlaceOrder, ctx: &mut Context) -> HandlerResult {
        ctx.send(ChargeCard);
        Ok(())
    }
}

/// Says when it has charged a card.
struct Billing(mpsc::UnboundedSender<()>);

impl Handler<ChargeCard> for Billing {
    async fn handle(&self, _: ChargeCard, _: &mut Context) -> HandlerResult {
        self.0.send(()).expect("somebody waits");
        Ok(())
    }
}

struct Server {
    address: SocketAddr,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
    spans: mpsc::UnboundedReceiver<Span>,
    metrics: mpsc::UnboundedReceiver<String>,
}

async fn collector() -> Server {
    let (spans, seen_spans) = mpsc::unbounded_channel();
    let (metrics, seen_metrics) = mpsc::unbounded_channel();
    let collector = Collector { spans, metrics };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("has one");
    let server = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(collector.clone()))
        .add_service(MetricsServiceServer::new(collector))
        .serve_with_incoming(TcpIncoming::from(listener));
    Server {
        address,
        serving: tokio::spawn(server),
        spans: seen_spans,
        metrics: seen_metrics,
    }
}

/// Runs an endpoint until the sender is used or dropped; returns once its queue is there.
async fn run(
    config: &Config,
    broker: &LocalBroker,
    queue: &str,
    endpoint: EndpointBuilder,
) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let host = Host::new(config.clone()).expect("binds");
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(async move {
        host.run_until(endpoint, async { drop(stopped.await) })
            .await
            .expect("runs");
    });
    let queue = Address::new(queue).expect("valid");
    let declared = async {
        while broker.len(&queue).is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), declared)
        .await
        .expect("declares");
    (stop, running)
}

async fn all<T>(from: &mut mpsc::UnboundedReceiver<T>) -> Vec<T> {
    let mut all = Vec::new();
    while let Some(one) = from.recv().await {
        all.push(one);
    }
    all
}

/// Billing's message lies within the handling of the one that sales had.
fn assert_one_trace(spans: &[Span]) {
    let of = |name: &str| {
        spans
            .iter()
            .find(|span| span.name == name)
            .unwrap_or_else(|| panic!("no {name} among {} spans", spans.len()))
    };
    let (placed, charged) = (of("sales.place_order.v1"), of("billing.charge_card.v1"));
    assert_eq!(placed.trace_id, charged.trace_id, "one order is one trace");
    assert!(placed.parent_span_id.is_empty());
    assert_eq!(placed.kind, SpanKind::Consumer as i32);
    let parent = spans
        .iter()
        .find(|span| span.span_id == charged.parent_span_id)
        .expect("its parent is there");
    assert_eq!(
        (parent.name.as_str(), &parent.parent_span_id),
        ("handle", &placed.span_id)
    );
    for step in ["load", "handle", "commit"] {
        let is_of_it = |span: &Span| span.name == step && span.parent_span_id == charged.span_id;
        assert!(spans.iter().any(is_of_it), "{step} is missing");
    }
    assert!(spans.iter().any(|span| span.name == "dispatch"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_an_order_goes_through_two_endpoints_it_is_one_trace_at_the_collector() {
    let mut server = collector().await;
    let text = format!(
        "[otlp]\nendpoint = \"http://{}\"\n[log]\nfilter = \"longhaul_core=debug\"\n",
        server.address
    );
    let config = Config::parse(&text, "test.toml").expect("it is right");
    let telemetry = Host::new(config.clone())
        .expect("binds")
        .init_telemetry()
        .expect("starts");

    let broker = LocalBroker::in_memory(Arc::new(SystemClock));
    let (charged, mut charges) = mpsc::unbounded_channel();
    let endpoint = |name: &str| {
        Endpoint::builder(name)
            .transport(broker.clone())
            .persistence(Memory::new())
    };
    let billing = endpoint("billing").handler::<ChargeCard>(Billing(charged));
    let sales = endpoint("sales")
        .handler::<PlaceOrder>(Sales)
        .route::<ChargeCard>("billing");
    let (stop_billing, billing) = run(&config, &broker, "billing", billing).await;
    let (stop_sales, sales) = run(&config, &broker, "sales", sales).await;
    let client = Endpoint::builder("client")
        .transport(broker.clone())
        .route::<PlaceOrder>("sales");
    let client = client.build().await.expect("builds").session();
    client.send(PlaceOrder).await.expect("sends");
    tokio::time::timeout(Duration::from_secs(20), charges.recv())
        .await
        .expect("comes");
    drop((stop_billing, stop_sales));
    billing.await.expect("ends");
    sales.await.expect("ends");
    // It sends what is left, which blocks.
    tokio::task::spawn_blocking(|| drop(telemetry))
        .await
        .expect("ends");
    server.serving.abort();

    assert_one_trace(&all(&mut server.spans).await);
    let mut metrics = all(&mut server.metrics).await;
    metrics.sort();
    metrics.dedup();
    assert_eq!(
        metrics,
        [
            "longhaul.critical_time",
            "longhaul.handling.duration",
            "longhaul.messages.handled"
        ]
    );
}
