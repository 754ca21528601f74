//! A private RabbitMQ for one run, and how soon it answers after it was killed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

const NAME: &str = "xtask";
const LOOK: Duration = Duration::from_millis(20);
const ANSWER: Duration = Duration::from_secs(1);

/// A broker of our own. It is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct PrivateBroker {
    folder: TempDir,
    pub(crate) url: String,
}

impl PrivateBroker {
    /// Boots it.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("longhaul-brokers.").tempdir()?;
        let mut broker = Self {
            folder,
            url: String::new(),
        };
        broker.boot().await?;
        Ok(broker)
    }

    /// Boots it: at first, and after it was killed.
    pub(crate) async fn boot(&mut self) -> anyhow::Result<()> {
        let said = self.script("start").await?;
        said.trim().clone_into(&mut self.url);
        Ok(())
    }

    /// Ends it as a power cut would.
    pub(crate) async fn kill(&self) -> anyhow::Result<()> {
        self.script("kill").await.map(drop)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> anyhow::Result<SocketAddr> {
        let at = self
            .url
            .rsplit('@')
            .next()
            .and_then(|rest| rest.split('/').next());
        at.and_then(|at| at.parse().ok())
            .with_context(|| format!("no address in {:?}", self.url))
    }

    async fn script(&self, verb: &str) -> anyhow::Result<String> {
        let mut command = Command::new(script());
        command
            .args([verb, NAME])
            .env("LONGHAUL_BROKERS", self.folder.path());
        let output = command
            .output()
            .await
            .context("scripts/rabbitmq.sh can't be run")?;
        ensure!(
            output.status.success(),
            "scripts/rabbitmq.sh {verb} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for PrivateBroker {
    fn drop(&mut self) {
        let mut command = std::process::Command::new(script());
        let ended = command
            .arg("stop-all")
            .env("LONGHAUL_BROKERS", self.folder.path())
            .status();
        if !ended.is_ok_and(|status| status.success()) {
            eprintln!("the private broker could not be stopped");
        }
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/rabbitmq.sh")
}

/// Resolves when the broker there answers an AMQP 0-9-1 protocol header with its first frame.
pub(crate) async fn answers(address: SocketAddr) {
    while !matches!(timeout(ANSWER, shake_hands(address)).await, Ok(Ok(()))) {
        tokio::time::sleep(LOOK).await;
    }
}

async fn shake_hands(address: SocketAddr) -> anyhow::Result<()> {
    const METHOD_FRAME: u8 = 1;
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
    let kind = stream.read_u8().await?;
    if kind != METHOD_FRAME {
        bail!("the broker speaks another protocol");
    }
    Ok(())
}
