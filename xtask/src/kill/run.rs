//! One run: places orders, kills processes and brokers, and waits until every order has an outcome.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use longhaul::clock::{Clock, SystemClock, Timestamp};
use longhaul::ids::{Randomness, SeededRandomness};
use longhaul::rabbitmq::Timing;
use serde::Serialize;

use crate::kill::broker::{self, PrivateBroker};
use crate::kill::fleet::Fleet;
use crate::kill::folder::Folder;
use crate::kill::moments::Moment;
use crate::kill::progress::Progress;

/// How often the run is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// How long all processes together may take to become ready at first.
const READY: Duration = Duration::from_secs(60);
/// RabbitMQ can lose a quorum queue, with all in it, that was declared just before a power cut.
const SETTLE: Duration = Duration::from_secs(3);
/// With no message handled for this long, what is missing is lost.
const STALLED: Duration = Duration::from_secs(90);
/// How soon after a broker is back a message is to be handled.
pub(crate) const RECOVERY_LIMIT: Duration = Duration::from_secs(10);

/// How the broker came back once.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Recovery {
    /// From the kill to the first answer to an AMQP handshake.
    pub(crate) down_ms: u128,
    /// From there to the first message handled; `None`: none within the time that a run waits.
    pub(crate) first_handled_ms: Option<u128>,
}

/// What happened in a run.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) kills: u32,
    pub(crate) recoveries: Vec<Recovery>,
    /// Processes that ended by themselves while the broker was there.
    pub(crate) ended: Vec<String>,
    /// Starts that failed because the broker was not there.
    pub(crate) failed_starts: u32,
    /// Processes that did not stop as they should.
    pub(crate) unruly: Vec<String>,
    pub(crate) took: Duration,
    pub(crate) stalled: bool,
}

/// Kills one process after the other, by the clock.
#[derive(Debug)]
pub(crate) struct Every {
    draw: SeededRandomness,
    pause: Duration,
    last: Option<Timestamp>,
}

impl Every {
    pub(crate) fn new(seed: u64, seconds: u64) -> Self {
        Self {
            draw: SeededRandomness::new(seed),
            pause: Duration::from_secs(seconds),
            last: None,
        }
    }

    /// Picks a victim where it is time for one. The pause before the first begins with the first question.
    fn victim(&mut self, now: Timestamp) -> Option<u64> {
        let last = *self.last.get_or_insert(now);
        (now.since(last) >= self.pause).then(|| {
            self.last = Some(now);
            self.draw.next_u64()
        })
    }
}

/// A run.
pub(crate) struct Run {
    pub(crate) fleet: Fleet,
    pub(crate) folder: Folder,
    pub(crate) progress: Progress,
    pub(crate) broker: Option<PrivateBroker>,
    pub(crate) orders: u64,
    pub(crate) kills: VecDeque<Moment>,
    pub(crate) restarts: VecDeque<u64>,
    /// Kills by the clock, beside those.
    pub(crate) every: Option<Every>,
    /// With no message handled for this long after the last outcome, nothing more happens.
    pub(crate) quiet: Duration,
    pub(crate) story: Story,
    /// When the last kill was, or the point of the run for the next one was reached.
    pub(crate) since: Option<Timestamp>,
    /// When the broker answered after it was killed last.
    pub(crate) back: Option<Timestamp>,
}

impl Run {
    /// Runs until every order has an outcome and nothing more happens, or nothing happens although orders have none.
    pub(crate) async fn go(&mut self) -> anyhow::Result<()> {
        self.become_ready().await?;
        let began = SystemClock.now();
        let mut shown = Timestamp::UNIX_EPOCH;
        loop {
            self.tend()?;
            let outcomes = self.progress.look()?;
            if shown + Duration::from_secs(1) <= SystemClock.now() {
                shown = SystemClock.now();
                self.show(outcomes, shown.since(began));
            }
            if outcomes >= self.orders {
                self.story.took = SystemClock.now().since(began);
                break;
            }
            if self.progress.quiet_for() > STALLED {
                self.story.took = SystemClock.now().since(began);
                self.story.stalled = true;
                break;
            }
            self.kill_if_due(outcomes).await?;
            self.kill_if_it_is_time().await?;
            if self.restarts.front().is_some_and(|point| *point <= outcomes) {
                self.restarts.pop_front();
                self.restart_broker().await?;
            }
            tokio::time::sleep(LOOK).await;
        }
        while !self.story.stalled && self.progress.quiet_for() < self.quiet {
            self.progress.look()?;
            tokio::time::sleep(LOOK).await;
        }
        eprintln!();
        self.story.unruly = self.fleet.stop().await?;
        Ok(())
    }

    /// Starts again what has ended. One that was begun while the broker was away may find that out late: its broker answers, and is
    /// not all there yet.
    fn tend(&mut self) -> anyhow::Result<()> {
        let limits = Timing::default();
        let back = self.back.map(|back| back + limits.connect + limits.answer);
        for ended in self.fleet.tend()? {
            if back.is_some_and(|back| ended.failed_to_start_before(back)) {
                self.story.failed_starts += 1;
            } else {
                let told = format!("{} ended with {}", ended.name, ended.how);
                self.story.ended.push(told);
            }
        }
        Ok(())
    }

