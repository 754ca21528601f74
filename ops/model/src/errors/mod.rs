//! What is in an error queue, and what can be done about it.

mod copying;
mod discard;
mod edit;
mod error;
mod error_queue;
mod export;
mod failed;
mod filter;
mod groups;
mod import;
mod progress;
mod replay;
mod resend;
mod walk;

pub use discard::{Discard, Discarded, Holding};
pub use edit::{Edit, Edited};
pub use error::{OpsError, OpsErrorKind};
pub use error_queue::{ErrorQueue, Listing, Page};
pub use export::ExportOptions;
pub use failed::{Failed, PartOf};
pub use filter::{Filter, Selection};
pub use groups::{Group, GroupKey, Groups, MOST_GROUPS};
pub use longhaul_record::{BadRecord, Record};
pub use progress::{Outcome, Problem, Progress};
pub use replay::{Preview, Replay, Target};
