//! `rehearsal`: whichever version refused a payment, once the mended one runs and it is replayed, it counts once.

use longhaul::prelude::*;
use longhaul::testing::{Effects, Simulation, Workload};

use super::SCHEDULES;

#[expect(
    dead_code,
    reason = "the example's programs read settings, and pay in what those say"
)]
#[path = "../../../examples/rehearsal/account.rs"]
mod account;

use account::{Account, AccountOpened, PayIn};

const ACCOUNTS: u64 = 3;
/// The first version takes the first two only, no version takes the last.
const PAID: [i64; 4] = [50, 255, 1999, -1];

fn simulation() -> Simulation {
    // Whoever pays in waits until there is an account.
    let opened = (0..ACCOUNTS).fold(Workload::new(), |workload, account| {
        workload.publish(AccountOpened { account })
    });
    let paid = (0..ACCOUNTS).flat_map(|account| PAID.map(|cents| PayIn { account, cents }));
    Simulation::of(|world| {
        world
            .endpoint("savings", |endpoint, _| endpoint.saga::<Account<false>>())
            .then(|endpoint, _| endpoint.saga::<Account<true>>())
            .replayed()
    })
    .workload(
        opened
            .after(std::time::Duration::from_secs(3600))
            .send_each("savings", paid),
    )
    .invariant("what no version takes is all that fails", only_nothing_failed)
    .invariant("each payment counts once", counted_once)
}

/// A message may lie in the error queue twice, under its one id: after a crash nobody knows whether it is there.
fn only_nothing_failed(effects: &Effects) -> Result<(), String> {
    let reasons: Vec<&str> = effects.reasons().collect();
    let paid = effects.messages::<PayIn>();
    let refused = paid.iter().filter(|paid| paid.cents < 0).count();
    let is_right = reasons.len() >= refused && (refused > 0 || reasons.is_empty());
    if is_right && reasons.iter().all(|reason| *reason == "handler-failed") {
        Ok(())
    } else {
        Err(format!(
            "{refused} payments are less than nothing; in the error queue for {reasons:?}"
        ))
    }
}

fn counted_once(effects: &Effects) -> Result<(), String> {
    let paid = effects.messages::<PayIn>();
    for opened in effects.messages::<AccountOpened>() {
        let account = opened.account;
        let of_it = paid
            .iter()
            .filter(|paid| paid.account == account && paid.cents > 0);
        let cents: i64 = of_it.map(|paid| paid.cents).sum();
        let state = effects
            .instance::<Account<true>>("savings", &account)
            .and_then(|instance| instance.state);
        if state != Some(format!("{{\"cents\":{cents}}}")) {
            return Err(format!(
                "{cents} were paid into account {account}, which has {state:?}"
            ));
        }
    }
    Ok(())
}

#[test]
fn when_everything_goes_wrong_each_payment_counts_once_after_it_was_mended_and_replayed() {
    simulation().check(SCHEDULES);
}
