//! Brokers of a test's own, to stop, kill and starve, run by `scripts/rabbitmq.sh`.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use longhaul_core::clock::{Clock, SystemClock};

/// A folder of brokers; they end with it.
pub(crate) struct Brokers {
    folder: PathBuf,
}

impl Brokers {
    pub(crate) fn new() -> Self {
        // With RUST_LOG=longhaul_rabbitmq=debug a failed test tells its story.
        let log =
            tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env());
        drop(log.with_test_writer().try_init());
        let name = format!(
            "longhaul-{}-{}",
            std::process::id(),
            SystemClock.now().as_micros()
        );
        Self {
            folder: std::env::temp_dir().join(name),
        }
    }

    /// Starts a broker, or starts it again; returns its address.
    pub(crate) async fn start(&self, name: &str) -> String {
        self.run(&["start", name], &[]).await
    }

    /// Starts a cluster; returns the addresses.
    pub(crate) async fn start_cluster(&self, names: &[&str]) -> Vec<String> {
        let peers = names.join(" ");
        let starting = names.iter().map(async |name| {
            self.run(&["start", name], &[("LONGHAUL_BROKER_PEERS", &peers)])
                .await
        });
        futures_util::future::join_all(starting).await
    }

    /// Ends a broker in good order.
    pub(crate) async fn stop(&self, name: &str) {
        self.run(&["stop", name], &[]).await;
    }

    /// Ends a broker as a power cut would.
    pub(crate) async fn kill(&self, name: &str) {
        self.run(&["kill", name], &[]).await;
    }

    /// Runs `rabbitmqctl`.
    pub(crate) async fn ctl(&self, name: &str, arguments: &[&str]) -> String {
        self.run(&[&["ctl", name], arguments].concat(), &[]).await
    }

    /// From now on holds up a process of the broker again and again for so many milliseconds, and lets it go on for 20 between.
    pub(crate) async fn hold_up(&self, name: &str, process: &str, milliseconds: u32) {
        let rounds = 120_000 / (milliseconds + 20);
        // To hold up one that writes in this very moment may fail.
        let slow = format!(
            "spawn(fun() -> register(hold_up, self()), P = whereis('{process}'), \
             [begin (catch erlang:suspend_process(P, [unless_suspending])), timer:sleep({milliseconds}), \
             (catch erlang:resume_process(P)), timer:sleep(20) end || _ <- lists:seq(1, {rounds})] end), ok."
        );
        self.ctl(name, &["eval", &slow]).await;
    }

    /// Holds up nothing any more.
    pub(crate) async fn let_go(&self, name: &str) {
        self.ctl(name, &["eval", "exit(whereis(hold_up), kill)."]).await;
    }

    async fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> String {
        let mut command = self.command(arguments);
        command.envs(environment.iter().copied());
        let output = tokio::task::spawn_blocking(move || command.output())
            .await
            .unwrap()
            .unwrap();
        read(arguments, &output)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/rabbitmq.sh"));
        command.args(arguments).env("LONGHAUL_BROKERS", &self.folder);
        command
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        let stopped = self.command(&["stop-all"]).output();
        assert!(
            stopped.is_ok_and(|output| output.status.success()),
            "the brokers in {:?} did not stop",
            self.folder
        );
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn read(arguments: &[&str], output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "rabbitmq.sh {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
