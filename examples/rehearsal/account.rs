//! A savings account whose first version can't take large amounts: what `before` and `after` share.

use std::process::ExitCode;
use std::sync::Arc;

use longhaul::handler::HandlerError;
use longhaul::host::{Host, HostError};
use longhaul::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Debug, Event, Serialize, Deserialize)]
#[message("savings.account_opened.v1")]
pub(crate) struct AccountOpened {
    pub(crate) account: u64,
}

#[derive(Debug, Command, Serialize, Deserialize)]
#[message("savings.pay_in.v1")]
pub(crate) struct PayIn {
    pub(crate) account: u64,
    pub(crate) cents: i64,
}

/// `MENDED`: the version after the bug was found.
#[derive(Serialize, Deserialize)]
pub(crate) struct Account<const MENDED: bool> {
    cents: i64,
}

impl<const MENDED: bool> Saga for Account<MENDED> {
    const NAME: &'static str = "account";
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(|m: &AccountOpened| m.account, |_, _| Ok(Self { cents: 0 }));
        saga.handles(|m: &PayIn| m.account, Self::on_pay_in);
    }
}

impl<const MENDED: bool> Account<MENDED> {
    #[expect(clippy::needless_pass_by_value, reason = "a saga is given its messages")]
    fn on_pay_in(&mut self, paid: PayIn, _: &mut SagaContext<Self>) -> HandlerResult {
        if paid.cents <= 0 {
            return Err(HandlerError::permanent("pay in: an amount is more than nothing"));
        }
        // The bug: whoever wrote this thought of coins.
        if !MENDED && u8::try_from(paid.cents).is_err() {
            return Err(HandlerError::permanent("pay in: too much for a u8"));
        }
        self.cents += paid.cents;
        println!("account {} has {} cents", paid.account, self.cents);
        Ok(())
    }
}

/// The application's own settings: `[app]` of the file that `LONGHAUL_CONFIG` names.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct App {
    /// Where the database is.
    data: std::path::PathBuf,
    /// What is paid in at the start.
    #[serde(default)]
    pay_in: Vec<i64>,
}

/// The program, in the one version or the other.
pub(crate) async fn run<const MENDED: bool>() -> ExitCode {
    match endpoint::<MENDED>().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(if error.endpoint().is_some() { 1 } else { 2 })
        }
    }
}

async fn endpoint<const MENDED: bool>() -> Result<(), HostError> {
    let host = Host::from_environment()?;
    let app: App = host.config().app()?;
    let _telemetry = host.init_telemetry()?;
    let database = Database::open(app.data).map_err(|error| HostError::other(&error))?;
    let broker = LocalBroker::durable(database.clone(), Arc::new(SystemClock));
    let savings = Endpoint::builder("savings")
        .transport(broker.map_err(|error| HostError::other(&error))?)
        .persistence(Sled::on(database))
        .saga::<Account<MENDED>>();
    host.run_with(savings, |session| async move {
        if app.pay_in.is_empty() {
            return;
        }
        let mut sent = session.publish(AccountOpened { account: 7 }).await.map(drop);
        for cents in app.pay_in {
            sent = sent.and(session.send(PayIn { account: 7, cents }).await.map(drop));
        }
        if let Err(error) = sent {
            eprintln!("{error}");
        }
    })
    .await
}
