//! Money that moves between accounts: at every moment, none of it is lost and none comes into being.

use std::collections::BTreeMap;
use std::time::Duration;

use longhaul_core::endpoint::EndpointBuilder;
use longhaul_core::handler::HandlerResult;
use longhaul_core::{Command, Message};
use longhaul_sagas::{Definition, NoTimeout, Outcome, Saga, SagaContext, SagaEndpoint};
use serde::{Deserialize, Serialize};

use super::patient;
use crate::effects::Effects;
use crate::outside::Outside;
use crate::random::Random;
use crate::simulation::Simulation;
use crate::workload::Workload;
use crate::world::World;

/// What every account has at the beginning.
const OPENING: i64 = 100;

/// Money is to move from one account to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Command, Serialize, Deserialize)]
#[message("sim.transfer.v1")]
struct MoveMoney {
    transfer: u64,
    from: u64,
    to: u64,
    cents: i64,
    /// Whoever asked gives up if the money is not withdrawn at once.
    is_hasty: bool,
}

#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("sim.withdraw.v1")]
struct Withdraw {
    account: u64,
    cents: i64,
}

#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("sim.deposit.v1")]
struct Deposit {
    account: u64,
    cents: i64,
}

#[derive(Debug, Clone, Copy, Command, Serialize, Deserialize)]
#[message("sim.pay_back.v1")]
struct PayBack {
    account: u64,
    cents: i64,
}

#[derive(Debug, Clone, Copy, Message, Serialize, Deserialize)]
#[message("sim.withdrawn.v1")]
struct Withdrawn {
    cents: i64,
}

#[derive(Debug, Clone, Copy, Message, Serialize, Deserialize)]
#[message("sim.deposited.v1")]
struct Deposited {
    cents: i64,
}

#[derive(Debug, Clone, Copy, Message, Serialize, Deserialize)]
#[message("sim.paid_back.v1")]
struct PaidBack {
    cents: i64,
}

#[derive(Debug, Clone, Copy, Message, Serialize, Deserialize)]
#[message("sim.refused.v1")]
struct Refused {}

/// The balance of one account.
#[derive(Debug, Serialize, Deserialize)]
struct Account {
    cents: i64,
}

impl Saga for Account {
    const NAME: &'static str = "sim-account";
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(
            |m: &Withdraw| m.account,
            |m, ctx| Self::open().then(m, ctx, Self::withdraw),
        );
        saga.starts_on(
            |m: &Deposit| m.account,
            |m, ctx| Self::open().then(m, ctx, Self::deposit),
        );
        saga.handles(|m: &Withdraw| m.account, Self::withdraw);
        saga.handles(|m: &Deposit| m.account, Self::deposit);
        saga.handles(|m: &PayBack| m.account, Self::pay_back);
    }
}

impl Account {
    const fn open() -> Self {
        Self { cents: OPENING }
    }

    fn then<M>(
        mut self,
        message: M,
        ctx: &mut SagaContext<Self>,
        step: fn(&mut Self, M, &mut SagaContext<Self>) -> HandlerResult,
    ) -> HandlerResult<Self> {
        step(&mut self, message, ctx)?;
        Ok(self)
    }

    fn withdraw(&mut self, withdraw: Withdraw, ctx: &mut SagaContext<Self>) -> HandlerResult {
        if self.cents < withdraw.cents {
            ctx.reply(Refused {});
            return Ok(());
        }
        self.cents -= withdraw.cents;
        ctx.reply(Withdrawn {
            cents: withdraw.cents,
        });
        Ok(())
    }

    fn deposit(&mut self, deposit: Deposit, ctx: &mut SagaContext<Self>) -> HandlerResult {
        if deposit.account % 4 == 3 {
            ctx.reply(Refused {});
            return Ok(());
        }
        self.cents += deposit.cents;
        ctx.reply(Deposited { cents: deposit.cents });
        Ok(())
    }

    fn pay_back(&mut self, back: PayBack, ctx: &mut SagaContext<Self>) -> HandlerResult {
        self.cents += back.cents;
        ctx.reply(PaidBack { cents: back.cents });
        Ok(())
    }
}

