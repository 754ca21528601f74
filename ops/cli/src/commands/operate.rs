//! `longhaul sagas retry-step`, `skip-step` and `fail`: what a running endpoint is told about an instance.

use std::process::ExitCode;

use clap::Args;
use longhaul_core::address::Address;
use longhaul_core::ids::MessageId;
use longhaul_ops::control::Operator;
use longhaul_sagas::Instance;
use longhaul_sagas::control::{Action, Operate};
use serde_json::json;

use crate::confirm;
use crate::connect::System;
use crate::failure::Failure;
use crate::output::{print, print_json, shown};

/// Which instance, and who wants it.
#[derive(Debug, Args)]
pub(crate) struct InstanceArgs {
    /// The saga's name
    saga: String,
    /// The instance's id
    id: String,
    /// The endpoint
    #[arg(long, value_name = "NAME")]
    endpoint: String,
    /// Only this life of the instance: its incarnation, as `longhaul sagas show` tells it
    #[arg(long, value_name = "ID", value_parser = message_id)]
    life: Option<MessageId>,
    /// Who wants it; the name of the user if not given. It is kept in the instance's history
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Don't ask
    #[arg(long)]
    yes: bool,
}

/// `longhaul sagas retry-step`
#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    #[command(flatten)]
    of: InstanceArgs,
    /// The step, by the id of its command; if not given, all that failed
    #[arg(long, value_name = "ID", value_parser = message_id)]
    step: Option<MessageId>,
    /// Why. It is kept in the instance's history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// `longhaul sagas skip-step`
#[derive(Debug, Args)]
pub(crate) struct SkipArgs {
    #[command(flatten)]
    of: InstanceArgs,
    /// The step, by the id of its command
    #[arg(long, value_name = "ID", value_parser = message_id)]
    step: MessageId,
    /// Why. It is kept in the instance's history
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// `longhaul sagas fail`
#[derive(Debug, Args)]
pub(crate) struct FailArgs {
    #[command(flatten)]
    of: InstanceArgs,
    /// End one that is stuck as it is: nothing more is undone
    #[arg(long)]
    give_up: bool,
    /// Why. It is kept in the instance's history
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

fn message_id(text: &str) -> Result<MessageId, String> {
    MessageId::new(text).map_err(|error| error.to_string())
}

pub(crate) async fn retry(system: &System, args: &RetryArgs, json: bool) -> Result<ExitCode, Failure> {
    let action = Action::RetryStep {
        step: args.step.clone(),
    };
    // It can be said again, and undoes nothing that would not be undone anyway.
    tell(system, &args.of, action, args.reason.as_deref(), false, json).await
}

pub(crate) async fn skip(system: &System, args: &SkipArgs, json: bool) -> Result<ExitCode, Failure> {
    let step = args.step.clone();
    tell(
        system,
        &args.of,
        Action::SkipStep { step },
        Some(&args.reason),
        true,
        json,
    )
    .await
}

pub(crate) async fn fail(system: &System, args: &FailArgs, json: bool) -> Result<ExitCode, Failure> {
    let action = if args.give_up {
        Action::GiveUp
    } else {
        Action::Compensate
    };
    tell(system, &args.of, action, Some(&args.reason), true, json).await
}

async fn tell(
    system: &System,
    args: &InstanceArgs,
    action: Action,
    reason: Option<&str>,
    is_final: bool,
    json: bool,
) -> Result<ExitCode, Failure> {
    let endpoint = Address::new(&args.endpoint).map_err(|error| Failure::misused(error.to_string()))?;
    let mut operate = Operate::new(&args.id, action, by(args)?);
    operate.reason = reason.map(str::to_owned);
    operate.incarnation.clone_from(&args.life);
    let what = format!(
        "{} of {} {:?}",
        operate.action,
        shown(&args.saga),
        shown(&args.id)
    );
    if let Some(fault) = operate.fault() {
        return Err(Failure::misused(format!("{what}: {fault}")));
    }
    let operator = system.operator();
    operator.check(&endpoint).await?;
    let preview = match system.instance(&args.endpoint, &args.saga, &args.id).await? {
        None => None,
        Some(instance) => Some(looked_at(&mut operate, &instance, &what)?),
    };
    if args.dry_run {
        return previewed(&operate, &endpoint, preview.as_deref(), json);
    }
    if is_final {
        confirm::confirm_named(args.yes, &what, &args.id)?;
    }
    let message = operator.operate(&endpoint, &args.saga, &operate).await?;
    if json {
        print_json(&json!({ "message": message, "to": endpoint, "would": preview }))?;
    } else {
        print(&format!(
            "told {endpoint} to {}\nmessage {message}; if {endpoint} refuses it, it is in the error queue with the reason\n",
            preview.as_deref().map_or(what, shown)
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Of an instance that can be looked at, only the life that was looked at is meant.
fn looked_at(operate: &mut Operate, instance: &Instance, what: &str) -> Result<String, Failure> {
    let refused = |why: String| Failure::failed(format!("{what}: {}", shown(&why)));
    let preview = operate.preview(instance).map_err(refused)?;
    operate.incarnation = Some(instance.incarnation.clone());
    Ok(preview)
}

fn previewed(
    operate: &Operate,
    endpoint: &Address,
    preview: Option<&str>,
    json: bool,
) -> Result<ExitCode, Failure> {
    if json {
        print_json(&json!({ "dry_run": true, "to": endpoint, "command": operate, "would": preview }))?;
    } else {
        let text = preview.map_or_else(
            || {
                format!(
                    "would tell {endpoint} to {}; what it stores can't be looked at from here\n",
                    operate.action
                )
            },
            |preview| format!("would tell {endpoint} to {}\n", shown(preview)),
        );
        print(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Who asks, for the history.
fn by(args: &InstanceArgs) -> Result<String, Failure> {
    let user = || {
        ["USER", "LOGNAME", "USERNAME"]
            .iter()
            .find_map(|name| std::env::var(name).ok())
    };
    let by = args.by.clone().or_else(user).filter(|by| !by.is_empty());
    by.ok_or_else(|| Failure::misused("say who wants this, for the instance's history: --by NAME"))
}

/// The seam's own object, for all commands that tell endpoints something.
impl System {
    pub(crate) fn operator(&self) -> Operator {
        Operator::new(
            std::sync::Arc::clone(&self.transport),
            std::sync::Arc::clone(&self.admin),
            std::sync::Arc::new(longhaul_core::clock::SystemClock),
        )
    }
}
