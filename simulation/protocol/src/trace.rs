//! What was found wrong, with the way there.

use std::fmt;

use crate::invariant::Invariant;
use crate::step::Step;

/// What is wrong in the last state of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// A rule that holds in every state.
    Invariant(Invariant),
    /// Nothing moves any more, and something is missing.
    Stranded,
    /// Something moves for ever, and the end is out of reach.
    Trapped,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invariant(invariant) => invariant.fmt(f),
            Self::Stranded => f.write_str("nothing moves any more, and an effect or an output is missing"),
            Self::Trapped => f.write_str("no way leads to the end any more, whatever goes well from now on"),
        }
    }
}

/// A fault of the protocol, with the shortest way there. Its text has one line a step.
#[derive(Debug, Clone)]
pub struct Violation {
    /// What is wrong.
    pub broken: Broken,
    /// The steps from the beginning.
    pub trace: Vec<Step>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in (1..).zip(&self.trace) {
            writeln!(f, "{number:>3}. {step}")?;
        }
        write!(f, "  => {}", self.broken)
    }
}