/// Sees one transfer through.
#[derive(Debug, Serialize, Deserialize)]
struct Transfer {
    to: u64,
    cents: i64,
    is_withdrawn: bool,
}

#[derive(Debug, Serialize, Deserialize)]
enum Patience {
    Over,
}

impl Saga for Transfer {
    const NAME: &'static str = "sim-transfer";
    type Id = u64;
    type Timeout = Patience;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &MoveMoney| m.transfer, Self::start);
        saga.on_reply(Self::on_withdrawn);
        saga.on_reply(Self::on_deposited);
        saga.on_reply(Self::on_refused);
        saga.expects::<PaidBack>();
        saga.times_out(Self::on_patience);
        saga.compensation(patient());
    }
}

impl Transfer {
    fn start(asked: MoveMoney, ctx: &mut SagaContext<Self>) -> HandlerResult<Self> {
        let (account, cents) = (asked.from, asked.cents);
        ctx.send(Withdraw { account, cents })
            .undo_with(PayBack { account, cents })
            .done_by::<Withdrawn>()
            .undone_by::<PaidBack>();
        if asked.is_hasty {
            ctx.request_timeout(Duration::from_millis(20), Patience::Over);
        }
        Ok(Self {
            to: asked.to,
            cents,
            is_withdrawn: false,
        })
    }

    fn on_withdrawn(&mut self, _: Withdrawn, ctx: &mut SagaContext<Self>) -> HandlerResult {
        self.is_withdrawn = true;
        ctx.send(Deposit {
            account: self.to,
            cents: self.cents,
        });
        Ok(())
    }

    fn on_deposited(&mut self, _: Deposited, ctx: &mut SagaContext<Self>) -> HandlerResult {
        ctx.complete();
        Ok(())
    }

    fn on_refused(&mut self, _: Refused, ctx: &mut SagaContext<Self>) -> HandlerResult {
        ctx.compensate("an account refuses");
        Ok(())
    }

    fn on_patience(&mut self, _: Patience, ctx: &mut SagaContext<Self>) -> HandlerResult {
        if !self.is_withdrawn {
            ctx.compensate("it takes too long");
        }
        Ok(())
    }
}

/// So many transfers between a few accounts, with everything that can go wrong; `is_shared`: two processes keep the
/// accounts.
pub fn bank(transfers: u64, is_shared: bool) -> Simulation {
    let mut random = Random::new(transfers);
    let accounts = 2 + transfers / 2;
    let moves = (0..transfers).map(|transfer| {
        let from = random.below(accounts);
        MoveMoney {
            transfer,
            from,
            to: (from + 1 + random.below(accounts - 1)) % accounts,
            cents: 20 + i64::try_from(random.below(60)).unwrap_or(0),
            is_hasty: random.below(4) == 0,
        }
    });
    let world = move |world: World| {
        let transfers = |endpoint: EndpointBuilder, _: &Outside| {
            let endpoint = endpoint.saga::<Transfer>().route::<Withdraw>("accounts");
            endpoint.route::<Deposit>("accounts").route::<PayBack>("accounts")
        };
        world
            .endpoint("transfers", transfers)
            .endpoint("accounts", |endpoint, _| endpoint.saga::<Account>())
            .instances(1 + u8::from(is_shared))
    };
    Simulation::of(world)
        .workload(Workload::new().send_each("transfers", moves))
        .invariant("at every moment all money is somewhere", |effects: &Effects| {
            conserved(&postings(effects))
        })
        .invariant("each transfer ends once, and in one way", |effects: &Effects| {
            ended_once(&what_came(effects))
        })
        .invariant("nothing fails for good", super::nothing_failed)
}

/// What one unit did with money: balances, and what was withdrawn less what was deposited or paid back.
#[derive(Debug, Clone, Default)]
struct Posting {
    balances: Vec<(String, i64)>,
    under_way: i64,
}

