//! An example as a process: built beside this test, run with arguments, killed.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
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

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn run(self) -> Ran {
        self.run_for(LIMIT).expect("it ends in time")
    }

    /// Runs it for so long at most, then kills it: `None`, unless it ended by itself before.
    pub(crate) fn run_for(self, limit: Duration) -> Option<Ran> {
        self.start().end(limit)
    }

    /// Starts it. It is killed when this is dropped.
    pub(crate) fn start(mut self) -> Running {
        let mut child = self
            .0
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let stdout = gather(child.stdout.take().expect("is piped"));
        let stderr = gather(child.stderr.take().expect("is piped"));
        Running {
            child,
            output: Some([stdout, stderr]),
        }
    }
}

/// A run that goes on.
pub(crate) struct Running {
    child: Child,
    output: Option<[JoinHandle<String>; 2]>,
}

impl Running {
    /// Waits until it has made a file.
    #[track_caller]
    pub(crate) fn wait_for_file(&self, path: &Path) {
        assert!(
            within(LIMIT, || path.exists().then_some(())).is_some(),
            "{} does not come",
            path.display()
        );
    }

    /// Lets it run for so long at most, then kills it: `None`, unless it ended by itself before.
    fn end(mut self, limit: Duration) -> Option<Ran> {
        let status = within(limit, || self.child.try_wait().expect("it can be waited for"));
        self.kill();
        let [stdout, stderr] = self
            .output
            .take()?
            .map(|gathered| gathered.join().expect("it was read"));
        Some(Ran {
            code: status?.code(),
            stdout,
            stderr,
        })
    }

    fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Asks again and again, for so long at most.
fn within<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = SystemClock.now() + limit;
    let (_never, pause) = mpsc::channel::<()>();
    loop {
        let answer = ask();
        if answer.is_some() || SystemClock.now() >= deadline {
            return answer;
        }
        // Neither a process nor a file can be waited for with a time limit; this waits for a moment.
        assert!(pause.recv_timeout(Duration::from_millis(5)).is_err());
    }
}

fn gather(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).expect("a pipe can be read");
        String::from_utf8(bytes).expect("it writes UTF-8")
    })
}

/// A file that belongs to an example.
pub(crate) fn in_repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}
