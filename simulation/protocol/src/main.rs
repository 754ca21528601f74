//! Searches the protocol within bounds that are given on the command line.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use longhaul_protocol_model::{Bounds, Mutation, Outputs, Protocol, Report, Verdict, search};

/// Searches every interleaving of two processes that handle two messages with one record, within bounds on the faults.
///
/// Each state is checked: an effect at most once, no output and no acknowledgement before the commit is durable, no row
/// marked that the broker does not have, no fork in the record. From each state an end must be in reach in which every
/// effect and every output is there. What is wrong is shown with the shortest way there.
#[derive(Parser)]
#[command(
    name = "longhaul-protocol-model",
    after_help = "The defaults look at 10 million states, in less than a minute and 1 GiB. Bounds multiply: raise \
                  one and lower another.\n\nExit codes: 0 it holds, 1 it does not, 2 wrong usage, 3 too many states to tell."
)]
struct Options {
    /// The most crashes of processes and of the store, together
    #[arg(long, value_name = "N", default_value_t = 1)]
    crashes: u8,
    /// The most copies of messages that arrive in addition
    #[arg(long, value_name = "N", default_value_t = 1)]
    duplicates: u8,
    /// The most leases, of deliveries and of rows, that end too early
    #[arg(long, value_name = "N", default_value_t = 1)]
    lapses: u8,
    /// The most commits that are answered with an error, executed or not
    #[arg(long, value_name = "N", default_value_t = 1)]
    errors: u8,
    /// The most sends that the broker refuses, or whose confirmation is lost
    #[arg(long, value_name = "N", default_value_t = 1)]
    refusals: u8,
    /// Outputs of both messages together: 2 is one each, 3 is two of the first, 4 is two each
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=4))]
    outputs: u8,
    /// A rule to leave out, to see how it is noticed
    #[arg(long, value_name = "RULE", value_parser = mutations())]
    mutation: Option<Mutation>,
    /// The most states to look at; each takes about 100 bytes of memory
    #[arg(long, value_name = "N", default_value_t = 12_000_000)]
    most_states: u32,
}

fn mutations() -> impl TypedValueParser<Value = Mutation> {
    let names = PossibleValuesParser::new(Mutation::ALL.map(Mutation::name));
    names.try_map(|name| Mutation::named(&name).ok_or("no such rule"))
}

impl Options {
    fn protocol(&self) -> Protocol {
        let bounds = Bounds {
            crashes: self.crashes,
            duplicates: self.duplicates,
            lapses: self.lapses,
            errors: self.errors,
            refusals: self.refusals,
        };
        let outputs = match self.outputs {
            ..=2 => [Outputs::One, Outputs::One],
            3 => [Outputs::Two, Outputs::One],
            4.. => [Outputs::Two, Outputs::Two],
        };
        Protocol {
            bounds,
            outputs,
            mutation: self.mutation,
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut progress = io::stderr();
    let is_watched = progress.is_terminal();
    let begun = now();
    let report = search(&options.protocol(), options.most_states, |level| {
        if is_watched {
            // Nothing depends on it being seen.
            drop(write!(
                progress,
                "\rdepth {}, {} states ",
                level.depth, level.states
            ));
        }
    });
    if is_watched {
        eprintln!();
    }
    let Report {
        states,
        transitions,
        depth,
        ends,
        verdict,
    } = report;
    let seconds = begun.elapsed().as_secs_f64();
    println!("{states} states, {transitions} steps between them, depth {depth}, {ends} ends, {seconds:.1} s");
    match verdict {
        Verdict::Holds => {
            println!("holds: every state was looked at");
            ExitCode::SUCCESS
        }
        Verdict::Violated(violation) => {
            println!("does not hold:\n{violation}");
            ExitCode::from(1)
        }
        Verdict::TooManyStates => {
            eprintln!(
                "error: more than {} states: none so far is wrong, but not all were looked at; lower the bounds or \
                 raise --most-states",
                options.most_states
            );
            ExitCode::from(3)
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "tells how long a search takes outside")]
fn now() -> Instant {
    Instant::now()
}
