//! What came of it, for people and for programs.

use std::fmt;

use serde::Serialize;

/// The figures of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) messages: u64,
    pub(crate) seed: u64,
    pub(crate) is_debug: bool,
    pub(crate) is_endpoint_debug: bool,
    pub(crate) first_page_seconds: f64,
    pub(crate) group_seconds: f64,
    pub(crate) groups: usize,
    pub(crate) replay_seconds: f64,
    pub(crate) replay_per_second: f64,
    pub(crate) peak_mib: f64,
    pub(crate) kills: u32,
    pub(crate) killed_midway: u32,
    pub(crate) attempts: u64,
    pub(crate) done: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) left: u64,
    pub(crate) passed: bool,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let build = |is_debug| if is_debug { "unoptimized" } else { "optimized" };
        writeln!(f, "failed messages        {}", self.messages)?;
        writeln!(f, "build of the command   {}", build(self.is_debug))?;
        writeln!(f, "build of the endpoint  {}", build(self.is_endpoint_debug))?;
        writeln!(f, "first page of 50       {:.2} s", self.first_page_seconds)?;
        writeln!(
            f,
            "all grouped            {:.2} s, {} groups",
            self.group_seconds, self.groups
        )?;
        writeln!(
            f,
            "all replayed           {:.2} s, {:.0} messages/s",
            self.replay_seconds, self.replay_per_second
        )?;
        writeln!(f, "most memory            {:.1} MiB", self.peak_mib)?;
        writeln!(
            f,
            "kill -9                {} times, {} of them midway (seed {})",
            self.kills, self.killed_midway, self.seed
        )?;
        writeln!(
            f,
            "handled                {} times, refusals included",
            self.attempts
        )?;
        writeln!(
            f,
            "done once              {}; lost {}, doubled {}, left in the error queue {}",
            self.done - self.doubled,
            self.lost,
            self.doubled,
            self.left
        )?;
        writeln!(
            f,
            "{}",
            if self.passed {
                "everything holds"
            } else {
                "IT DOES NOT HOLD"
            }
        )
    }
}
