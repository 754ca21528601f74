//! An endpoint that listens for operators, as a process, and the command beside it.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use longhaul_core::address::Address;
use longhaul_core::admin::QueueAdmin;
use longhaul_core::envelope::Envelope;
use longhaul_core::headers::Headers;
use longhaul_core::ids::MessageId;
use longhaul_core::transport::{Destination, Dispatch, Transport};
use longhaul_socket::Remote;
use serde_json::Value;
use tempfile::TempDir;

use crate::stage::{Answer, answer, bare, until};

/// The example `trips` as a process, and the command beside it.
pub(crate) struct Trips {
    pub(crate) folder: TempDir,
    pub(crate) data: PathBuf,
    child: Option<Child>,
}

impl Drop for Trips {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

pub(crate) fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let built = test.ancestors().nth(2).unwrap().join("examples/trips");
    assert!(
        built.exists(),
        "{} is missing: `cargo test` builds it",
        built.display()
    );
    built
}

impl Trips {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        Self::start_in(folder, data).await
    }

    pub(crate) async fn start_in(folder: TempDir, data: PathBuf) -> Self {
        let mut trips = Self {
            folder,
            data,
            child: None,
        };
        trips.begin().await;
        trips
    }

    /// Starts the process, and waits until it listens.
    pub(crate) async fn begin(&mut self) {
        let mut command = Command::new(program());
        command
            .arg(&self.data)
            .env_remove("LONGHAUL_CONFIG")
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        until("it listens", async || {
            let Ok(remote) = Remote::connect(&self.data).await else {
                return false;
            };
            // And its endpoint is built: its queue is there.
            remote.depth(&Address::new("trips").unwrap()).await.is_ok()
        })
        .await;
    }

    /// Ends it as somebody at a terminal does, or as nobody should.
    pub(crate) fn end(&mut self, signal: &str) {
        let mut child = self.child.take().unwrap();
        let mut kill = Command::new("kill");
        assert!(
            kill.arg(signal)
                .arg(child.id().to_string())
                .status()
                .unwrap()
                .success()
        );
        child.wait().unwrap();
    }

    pub(crate) fn closed(&self, is_closed: bool) {
        let file = self.data.with_extension("closed");
        if is_closed {
            fs::write(file, "").unwrap();
        } else {
            fs::remove_file(file).unwrap();
        }
    }

    /// Sends a command of the application over the socket.
    pub(crate) async fn send(&self, id: &str, type_name: &str, trip: u64) {
        let headers = Headers::from_iter([
            ("longhaul.type", type_name),
            ("longhaul.content-type", "application/json"),
            ("longhaul.intent", "send"),
        ]);
        let body = format!("{{\"trip\":{trip}}}");
        let dispatch = Dispatch {
            envelope: Envelope::new(MessageId::new(id).unwrap(), headers, body.into()),
            to: Destination::Queue(Address::new("trips").unwrap()),
            due: None,
        };
        let remote = Remote::connect(&self.data).await.unwrap();
        for sent in remote.dispatch(&[dispatch]).await {
            sent.unwrap();
        }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare(arguments);
        command.env("LONGHAUL_DATA", &self.data);
        command
    }

    pub(crate) fn longhaul(&self, arguments: &[&str]) -> Answer {
        answer(self.command(arguments))
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let answer = self.longhaul(&[arguments, &["--json"]].concat());
        serde_json::from_str(&answer.out).unwrap_or_else(|_| panic!("no JSON: {answer:?}"))
    }

    pub(crate) fn of(&self, arguments: &[&str]) -> Value {
        self.json(&[arguments, &["--endpoint", "trips"]].concat())
    }

    pub(crate) async fn until_trip(&self, trip: &str, status: &str) {
        until(status, async || {
            self.of(&["sagas", "list", "trip"])["sagas"]
                .as_array()
                .unwrap()
                .iter()
                .any(|one| one["id"] == trip && one["status"] == status)
        })
        .await;
    }

    /// Plans a trip and drops it while the hotel is closed.
    pub(crate) async fn stuck(&self, trip: u64) {
        self.closed(true);
        self.send("m-plan", "trips.plan.v1", trip).await;
        until("it is booked", async || {
            let show = self.longhaul(&["sagas", "show", "trip", &trip.to_string(), "--endpoint", "trips"]);
            show.out.contains("hotel.book.v1 done")
        })
        .await;
        self.send("m-drop", "trips.drop.v1", trip).await;
        self.until_trip(&trip.to_string(), "stuck").await;
    }
}
