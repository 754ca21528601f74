//! What the commands about failed messages take.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;
use longhaul_core::address::Address;
use longhaul_ops::errors::{Edit, Page, Target};

use super::bodies::BodiesArgs;
use super::files::TornArgs;
use crate::failure::Failure;
use crate::select::{FilterArgs, SelectionArgs};

/// `longhaul errors list`
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(super) filter: FilterArgs,
    /// The most messages to list
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = limit)]
    pub(super) limit: usize,
    /// How many that match to pass over
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(super) skip: u64,
}

/// `longhaul errors show`
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The message's id
    pub(super) id: String,
    /// Only its body, byte for byte
    #[arg(long)]
    pub(super) body: bool,
    #[command(flatten)]
    pub(super) bodies: BodiesArgs,
}

/// `longhaul errors group`
#[derive(Debug, Args)]
pub(crate) struct GroupArgs {
    #[command(flatten)]
    pub(super) filter: FilterArgs,
}

/// `longhaul errors replay`
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    pub(super) selection: SelectionArgs,
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// The most messages in a second
    #[arg(long, value_name = "NUMBER")]
    pub(super) rate: Option<NonZeroU32>,
    /// Only messages that the program of --program says it would handle now
    #[arg(long, requires = "program")]
    pub(super) only_passing: bool,
    /// A program with the endpoint's code, which is asked with `--rehearse` what would become of each message
    #[arg(long, value_name = "PROGRAM")]
    pub(super) program: Option<PathBuf>,
    /// How long that program may take: 90s, 15m
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = crate::units::duration)]
    pub(super) program_limit: std::time::Duration,
    #[command(flatten)]
    pub(super) bodies: BodiesArgs,
    #[command(flatten)]
    pub(super) care: CareArgs,
}

/// `longhaul errors edit`
#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    /// The message's id
    pub(super) id: String,
    /// The new body; `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub(super) body: PathBuf,
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// A program with the endpoint's code, which is asked with `--rehearse` whether it would handle the new message; one that
    /// it would fail is not sent
    #[arg(long, value_name = "PROGRAM")]
    pub(super) program: Option<PathBuf>,
    /// How long that program may take: 90s, 15m
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = crate::units::duration)]
    pub(super) program_limit: std::time::Duration,
    #[command(flatten)]
    pub(super) bodies: BodiesArgs,
    /// Check everything, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// `longhaul errors discard`
#[derive(Debug, Args)]
pub(crate) struct DiscardArgs {
    #[command(flatten)]
    pub(super) selection: SelectionArgs,
    /// Also tell their endpoints to let pass what waits in order behind them; they must be built with `.operable_order()`
    #[arg(long)]
    pub(super) let_pass: bool,
    #[command(flatten)]
    pub(super) care: CareArgs,
}

/// `longhaul errors let-pass`
#[derive(Debug, Args)]
pub(crate) struct LetPassArgs {
    /// The messages that were discarded, by id
    #[arg(value_name = "ID", required = true)]
    pub(super) ids: Vec<String>,
    /// The endpoint that keeps the order
    #[arg(long, value_name = "NAME")]
    pub(super) endpoint: String,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// `longhaul errors export`
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(super) selection: SelectionArgs,
    /// The file, which must not exist; `-` for standard output
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
    /// Also take out what is safely written
    #[arg(long)]
    pub(super) remove: bool,
    #[command(flatten)]
    pub(super) bodies: BodiesArgs,
    /// Don't ask
    #[arg(long)]
    pub(super) yes: bool,
}

/// `longhaul errors import`
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// What an export has written
    pub(super) file: PathBuf,
    #[command(flatten)]
    pub(super) torn: TornArgs,
    #[command(flatten)]
    pub(super) bodies: BodiesArgs,
    /// Check the file, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// Where messages are sent again.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// Send to this queue instead of the one that each came from
    #[arg(long, value_name = "QUEUE")]
    pub(super) to: Option<String>,
}

/// How carefully.
#[derive(Debug, Args)]
pub(crate) struct CareArgs {
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Don't ask
    #[arg(long)]
    pub(super) yes: bool,
}

impl EditArgs {
    pub(super) fn edit(&self, body: Vec<u8>) -> Result<Edit, Failure> {
        Ok(Edit {
            id: self.id.clone(),
            body: body.into(),
            target: self.target.target()?,
            dry_run: self.dry_run,
        })
    }
}

impl TargetArgs {
    pub(super) fn target(&self) -> Result<Target, Failure> {
        match &self.to {
            None => Ok(Target::Source),
            Some(name) => Address::new(name)
                .map(Target::Queue)
                .map_err(|error| Failure::misused(error.to_string())),
        }
    }
}

fn limit(text: &str) -> Result<usize, String> {
    let number: usize = text.parse().map_err(|_| "this is not a number".to_owned())?;
    if (1..=Page::MOST).contains(&number) {
        return Ok(number);
    }
    Err(format!("1 to {}; for more, use export", Page::MOST))
}
