//! What a run showed, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::kill::evidence::Evidence;
use crate::kill::network::Done;
use crate::kill::run::{RECOVERY_LIMIT, Recovery, Run};
use crate::kill::verdict::Verdict;
use crate::kill::{BrokerName, KillOptions};

/// How many findings of a kind are shown to people.
const SHOWN: usize = 20;

/// What a run showed.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) passed: bool,
    broker: &'static str,
    seed: u64,
    orders: u64,
    seconds: f64,
    orders_per_second: f64,
    kills: u32,
    /// By name of the process.
    killed: BTreeMap<String, u32>,
    restarts: Vec<Recovery>,
    failed_starts_without_broker: u32,
    /// What ended by itself, or did not stop as it should.
    faults: Vec<String>,
    stalled: bool,
    /// What the network did, where it was bad.
    network: Option<Done>,
    /// Runs of handlers of billing and shipping; what repeated another run had to come to nothing.
    executions: u64,
    repeated_executions: u64,
    #[serde(flatten)]
    verdict: Verdict,
}

impl Report {
    pub(crate) fn new(
        options: &KillOptions,
        seed: u64,
        run: &Run,
        evidence: &Evidence,
        verdict: Verdict,
        network: Option<Done>,
    ) -> Self {
        let story = &run.story;
        let mut faults = [&story.ended[..], &story.unruly[..]].concat();
        let limit = RECOVERY_LIMIT.as_millis();
        let late = |recovery: &&Recovery| recovery.first_handled_ms.is_none_or(|first| first > limit);
        for recovery in story.recoveries.iter().filter(late) {
            faults.push(format!(
                "work did not go on within {limit} ms of the broker's answer: {recovery:?}"
            ));
        }
        if options.kill_every.is_none() && story.kills < options.kills {
            faults.push(format!("only {} processes were killed", story.kills));
        }
        let seconds = story.took.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let orders_per_second = options.orders as f64 / seconds.max(f64::MIN_POSITIVE);
        Self {
            passed: verdict.is_good() && faults.is_empty() && !story.stalled,
            broker: match options.broker {
                BrokerName::Embedded => "embedded",
                BrokerName::Rabbitmq => "rabbitmq",
                BrokerName::Sqs => "sqs",
            },
            seed,
            orders: options.orders,
            seconds: round(seconds),
            orders_per_second: round(orders_per_second),
            kills: story.kills,
            killed: run
                .fleet
                .members
                .iter()
                .map(|member| (member.name.clone(), member.kills))
                .collect(),
            restarts: story.recoveries.clone(),
            failed_starts_without_broker: story.failed_starts,
            faults,
            stalled: story.stalled,
            network,
            executions: evidence.executions.0,
            repeated_executions: evidence.executions.1,
            verdict,
        }
    }

    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

fn round(figure: f64) -> f64 {
    (figure * 10.0).round() / 10.0
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verdict, money) = (&self.verdict, &self.verdict.money);
        writeln!(f, "broker                {} (seed {})", self.broker, self.seed)?;
        writeln!(
            f,
            "orders                {} in {} s, {} per second",
            self.orders, self.seconds, self.orders_per_second
        )?;
        writeln!(
            f,
            "outcomes              {} completed, {} cancelled",
            verdict.completed, verdict.cancelled
        )?;
        writeln!(f, "kills                 {} {:?}", self.kills, self.killed)?;
        for Recovery {
            down_ms,
            first_handled_ms,
        } in &self.restarts
        {
            let first = first_handled_ms.map_or_else(|| String::from("never"), |first| format!("{first} ms"));
            writeln!(
                f,
                "broker killed         answered after {down_ms} ms, first message handled {first} after that"
            )?;
        }
        if !self.restarts.is_empty() {
            writeln!(f, "starts without broker {}", self.failed_starts_without_broker)?;
        }
        if let Some(network) = &self.network {
            writeln!(
                f,
                "network               {} requests, {} of them made twice; took effect without a good answer: {} errors, \
                 {} closed connections, {} timeouts",
                network.requests, network.sent_twice, network.errors, network.cut, network.hung
            )?;
        }
        writeln!(
            f,
            "handlers ran          {} times, {} of them again",
            self.executions, self.repeated_executions
        )?;
        writeln!(
            f,
            "money in cents        {} charged - {} refunded; {} of completed orders, {} in the accounts{}",
            money.charged,
            money.refunded,
            money.earned,
            money.booked,
            if money.adds_up() { "" } else { ": DOES NOT ADD UP" }
        )?;
        if self.stalled {
            writeln!(f, "STALLED: no message was handled any more")?;
        }
        let findings = [
            ("lost", &verdict.lost),
            ("duplicated", &verdict.duplicated),
            ("unexpected", &verdict.unexpected),
            ("faults", &self.faults),
        ];
        for (name, found) in findings {
            writeln!(f, "{name:<21} {}", found.len())?;
            for one in found.iter().take(SHOWN) {
                writeln!(f, "  {one}")?;
            }
        }
        writeln!(f, "{}", if self.passed { "passed" } else { "FAILED" })
    }
}
