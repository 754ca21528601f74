//! `longhaul doctor`: is everything as it should be?

use std::process::ExitCode;

use longhaul_core::address::Address;
use longhaul_core::clock::SystemClock;
use longhaul_ops::doctor::{self, Finding, State};
use longhaul_rabbitmq::RabbitMq;
use serde_json::json;

use crate::connect::System;
use crate::failure::Failure;
use crate::output::{Style, print, print_json, shown};

/// Looks at everything; 1 where something does not work.
pub(crate) async fn run(system: &System, json: bool) -> Result<ExitCode, Failure> {
    let errors = doctor::errors(&system.errors(), &SystemClock).await;
    let is_there = errors.iter().all(|finding| finding.state != State::Bad);
    // Whether a broker answers is known once it was asked something.
    let mut findings = vec![doctor::broker(&system.transport)];
    findings.extend(errors);
    if is_there {
        findings.push(match system.is_running() {
            true => Finding::good("set-up", "not looked at over the socket of a running endpoint"),
            false => doctor::topology(&system.transport, &system.error_queue).await,
        });
    }
    if let Some(rabbit) = system.rabbit() {
        findings.extend(topology(system, rabbit).await);
    }
    told(&findings, json)
}

/// Says that the broker can't be reached, where that is why nothing else was looked at.
pub(crate) fn unreachable(failure: Failure, json: bool) -> Result<ExitCode, Failure> {
    if failure.is_misuse() {
        return Err(failure);
    }
    told(&[doctor::unreachable(failure.to_string())], json)
}

fn told(findings: &[Finding], json: bool) -> Result<ExitCode, Failure> {
    let works = findings.iter().all(|finding| finding.state != State::Bad);
    if json {
        print_json(&json!({ "works": works, "findings": findings }))?;
    } else {
        let style = Style::of_stdout();
        let lines: String = findings.iter().map(|finding| line(finding, style)).collect();
        print(&lines)?;
    }
    Ok(ExitCode::from(u8::from(!works)))
}

/// The delay levels, and the queues where only lost messages lie.
async fn topology(system: &System, rabbit: &RabbitMq) -> Vec<Finding> {
    let delays = rabbit.delays();
    let verified = match rabbit.verify_delays().await {
        Ok(depths) => {
            let waiting: u64 = depths.iter().map(|(_, messages)| u64::from(*messages)).sum();
            Finding::good("delay levels", format!("all there; {waiting} messages wait"))
        }
        Err(error) => Finding::other(
            State::Warning,
            "delay levels",
            format!("failed to {error}"),
            "create them: longhaul delays create",
        ),
    };
    let mut findings = vec![verified];
    let dead = format!("{}.dead-letter", delays.prefix());
    for (queue, advice) in [
        (
            dead,
            "the broker took these out of an input queue, which must never happen: look at its policies and versions",
        ),
        (
            delays.undeliverable(),
            "their queues were gone when they fell due: start the endpoints, then: longhaul delays redeliver",
        ),
    ] {
        if let Ok(queue) = Address::new(queue) {
            findings.push(doctor::should_be_empty(&*system.admin, &queue, advice).await);
        }
    }
    findings
}

fn line(finding: &Finding, style: Style) -> String {
    let mark = match finding.state {
        State::Good => "good   ".to_owned(),
        State::Warning => style.bold("warning"),
        State::Bad => style.red("bad    "),
    };
    let mut text = format!("{mark}  {}: {}\n", shown(&finding.subject), shown(&finding.text));
    if let Some(advice) = &finding.advice {
        text.push_str(&format!("         → {advice}\n"));
    }
    text
}
