//! How far an action is, for whoever watches it on a terminal.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use longhaul_ops::errors::Progress;
use terminal_size::{Width, terminal_size_of};

/// What can be shown in a line of at least this width, with numbers of up to eight digits: of a line that the terminal has to break,
/// only a part would be wiped away.
const FORMS: [(u16, &str); 4] = [
    (72, "{msg} [{wide_bar}] {pos}/{len}  {per_sec}  {eta} left"),
    (36, "{msg} [{wide_bar}] {pos}/{len}"),
    (18, "{pos}/{len}"),
    (0, "{percent}%"),
];

/// A line that says how far it is, on a terminal only, as wide as that is.
pub(crate) struct Bar {
    bar: ProgressBar,
    /// Which form it has now.
    form: AtomicUsize,
}

impl Bar {
    /// A bar for something that is going on.
    pub(crate) fn new(doing: &'static str) -> Self {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        bar.set_message(doing);
        let bar = Self {
            bar,
            form: AtomicUsize::new(usize::MAX),
        };
        bar.fit();
        bar
    }

    /// Shows how far it is.
    pub(crate) fn show(&self, progress: Progress) {
        self.fit();
        self.bar.set_length(progress.expected);
        self.bar.set_position(progress.seen.min(progress.expected));
    }

    /// Takes the form that fits: a terminal may be made narrower meanwhile.
    fn fit(&self) {
        if self.bar.is_hidden() {
            return;
        }
        let width = terminal_size_of(io::stderr()).map_or(80, |(Width(columns), _)| columns);
        let fits = FORMS.iter().position(|(least, _)| width >= *least);
        let Some((number, (_, form))) = fits.and_then(|at| Some((at, FORMS.get(at)?))) else {
            return;
        };
        if self.form.swap(number, Ordering::Relaxed) != number
            && let Ok(style) = ProgressStyle::with_template(form)
        {
            self.bar.set_style(style.progress_chars("=> "));
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
