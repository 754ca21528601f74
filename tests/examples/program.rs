//! An example as a process: built beside this test, run with arguments, killed.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use longhaul::clock::{Clock, SystemClock};

/// The longest that one run may take.
const LIMIT: Duration = Duration::from_secs(120);

/// What a run left.
#[derive(Debug)]
pub(crate) struct Ran {
    /// `None`: ended by a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        self
    }
}

/// A run of an example.
pub(crate) struct Program(Command);

impl Program {
    /// The example `name`, which `cargo test` and `cargo nextest run` build together with this test.
    pub(crate) fn example(name: &str) -> Self {
        let test = std::env::current_exe().expect("a running program has a path");
        let built = test.ancestors().nth(2).expect("it lies in deps").join("examples");
        let path = built.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        assert!(
            path.exists(),
            "{} is missing: `cargo test` without `--test` builds it, or `cargo build --examples` does",
            path.display()
        );
        let mut command = Command::new(path);
        command
            .env_remove("RUST_LOG")
            .env_remove("LONGHAUL_AMQP_URL")
            .stdin(Stdio::null());
        Self(command)
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>) -> Self {
        self.0.args(args);
        self
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn run(self) -> Ran {
        self.run_for(LIMIT).expect("it ends in time")
    }

    /// Runs it for so long at most, then kills it: `None`, unless it ended by itself before.
    pub(crate) fn run_for(mut self, limit: Duration) -> Option<Ran> {
        let mut child = self
            .0
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let stdout = gather(child.stdout.take().expect("is piped"));
        let stderr = gather(child.stderr.take().expect("is piped"));
        let ended = wait(&mut child, limit);
        let text =
            |gathered: std::thread::JoinHandle<String>| gathered.join().expect("reading does not panic");
        let (stdout, stderr) = (text(stdout), text(stderr));
        ended.map(|code| Ran { code, stdout, stderr })
    }
}

fn gather(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).expect("a pipe can be read");
        String::from_utf8(bytes).expect("it writes UTF-8")
    })
}

/// Waits for the end, and kills where it does not come in time. `None`: killed.
fn wait(child: &mut Child, limit: Duration) -> Option<Option<i32>> {
    let deadline = SystemClock.now() + limit;
    let (_never, pause) = std::sync::mpsc::channel::<()>();
    while SystemClock.now() < deadline {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            return Some(status.code());
        }
        // There is no waiting for a process with a time limit; this waits for a moment.
        assert!(pause.recv_timeout(Duration::from_millis(5)).is_err());
    }
    child.kill().expect("it can be killed");
    child.wait().expect("it can be waited for");
    None
}

/// A file that belongs to an example.
pub(crate) fn in_repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}