    async fn become_ready(&mut self) -> anyhow::Result<()> {
        let began = SystemClock.now();
        while !self.fleet.is_ready() {
            let ended = self.fleet.tend()?;
            ensure!(
                ended.is_empty() && SystemClock.now().since(began) < READY,
                "the processes don't become ready: see the logs in the folder of the run ({ended:?})"
            );
            tokio::time::sleep(LOOK).await;
        }
        if !self.restarts.is_empty() {
            tokio::time::sleep(SETTLE).await;
        }
        std::fs::write(self.folder.begun(), "").context("the folder of the run can't be written")?;
        self.progress.forgive();
        Ok(())
    }

    async fn kill_if_due(&mut self, outcomes: u64) -> anyhow::Result<()> {
        let Some(next) = self.kills.front().copied() else {
            return Ok(());
        };
        if next.outcomes > outcomes {
            return Ok(());
        }
        let now = SystemClock.now();
        let since = *self.since.get_or_insert(now);
        if now.since(since) < next.after {
            return Ok(());
        }
        if self.kill(next.victim).await? {
            self.kills.pop_front();
            // The next one waits from here if it is for the same process, which starts now.
            let again = self.kills.front().is_some_and(|next| next.again);
            self.since = again.then(|| SystemClock.now());
        }
        Ok(())
    }

    async fn kill_if_it_is_time(&mut self) -> anyhow::Result<()> {
        let now = SystemClock.now();
        if let Some(victim) = self.every.as_mut().and_then(|every| every.victim(now)) {
            self.kill(victim).await?;
        }
        Ok(())
    }

    /// Kills one process, and has it started again at once. Says whether it was there.
    async fn kill(&mut self, victim: u64) -> anyhow::Result<bool> {
        let at = usize::try_from(victim % self.fleet.members.len() as u64)?;
        let was_there = self.fleet.kill(at).await?;
        self.story.kills += u32::from(was_there);
        Ok(was_there)
    }

    /// Kills the broker, boots it, and measures how soon work goes on. Processes that can't start meanwhile try again.
    async fn restart_broker(&mut self) -> anyhow::Result<()> {
        let killed = SystemClock.now();
        let mut broker = self.broker.take().context("this broker is not ours to kill")?;
        let address = broker.address()?;
        broker.kill().await?;
        // Every other time a process goes with it, and has to start without a broker.
        if self.story.recoveries.len() % 2 == 1
            && let Some(moment) = self.kills.pop_front()
        {
            self.kill(moment.victim).await?;
        }
        let recovery = self.recover(&mut broker, killed, address).await?;
        self.story.recoveries.push(recovery);
        self.broker = Some(broker);
        self.progress.forgive();
        Ok(())
    }

    async fn recover(
        &mut self,
        broker: &mut PrivateBroker,
        killed: Timestamp,
        address: SocketAddr,
    ) -> anyhow::Result<Recovery> {
        let mut booted = std::pin::pin!(broker.boot());
        let mut is_booted = false;
        let mut answers = std::pin::pin!(broker::answers(address));
        loop {
            tokio::select! {
                () = &mut answers => break,
                done = &mut booted, if !is_booted => { done?; is_booted = true; }
                () = tokio::time::sleep(LOOK) => self.story.failed_starts += u32::try_from(self.fleet.tend()?.len())?,
            }
        }
        let answered = SystemClock.now();
        self.back = Some(answered);
        let before = self.progress.handled();
        let mut first = None;
        while first.is_none() || !is_booted {
            tokio::select! {
                done = &mut booted, if !is_booted => { done?; is_booted = true; }
                () = tokio::time::sleep(LOOK) => {}
            }
            self.story.failed_starts += u32::try_from(self.fleet.tend()?.len())?;
            let passed = SystemClock.now().since(answered);
            if first.is_none() && self.progress.handled() > before {
                first = Some(passed);
            }
            if passed > STALLED {
                break;
            }
        }
        Ok(Recovery {
            down_ms: answered.since(killed).as_millis(),
            first_handled_ms: first.map(|first| first.as_millis()),
        })
    }

    fn show(&self, outcomes: u64, passed: Duration) {
        let mut out = std::io::stderr().lock();
        let (begin, end) = if out.is_terminal() {
            ("\r", "   ")
        } else {
            ("", "\n")
        };
        let (orders, kills, restarts) = (self.orders, self.story.kills, self.story.recoveries.len());
        let seconds = passed.as_secs();
        let line = format!(
            "{begin}{seconds:>4} s  {outcomes} of {orders} orders have an outcome, {kills} kills, \
             {restarts} restarts of the broker{end}"
        );
        // A progress line that nobody reads is no reason to stop.
        drop(out.write_all(line.as_bytes()).and_then(|()| out.flush()));
    }
}
