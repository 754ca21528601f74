//! The processes of a run: started, killed, started again.

use std::fs::{self, File};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use longhaul::clock::{Clock, SystemClock, Timestamp};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::kill::folder::Folder;
use crate::kill::process::{At, Part};

/// How long a process that ended by itself stays away.
const PAUSE: Duration = Duration::from_millis(300);
/// How long a process may take to stop when asked.
const STOP: Duration = Duration::from_secs(60);

/// How the processes of a run are started.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) folder: Folder,
    pub(crate) tag: String,
    pub(crate) orders: u64,
    /// Where the broker is.
    pub(crate) at: At,
}

/// One process of the run.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    part: Part,
    child: Option<Child>,
    start_at: Timestamp,
    started: Timestamp,
    pub(crate) kills: u32,
}

/// All processes of the run.
#[derive(Debug)]
pub(crate) struct Fleet {
    setup: Setup,
    pub(crate) members: Vec<Member>,
}

/// A process that ended although nobody killed it.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) name: String,
    pub(crate) how: ExitStatus,
    started: Timestamp,
    was_ready: bool,
}

/// What a process ends with that says why.
const FAILED: i32 = 2;

impl Ended {
    /// Whether it said that it could not start: it was begun before this, was never ready, and ended with an error, not a panic.
    pub(crate) fn failed_to_start_before(&self, time: Timestamp) -> bool {
        !self.was_ready && self.started < time && self.how.code() == Some(FAILED)
    }
}

impl Fleet {
    /// Prepares the processes; [`Fleet::tend`] starts them.
    pub(crate) fn new(setup: Setup) -> Self {
        let parts: &[(&str, Part)] = match setup.at {
            At::Embedded => &[("all", Part::All)],
            At::RabbitMq(_) | At::Sqs(_) => &[
                ("sales", Part::Sales),
                ("billing-1", Part::Billing),
                ("billing-2", Part::Billing),
                ("shipping", Part::Shipping),
                ("accounts", Part::Accounts),
                ("client", Part::Client),
            ],
        };
        let members = parts.iter().map(|(name, part)| Member {
            name: (*name).to_owned(),
            part: *part,
            child: None,
            start_at: Timestamp::UNIX_EPOCH,
            started: Timestamp::UNIX_EPOCH,
            kills: 0,
        });
        let members = members.collect();
        Self { setup, members }
    }

    /// Starts the members that should run and don't. Returns those that ended by themselves since.
    pub(crate) fn tend(&mut self) -> anyhow::Result<Vec<Ended>> {
        let mut ended = Vec::new();
        for member in &mut self.members {
            if let Some(child) = &mut member.child
                && let Some(how) = child.try_wait()?
            {
                member.child = None;
                member.start_at = SystemClock.now() + PAUSE;
                ended.push(Ended {
                    name: member.name.clone(),
                    how,
                    started: member.started,
                    was_ready: self.setup.folder.ready(&member.name).exists(),
                });
            }
            if member.child.is_none() && member.start_at <= SystemClock.now() {
                member.start(&self.setup)?;
            }
        }
        Ok(ended)
    }

    /// Whether all members have said that they are ready since they were started.
    pub(crate) fn is_ready(&self) -> bool {
        self.members
            .iter()
            .all(|member| self.setup.folder.ready(&member.name).exists())
    }

    /// Ends a member as the kernel would, and waits until it is gone. Says whether it was there.
    pub(crate) async fn kill(&mut self, at: usize) -> anyhow::Result<bool> {
        let member = &mut self.members[at];
        let Some(mut child) = member.child.take() else {
            return Ok(false);
        };
        child
            .kill()
            .await
            .with_context(|| format!("{} can't be killed", member.name))?;
        member.kills += 1;
        Ok(true)
    }

    /// Asks all members to stop, and waits for them. Returns those that did not stop in good order.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<Vec<String>> {
        let mut unruly = Vec::new();
        for member in &mut self.members {
            drop(member.child.as_mut().and_then(|child| child.stdin.take()));
        }
        for member in &mut self.members {
            let Some(mut child) = member.child.take() else {
                continue;
            };
            match timeout(STOP, child.wait()).await {
                Ok(how) => {
                    let how = how?;
                    if !how.success() {
                        unruly.push(format!("{} ended with {how} when asked to stop", member.name));
                    }
                }
                Err(_) => {
                    child.kill().await?;
                    unruly.push(format!(
                        "{} did not stop within {} s",
                        member.name,
                        STOP.as_secs()
                    ));
                }
            }
        }
        Ok(unruly)
    }
}

impl Member {
    fn start(&mut self, setup: &Setup) -> anyhow::Result<()> {
        let ready = setup.folder.ready(&self.name);
        if ready.exists() {
            fs::remove_file(ready)?;
        }
        let log = File::options()
            .append(true)
            .create(true)
            .open(setup.folder.log(&self.name))?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("kill-process")
            .args([
                "--part",
                self.part.as_str(),
                "--name",
                &self.name,
                "--tag",
                &setup.tag,
            ])
            .args(["--orders", &setup.orders.to_string()])
            .arg("--folder")
            .arg(setup.folder.path())
            // Its end tells the process to stop, also when this one is killed.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        setup.at.tell(&mut command);
        self.started = SystemClock.now();
        self.child = Some(
            command
                .spawn()
                .with_context(|| format!("{} can't be started", self.name))?,
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn when_a_process_was_begun_without_a_broker_or_ran_already_its_end_is_told_apart() {
        let at = |seconds| Timestamp::UNIX_EPOCH + Duration::from_secs(seconds);
        let ended = |started, was_ready, code: i32| Ended {
            name: String::from("sales"),
            how: ExitStatus::from_raw(code << 8),
            started: at(started),
            was_ready,
        };
        assert!(ended(5, false, FAILED).failed_to_start_before(at(10)));
        assert!(!ended(5, true, FAILED).failed_to_start_before(at(10)));
        assert!(!ended(10, false, FAILED).failed_to_start_before(at(10)));
        // A panic is none of these.
        assert!(!ended(5, false, 101).failed_to_start_before(at(10)));
    }
}
