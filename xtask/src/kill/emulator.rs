//! A private emulator of SQS for one run, and a network in front of it that is no good.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use tempfile::TempDir;
use tokio::process::Command;

use crate::kill::network::Network;

const NAME: &str = "xtask";

/// An emulator of our own. It is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct PrivateEmulator {
    folder: TempDir,
    pub(crate) network: Network,
}

impl PrivateEmulator {
    /// Boots it, and the network in front of it.
    pub(crate) async fn start(seed: u64) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("longhaul-emulators.").tempdir()?;
        let output = Command::new(script())
            .args(["start", NAME])
            .env("LONGHAUL_EMULATORS", folder.path())
            .output()
            .await
            .context("scripts/sqs.sh can't be run")?;
        ensure!(
            output.status.success(),
            "scripts/sqs.sh start failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let url = String::from_utf8(output.stdout)?;
        let target = url.trim().trim_start_matches("http://").to_owned();
        Ok(Self {
            folder,
            network: Network::before(target, seed).await?,
        })
    }

    /// Where it listens itself.
    pub(crate) fn direct(&self) -> String {
        self.network.direct()
    }
}

impl Drop for PrivateEmulator {
    fn drop(&mut self) {
        let ended = std::process::Command::new(script())
            .arg("stop-all")
            .env("LONGHAUL_EMULATORS", self.folder.path())
            .status();
        if !ended.is_ok_and(|status| status.success()) {
            eprintln!("the private emulator could not be stopped");
        }
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/sqs.sh")
}
