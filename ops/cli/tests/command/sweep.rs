//! Deletes what a test has declared on a broker that all tests share: queues that nobody needs any more slow it down for those that
//! come later. What can't be deleted is told and fails nothing.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::{Connection, ConnectionProperties};
use longhaul_rabbitmq::DelayTopology;

use crate::stage::url;

type Fallible = Result<(), Box<dyn Error + Send + Sync>>;

/// How long it may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Queues of RabbitMQ by name, and delay levels by their prefix, with their exchanges.
pub(crate) fn rabbitmq(mut queues: Vec<String>, prefixes: &[String]) {
    let mut exchanges = Vec::new();
    for prefix in prefixes {
        let levels = DelayTopology::new(prefix);
        let plan = levels.plan();
        queues.extend(plan.queues.into_iter().map(|queue| queue.name));
        queues.push(levels.undeliverable());
        exchanges.extend(plan.exchanges.into_iter().map(|exchange| exchange.name));
        exchanges.push(levels.undeliverable());
    }
    in_a_thread(async move {
        let connection = Connection::connect(&url(), ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        for queue in queues {
            let options = QueueDeleteOptions::default();
            channel.queue_delete(queue.as_str().into(), options).await?;
        }
        for exchange in exchanges {
            let options = ExchangeDeleteOptions::default();
            channel.exchange_delete(exchange.as_str().into(), options).await?;
        }
        connection.close(200, "done".into()).await?;
        Ok(())
    });
}

/// Queues of the emulator of SQS whose names begin like this.
#[cfg(feature = "sqs")]
pub(crate) fn sqs(prefix: String) {
    in_a_thread(async move {
        let listed = emulator::ask("ListQueues", &serde_json::json!({ "QueueNamePrefix": prefix })).await?;
        let queues = listed["QueueUrls"].as_array().into_iter().flatten();
        for queue in queues {
            emulator::ask("DeleteQueue", &serde_json::json!({ "QueueUrl": queue })).await?;
        }
        Ok(())
    });
}

/// In a thread and a runtime of their own: the test is at its end, within a runtime, and may be failing.
fn in_a_thread(steps: impl Future<Output = Fallible> + Send + 'static) {
    let work = || {
        crate::stage::run(async {
            match tokio::time::timeout(LIMIT, steps).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => eprintln!("what the test declared is left behind: {error}"),
                Err(_) => eprintln!("what the test declared is left behind: it took too long"),
            }
        });
    };
    if std::thread::spawn(work).join().is_err() {
        eprintln!("what the test declared is left behind");
    }
}

#[cfg(feature = "sqs")]
mod emulator {
    use std::error::Error;

    use serde_json::Value;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    /// Asks the emulator, which takes it from anybody.
    pub(super) async fn ask(what: &str, about: &Value) -> Result<Value, Box<dyn Error + Send + Sync>> {
        let address = crate::stage::emulator();
        let host = address.trim_start_matches("http://").trim_end_matches('/');
        let body = about.to_string();
        let request = format!(
            "POST / HTTP/1.1\r\nhost: {host}\r\nx-amz-target: AmazonSQS.{what}\r\ncontent-type: application/x-amz-json-1.0\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(host).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        if !head.starts_with("HTTP/1.1 200") {
            return Err(format!("{what}: {head}").into());
        }
        // An answer may be empty, or come in chunks: nothing of them is needed but the lines of JSON.
        let json = body.lines().find(|line| line.starts_with('{')).unwrap_or("{}");
        Ok(serde_json::from_str(json)?)
    }
}
