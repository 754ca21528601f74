//! What is about many messages is asked for twice.

use std::io::{self, BufRead, IsTerminal};

use crate::failure::Failure;

/// Goes on with `--yes`, or once somebody at a terminal has typed the number of messages.
pub(crate) fn confirm(yes: bool, doing: &str, count: u64) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let refused = || {
        Failure::misused(format!(
            "{count} messages match, and nothing was done: add --yes to {doing} them, or --dry-run to see more"
        ))
    };
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(refused());
    }
    eprint!("{count} messages match. Type {count} to {doing} them: ");
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    match read {
        Ok(_) if line.trim() == count.to_string() => Ok(()),
        _ => Err(refused()),
    }
}
