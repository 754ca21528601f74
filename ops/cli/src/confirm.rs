//! What is about many messages is asked for twice.

use std::io::{self, BufRead, IsTerminal};

use crate::failure::Failure;
use crate::output::shown;

/// Goes on with `--yes`, or once somebody at a terminal has typed the number of messages.
pub(crate) async fn confirm(yes: bool, doing: &str, count: u64) -> Result<(), Failure> {
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
    // On a thread of its own, so that Ctrl-C is heard meanwhile.
    let typed = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    match typed.await {
        Ok(Ok(line)) if line.trim() == count.to_string() => Ok(()),
        _ => Err(refused()),
    }
}

/// Goes on with `--yes`, or once somebody at a terminal has typed the name.
pub(crate) fn confirm_named(yes: bool, doing: &str, name: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let refused = || {
        Failure::misused(format!(
            "{doing} can't be taken back, and nothing was done: add --yes, or --dry-run to see more"
        ))
    };
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(refused());
    }
    eprint!("{doing} can't be taken back. Type {} to go on: ", shown(name));
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line) {
        Ok(_) if line.trim() == name.trim() => Ok(()),
        _ => Err(refused()),
    }
}
