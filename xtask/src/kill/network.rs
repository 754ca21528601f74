//! Stands between the processes and the emulator, and does what networks and AWS do: of a hundred requests the answer to
//! one is lost after it took effect, and of a hundred requests that send, five are made twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use longhaul::ids::{Randomness, SeededRandomness};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// Of so many requests one is answered badly.
const LOST_ONE_IN: u64 = 100;
/// Of so many requests that send, one is made twice.
const TWICE_ONE_IN: u64 = 20;
/// Longer than the processes wait for an answer.
const HANG: Duration = Duration::from_secs(8);
/// The longest head and body of a message that is passed on.
const MOST_HEAD: usize = 64 * 1024;
const MOST_BODY: usize = 16 * 1024 * 1024;

/// What was done to requests.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct Done {
    pub(crate) requests: u64,
    /// Messages and events were sent twice by the network.
    pub(crate) sent_twice: u64,
    /// It took effect, and the answer was an error, a closed connection, or none within the time limit.
    pub(crate) errors: u64,
    pub(crate) cut: u64,
    pub(crate) hung: u64,
}

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    twice: AtomicU64,
    errors: AtomicU64,
    cut: AtomicU64,
    hung: AtomicU64,
}

/// The network in front of one address. It is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Network {
    /// Where the processes connect to.
    pub(crate) url: String,
    target: Arc<str>,
    counts: Arc<Counts>,
    task: AbortHandle,
}

impl Network {
    pub(crate) async fn before(target: String, seed: u64) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (target, counts): (Arc<str>, Arc<Counts>) = (target.into(), Arc::default());
        let draw = Arc::new(SeededRandomness::new(seed));
        let accepting = {
            let (target, counts) = (Arc::clone(&target), Arc::clone(&counts));
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let (target, counts, draw) =
                        (Arc::clone(&target), Arc::clone(&counts), Arc::clone(&draw));
                    tokio::spawn(async move {
                        // The processes are killed, and their connections with them.
                        drop(serve(client, &target, &counts, &draw).await);
                    });
                }
            }
        };
        let task = tokio::spawn(accepting).abort_handle();
        Ok(Self {
            url,
            target,
            counts,
            task,
        })
    }

    pub(crate) fn direct(&self) -> String {
        format!("http://{}", self.target)
    }

    pub(crate) fn done(&self) -> Done {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        Done {
            requests: count(&self.counts.requests),
            sent_twice: count(&self.counts.twice),
            errors: count(&self.counts.errors),
            cut: count(&self.counts.cut),
            hung: count(&self.counts.hung),
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes on what comes over one connection.
async fn serve(
    client: TcpStream,
    target: &str,
    counts: &Counts,
    draw: &SeededRandomness,
) -> anyhow::Result<()> {
    let mut client = BufReader::new(client);
    let mut server = BufReader::new(TcpStream::connect(target).await?);
    while let Some(request) = read(&mut client).await? {
        counts.requests.fetch_add(1, Ordering::Relaxed);
        let mut answer = pass_on(&mut server, &request).await?;
        if sends(&request) && draw.next_u64().is_multiple_of(TWICE_ONE_IN) {
            counts.twice.fetch_add(1, Ordering::Relaxed);
            answer = pass_on(&mut server, &request).await?;
        }
        if draw.next_u64().is_multiple_of(LOST_ONE_IN) {
            match draw.next_u64() % 3 {
                0 => {
                    counts.errors.fetch_add(1, Ordering::Relaxed);
                    answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}".to_vec();
                }
                1 => {
                    counts.cut.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                _ => {
                    counts.hung.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(HANG).await;
                    return Ok(());
                }
            }
        }
        client.get_mut().write_all(&answer).await?;
    }
    Ok(())
}

async fn pass_on(server: &mut BufReader<TcpStream>, request: &[u8]) -> anyhow::Result<Vec<u8>> {
    server.get_mut().write_all(request).await?;
    read(server).await?.context("the emulator closed the connection")
}

/// Whether the request sends messages or publishes events.
fn sends(request: &[u8]) -> bool {
    let names = [&b"AmazonSQS.SendMessageBatch"[..], b"Action=PublishBatch"];
    names
        .iter()
        .any(|name| request.windows(name.len()).any(|window| window == *name))
}

/// One request or answer, whole. `None`: there is no other.
async fn read(from: &mut BufReader<TcpStream>) -> anyhow::Result<Option<Vec<u8>>> {
    let mut message = Vec::new();
    while !message.ends_with(b"\r\n\r\n") {
        match from.read_u8().await {
            Ok(byte) => message.push(byte),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof && message.is_empty() => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
        ensure!(message.len() <= MOST_HEAD, "the head is too long");
    }
    let head = String::from_utf8_lossy(&message).to_ascii_lowercase();
    if head.contains("\r\ntransfer-encoding:") {
        bail!("a body in pieces is not understood");
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map_or(Ok(0), |length| length.trim().parse::<usize>())?;
    ensure!(length <= MOST_BODY, "the body is too long");
    let begin = message.len();
    message.resize(begin + length, 0);
    from.read_exact(&mut message[begin..]).await?;
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo(listener: TcpListener) -> u64 {
        let mut served = 0;
        let mut stream = BufReader::new(listener.accept().await.unwrap().0);
        while let Ok(Some(_)) = read(&mut stream).await {
            served += 1;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            stream.get_mut().write_all(answer).await.unwrap();
        }
        served
    }

    #[tokio::test]
    async fn when_requests_pass_some_are_sent_twice_and_all_took_effect() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap().to_string();
        let emulator = tokio::spawn(echo(listener));
        let network = Network::before(target, 3).await.unwrap();
        let mut client = TcpStream::connect(network.url.trim_start_matches("http://"))
            .await
            .map(BufReader::new)
            .unwrap();
        let request =
            b"POST / HTTP/1.1\r\nx-amz-target: AmazonSQS.SendMessageBatch\r\ncontent-length: 2\r\n\r\n{}";
        let mut answered = 0;
        for _ in 0..60 {
            client.get_mut().write_all(request).await.unwrap();
            match read(&mut client).await {
                Ok(Some(_)) => answered += 1,
                _ => break,
            }
        }
        drop(client);
        let done = network.done();
        let served = emulator.await.unwrap();
        assert_eq!(served, done.requests + done.sent_twice);
        assert!(answered + 1 >= done.requests, "{answered} of {done:?}");
    }
}
