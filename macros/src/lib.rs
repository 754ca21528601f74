//! Derives for Longhaul messages: `Message`, `Command` and `Event`. Use them through `longhaul`.
//!
//! A derive gives a type its wire name and its kind, and nothing else: the body is serde's.

mod expand;
mod wire_name;

use proc_macro::TokenStream;

use crate::expand::{Kind, expand};

/// Makes a type a reply: the answer to whoever asked.
///
/// ```
/// use longhaul_core::message::{Message, MessageKind};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(longhaul_core::Message, Serialize, Deserialize)]
/// #[message("billing.card_charged.v1")]
/// struct CardCharged { order: u64 }
///
/// assert_eq!(CardCharged::KIND, MessageKind::Reply);
/// ```
///
/// # Compile errors
///
/// The attribute `#[message("…")]` is required, once. A wire name is at most 200 characters from `a-z`, `0-9`, `_`,
/// `-` and `.`, in dotted parts of which none is empty. The type has no parameters, since one name stands for one
/// type, and is no union.
#[proc_macro_derive(Message, attributes(message))]
pub fn derive_message(input: TokenStream) -> TokenStream {
    derive(input, Kind::Reply)
}

/// Makes a type a command: it asks one owner to do something, and is sent.
///
/// ```
/// use longhaul_core::message::{Message, MessageKind};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(longhaul_core::Command, Serialize, Deserialize)]
/// #[message("billing.charge_card.v1")]
/// struct ChargeCard { order: u64 }
///
/// assert_eq!(ChargeCard::KIND, MessageKind::Command);
/// assert_eq!(ChargeCard::NAME, "billing.charge_card.v1");
/// ```
///
/// # Compile errors
///
/// As for [`Message`](derive@Message).
#[proc_macro_derive(Command, attributes(message))]
pub fn derive_command(input: TokenStream) -> TokenStream {
    derive(input, Kind::Command)
}

/// Makes a type an event: it tells what has happened, and is published.
///
/// ```
/// use longhaul_core::message::{Message, MessageKind};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(longhaul_core::Event, Serialize, Deserialize)]
/// #[message("sales.order_placed.v1")]
/// struct OrderPlaced { order: u64 }
///
/// assert_eq!(OrderPlaced::KIND, MessageKind::Event);
/// ```
///
/// # Compile errors
///
/// As for [`Message`](derive@Message).
#[proc_macro_derive(Event, attributes(message))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    derive(input, Kind::Event)
}

fn derive(input: TokenStream, kind: Kind) -> TokenStream {
    syn::parse(input)
        .and_then(|input| expand(&input, kind))
        .unwrap_or_else(|error| error.into_compile_error())
        .into()
}
