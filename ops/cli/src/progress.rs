//! How far an action is, for whoever watches it on a terminal.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use longhaul_ops::errors::Progress;

/// A bar with rate and time left, on a terminal only.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// A bar for something that is going on.
    pub(crate) fn new(doing: &'static str) -> Self {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let template = "{msg} [{bar:30}] {pos}/{len}  {per_sec}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(doing);
        Self(bar)
    }

    /// Shows how far it is.
    pub(crate) fn show(&self, progress: Progress) {
        self.0.set_length(progress.expected);
        self.0.set_position(progress.seen.min(progress.expected));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
