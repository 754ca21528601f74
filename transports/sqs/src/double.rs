//! A double for HTTP: what the SDK would send is shown to a script, which answers, late or never.

pub(crate) mod model;

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_sdk_sqs::config::{
    HttpClient, RuntimeComponents, SharedHttpClient, http::HttpRequest, http::HttpResponse,
};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
    result::ConnectorError,
};
use futures_util::future::BoxFuture;
use longhaul_core::{
    clock::{Clock, Timestamp},
    ids::SeededRandomness,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{Sqs, SqsBuilder};

/// The time of the runtime, which is virtual in these tests. It begins anew in each of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokioClock;

thread_local! {
    // A test has a thread of its own, and so has its runtime.
    static BEGAN: Instant = Instant::now();
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_763_719_200_000_000) + BEGAN.with(Instant::elapsed)
    }

    fn sleep_until(&self, due: Timestamp) -> BoxFuture<'static, ()> {
        let left = due.since(self.now());
        Box::pin(tokio::time::sleep(left))
    }
}

/// What a script says to a request.
pub(crate) enum Reply {
    Now(u16, Value),
    After(Duration, Value),
    Never,
    /// There is nobody of that name.
    Unreachable,
    /// Later the script is asked again, with this body.
    Again(Duration, Value),
}

impl Reply {
    pub(crate) fn ok(body: Value) -> Self {
        Self::Now(200, body)
    }

    /// An error of AWS for the whole request.
    pub(crate) fn error(status: u16, code: &str) -> Self {
        Self::Now(
            status,
            json!({ "__type": format!("com.amazonaws.sqs#{code}"), "message": "why" }),
        )
    }
}

type Script = dyn FnMut(&str, &Value) -> Reply + Send;

/// Requests by name, with their bodies, and the script.
#[derive(Clone)]
pub(crate) struct Double {
    script: Arc<Mutex<Box<Script>>>,
    seen: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Double {
    /// Where queues are found by themselves.
    pub(crate) fn new(mut script: impl FnMut(&str, &Value) -> Reply + Send + 'static) -> Self {
        Self::plain(move |name, body| match name {
            "GetQueueUrl" => {
                let queue = body["QueueName"].as_str().unwrap();
                Reply::ok(json!({ "QueueUrl": format!("https://sqs.test/123456789012/{queue}") }))
            }
            name => script(name, body),
        })
    }

    /// Where the script answers everything.
    pub(crate) fn plain(script: impl FnMut(&str, &Value) -> Reply + Send + 'static) -> Self {
        Self {
            script: Arc::new(Mutex::new(Box::new(script))),
            seen: Arc::default(),
        }
    }

    pub(crate) fn builder(&self) -> SqsBuilder {
        Sqs::builder()
            .region("eu-west-1")
            .clock(Arc::new(TokioClock))
            .pollers(1)
            .randomness(Arc::new(SeededRandomness::new(1)))
            .http(SharedHttpClient::new(self.clone()))
    }

    pub(crate) async fn sqs(&self) -> Sqs {
        self.builder().connect().await.unwrap()
    }

    /// Bodies of all requests of that name.
    pub(crate) fn seen(&self, name: &str) -> Vec<Value> {
        let seen = self.seen.lock().unwrap();
        let found = seen.iter().filter(|(have, _)| have == name);
        found.map(|(_, body)| body.clone()).collect()
    }
}

impl HttpConnector for Double {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let name = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body = request.body().bytes().unwrap_or_default();
        let body = serde_json::from_slice(body).unwrap_or(Value::Null);
        let mut reply = (self.script.lock().unwrap())(&name, &body);
        self.seen.lock().unwrap().push((name.clone(), body));
        let script = Arc::clone(&self.script);
        HttpConnectorFuture::new(async move {
            while let Reply::Again(pause, body) = reply {
                tokio::time::sleep(pause).await;
                reply = (script.lock().unwrap())(&name, &body);
            }
            let (status, body) = match reply {
                Reply::Again(..) => unreachable!("it was asked again"),
                Reply::Now(status, body) => (status, body),
                Reply::After(delay, body) => {
                    tokio::time::sleep(delay).await;
                    (200, body)
                }
                Reply::Never => std::future::pending().await,
                Reply::Unreachable => {
                    let error = std::io::Error::other("dns error: no such host");
                    return Err(ConnectorError::io(error.into()));
                }
            };
            Ok(HttpResponse::new(
                status.try_into().unwrap(),
                body.to_string().into(),
            ))
        })
    }
}

impl HttpClient for Double {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl fmt::Debug for Double {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Double")
    }
}

/// The ids of a batch's entries.
pub(crate) fn ids(body: &Value) -> Vec<String> {
    let entries = body["Entries"].as_array().unwrap();
    entries
        .iter()
        .map(|entry| entry["Id"].as_str().unwrap().to_owned())
        .collect()
}

/// An answer in which all entries have succeeded.
pub(crate) fn all_done(body: &Value) -> Reply {
    let done: Vec<Value> = ids(body).iter().map(|id| done(id)).collect();
    Reply::ok(json!({ "Successful": done, "Failed": [] }))
}

pub(crate) fn done(id: &str) -> Value {
    json!({ "Id": id, "MessageId": "m", "MD5OfMessageBody": "" })
}

pub(crate) fn failed(id: &str, code: &str, is_ours: bool) -> Value {
    json!({ "Id": id, "Code": code, "Message": "why", "SenderFault": is_ours })
}
