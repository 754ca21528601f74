//! Rules of the endpoint that can be left out, to show that the search notices.

use std::fmt;

/// A rule of the endpoint that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mutation {
    /// A message is acknowledged before its unit is committed.
    AckBeforeCommit,
    /// A row is marked sent before the broker has confirmed it.
    MarkBeforeConfirm,
    /// Outputs leave when the unit is executed, before it is durable.
    SendBeforeDurable,
    /// Neither the gate nor the commit looks at the inbox.
    InboxNotChecked,
    /// The commit does not compare the version of the record with the one that was read.
    VersionNotCompared,
    /// Nothing sends the rows that a crash or a refusal left behind.
    RelayOff,
    /// The inbox entry is written in a transaction of its own, after the one with the effect.
    InboxInOwnTransaction,
    /// The gate sees what is executed and not yet durable.
    LoadBeforeDurable,
    /// The relay claims rows that are executed and not yet durable.
    ClaimBeforeDurable,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::AckBeforeCommit,
        Self::MarkBeforeConfirm,
        Self::SendBeforeDurable,
        Self::InboxNotChecked,
        Self::VersionNotCompared,
        Self::RelayOff,
        Self::InboxInOwnTransaction,
        Self::LoadBeforeDurable,
        Self::ClaimBeforeDurable,
    ];

    /// What it is called on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AckBeforeCommit => "ack-before-commit",
            Self::MarkBeforeConfirm => "mark-before-confirm",
            Self::SendBeforeDurable => "send-before-durable",
            Self::InboxNotChecked => "inbox-not-checked",
            Self::VersionNotCompared => "version-not-compared",
            Self::RelayOff => "relay-off",
            Self::InboxInOwnTransaction => "inbox-in-own-transaction",
            Self::LoadBeforeDurable => "load-before-durable",
            Self::ClaimBeforeDurable => "claim-before-durable",
        }
    }

    /// The mutation with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mutation| mutation.name() == name)
    }
}

impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
