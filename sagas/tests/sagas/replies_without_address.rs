//! A saga that answers at once, for starters that can't be answered.

use longhaul_core::{Command, Message};
use longhaul_sagas::{Definition, NoTimeout, Saga};
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[message("impolite.asked.v1")]
pub(crate) struct Asked {
    pub(crate) id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[message("impolite.answered.v1")]
struct Answered;

#[derive(Serialize, Deserialize)]
pub(crate) struct Impolite;

impl Saga for Impolite {
    const NAME: &'static str = "impolite";
    type Id = u64;
    type Timeout = NoTimeout;

    fn define(saga: &mut Definition<Self>) {
        saga.starts_on(
            |m: &Asked| m.id,
            |_, ctx| {
                ctx.reply_to_originator(Answered);
                Ok(Self)
            },
        );
    }
}
