//! Which messages, as it is typed.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use longhaul_ops::errors::{Filter, Selection};

use crate::failure::Failure;
use crate::units::duration;

/// What a message must be like.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which messages")]
pub(crate) struct FilterArgs {
    /// The endpoint that gave up
    #[arg(long, value_name = "NAME")]
    pub(crate) endpoint: Option<String>,
    /// The type, as on the wire; one that ends with `*` matches what begins like it
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) type_name: Option<String>,
    /// The word for why: handler-failed, bad-body, too-old, …
    #[arg(long, value_name = "WORD")]
    pub(crate) reason: Option<String>,
    /// A part of what the error or a cause of it said, in any case
    #[arg(long, value_name = "TEXT")]
    pub(crate) text: Option<String>,
    /// Failed last longer ago than this: 90s, 15m, 2h, 7d
    #[arg(long, value_name = "AGE", value_parser = duration)]
    pub(crate) older_than: Option<Duration>,
    /// Failed last within this time
    #[arg(long, value_name = "AGE", value_parser = duration)]
    pub(crate) newer_than: Option<Duration>,
    /// The conversation
    #[arg(long, value_name = "ID")]
    pub(crate) conversation: Option<String>,
    /// A saga, or one instance of it
    #[arg(long, value_name = "NAME[/ID]")]
    pub(crate) saga: Option<String>,
}

impl FilterArgs {
    pub(crate) fn filter(&self) -> Filter {
        Filter {
            endpoint: self.endpoint.clone(),
            type_name: self.type_name.clone(),
            reason: self.reason.clone(),
            text: self.text.clone(),
            older_than: self.older_than,
            newer_than: self.newer_than,
            conversation: self.conversation.clone(),
            saga: self.saga.clone(),
        }
    }
}

/// Which messages an action is about.
#[derive(Debug, Clone, Args)]
pub(crate) struct SelectionArgs {
    /// Messages by id
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// All of them
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

impl SelectionArgs {
    /// What is meant; to mean everything must be said.
    pub(crate) fn selection(&self) -> Result<Selection, Failure> {
        let filter = self.filter.filter();
        match (self.ids.is_empty(), filter.is_empty()) {
            (false, true) => Ok(Selection::Ids(self.ids.iter().cloned().collect::<BTreeSet<_>>())),
            (false, false) => Err(Failure::misused(
                "name messages by id, or say what they are like, not both",
            )),
            (true, true) if !self.all => Err(Failure::misused(
                "say which messages: name them by id, say what they are like (--endpoint, --type, --reason, …), or --all",
            )),
            (true, _) => Ok(Selection::Matching(filter)),
        }
    }
}