fn postings(effects: &Effects) -> Vec<Posting> {
    let units = effects.history("accounts").map(|unit| {
        let balances = unit
            .changed::<Account>()
            .into_iter()
            .filter_map(|(id, instance)| {
                let account: Account = serde_json::from_str(&instance.state?).ok()?;
                Some((id, account.cents))
            });
        let out: i64 = unit.sends::<Withdrawn>().iter().map(|m| m.cents).sum();
        let there: i64 = unit.sends::<Deposited>().iter().map(|m| m.cents).sum();
        let back: i64 = unit.sends::<PaidBack>().iter().map(|m| m.cents).sum();
        Posting {
            balances: balances.collect(),
            under_way: out - there - back,
        }
    });
    units.collect()
}

/// No balance is ever below zero, all balances with what is under way are always what they were, and in the end nothing
/// is under way.
fn conserved(postings: &[Posting]) -> Result<(), String> {
    let mut balances = BTreeMap::new();
    let mut under_way = 0;
    for (at, posting) in postings.iter().enumerate() {
        under_way += posting.under_way;
        for (account, cents) in &posting.balances {
            if *cents < 0 {
                return Err(format!("account {account} has {cents} after unit {at}"));
            }
            balances.insert(account, *cents);
        }
        let opened = OPENING * i64::try_from(balances.len()).unwrap_or(0);
        let total: i64 = balances.values().sum::<i64>() + under_way;
        if total != opened {
            return Err(format!(
                "after unit {at} there are {total} in the world instead of {opened}, {under_way} of them under way"
            ));
        }
    }
    if under_way != 0 {
        return Err(format!("{under_way} are under way for ever"));
    }
    Ok(())
}

/// What came of one transfer.
#[derive(Debug, Clone, Copy)]
struct Came {
    transfer: u64,
    outcome: Option<Outcome>,
    /// How often an end of it was committed.
    ends: usize,
}

fn what_came(effects: &Effects) -> Vec<Came> {
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for unit in effects.history("transfers") {
        for (id, _) in unit
            .changed::<Transfer>()
            .into_iter()
            .filter(|(_, instance)| instance.outcome.is_some())
        {
            *ends.entry(id).or_default() += 1;
        }
    }
    let came = effects.messages::<MoveMoney>().into_iter().map(|asked| Came {
        transfer: asked.transfer,
        outcome: effects
            .instance::<Transfer>("transfers", &asked.transfer)
            .and_then(|instance| instance.outcome),
        ends: ends.get(&asked.transfer.to_string()).copied().unwrap_or(0),
    });
    came.collect()
}

fn ended_once(transfers: &[Came]) -> Result<(), String> {
    for came in transfers {
        let is_proper = matches!(came.outcome, Some(Outcome::Completed | Outcome::Compensated));
        if came.ends != 1 || !is_proper {
            return Err(format!(
                "transfer {} ended {} times, at last as {:?}",
                came.transfer, came.ends, came.outcome
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posting(account: &str, cents: i64, under_way: i64) -> Posting {
        Posting {
            balances: vec![(account.to_owned(), cents)],
            under_way,
        }
    }

    #[test]
    fn when_money_is_lost_or_made_or_owed_at_any_moment_it_is_found() {
        let good = [posting("1", 70, 30), posting("2", 130, -30)];
        assert_eq!(conserved(&good), Ok(()));
        assert!(conserved(&good[..1]).is_err(), "it never arrives");
        assert!(conserved(&[posting("1", 70, 0)]).is_err(), "it is lost");
        assert!(
            conserved(&[posting("1", 100, 30), posting("1", 70, -30)]).is_err(),
            "it is there twice"
        );
        assert!(
            conserved(&[posting("1", -10, 110), posting("1", 100, -110)]).is_err(),
            "it is owed"
        );
        let twice = [
            posting("1", 70, 30),
            posting("2", 130, -30),
            posting("2", 160, -30),
        ];
        assert!(conserved(&twice).is_err(), "it arrives twice");
    }

    #[test]
    fn when_a_transfer_has_no_end_or_two_it_is_found() {
        let came = |outcome, ends| Came {
            transfer: 1,
            outcome,
            ends,
        };
        assert_eq!(ended_once(&[came(Some(Outcome::Completed), 1)]), Ok(()));
        assert!(ended_once(&[came(None, 0)]).is_err());
        assert!(ended_once(&[came(Some(Outcome::Compensated), 2)]).is_err());
        assert!(ended_once(&[came(Some(Outcome::GivenUp), 1)]).is_err());
    }
}
