//! A command of the demonstration while it runs.

use std::io;
use std::process::ExitStatus;
use std::sync::mpsc;
use std::time::Duration;

use tokio::process::{Child, Command};

/// How often, and with what pause, it is looked whether a process that was killed is gone: five seconds.
const LOOKS: u32 = 1_000;
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A process that is killed when this is dropped before its end, and gone then: it can't make a file any more in a directory that is
/// removed next.
#[derive(Debug)]
pub(super) struct Running(Child);

impl Running {
    pub(super) fn start(command: &mut Command) -> io::Result<Self> {
        command.kill_on_drop(true).spawn().map(Self)
    }

    /// Waits for its end.
    pub(super) async fn end(&mut self) -> io::Result<ExitStatus> {
        self.0.wait().await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Where it can't be killed it has ended, or there is nothing more to do about it.
        drop(self.0.start_kill());
        let (_never, pause) = mpsc::channel::<()>();
        for _ in 0..LOOKS {
            let is_gone = !matches!(self.0.try_wait(), Ok(None));
            // It takes no time to speak of, and nothing can be awaited here.
            if is_gone || pause.recv_timeout(LOOK_AGAIN).is_ok() {
                return;
            }
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[tokio::test]
    async fn when_it_is_dropped_before_its_end_its_process_is_gone() {
        let running = Running::start(Command::new("sleep").arg("60")).unwrap();
        let process = PathBuf::from(format!("/proc/{}", running.0.id().expect("it runs")));
        assert!(process.exists());
        drop(running);
        assert!(!process.exists(), "it is still there");
    }
}
